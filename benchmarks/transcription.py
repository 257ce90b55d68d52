"""python -m benchmarks.transcription: accuracy of the transcribers on the synthetic corpus.

Held-out compositions with known notes are rendered by a sequencer, and the full mix with drums is transcribed. There are two
ground truths: the notes of the melody, and those of all parts except the drums, in which a note that two parts play at the same
time counts once. A note is correct if its onset is within 50 ms and its pitch is correct (Bay et al. 2009, by mir_eval, without
offsets). The scores are means over compositions of precision, recall and F1.

It needs mir_eval, which the extra `transcription` installs, and measures the transcribers that are installed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import numpy.typing as npt
import torch

from benchmarks import machine
from benchmarks.store import command, publish, rounded
from musicgen import transcribers
from musicgen.audio import Audio
from musicgen.statistics import ratio_interval
from musicgen.training.corpus import INSTRUMENTS, SAMPLE_RATE, Composition, compose, render
from musicgen.training.quality import HELD_OUT_SEED

TOLERANCE = 0.05
"""Seconds, of an onset."""
CENTS = 50.0
DURATION = 10.0
"""Seconds."""
SCORES = ("precision", "recall", "F1")

Array = npt.NDArray[np.float64]
Notes = set[tuple[float, float, int]]
"""(onset, offset, MIDI number)"""


def truths(composition: Composition) -> dict[str, Notes]:
    """The ground truths that a transcriber is compared with."""
    pitched = [part for part in composition.parts if not INSTRUMENTS[part.instrument].drums]
    # One note where several parts play it.
    whole = {(round(one.onset, 2), one.pitch): one for part in pitched for one in part.notes}
    found = {"melody": composition.lead.notes, "all voices": whole.values()}
    return {
        name: {(one.onset, one.offset, one.pitch) for one in notes if one.onset < composition.duration}
        for name, notes in found.items()
    }


def scores(truth: Notes, heard: Iterable[transcribers.Note]) -> tuple[float, float, float]:
    """Precision, recall and F1 of the heard notes."""
    guess = {(one.onset, one.offset, one.pitch) for one in heard}
    if not guess:
        return 0.0, 0.0, 0.0
    (when, pitches), (guessed, guesses) = (_arrays(notes) for notes in (truth, guess))
    precision, recall, f1, _ = mir_eval.transcription.precision_recall_f1_overlap(
        when, pitches, guessed, guesses, onset_tolerance=TOLERANCE, pitch_tolerance=CENTS, offset_ratio=None
    )
    return float(precision), float(recall), float(f1)


def _arrays(notes: Notes) -> tuple[Array, Array]:
    """Times [n, 2] in seconds and pitches [n] in Hz, as mir_eval takes them."""
    table = np.array(sorted(notes), dtype=np.float64)
    return table[:, :2], 440 * 2 ** ((table[:, 2] - 69) / 12)


def measure(count: int) -> dict[str, Any]:
    """Scores of each installed transcriber against each truth, with intervals over compositions."""
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for index in range(count):
        composition = compose(HELD_OUT_SEED + index, duration=DURATION, sequenced=True)
        clip = Audio(torch.from_numpy(render(composition)), SAMPLE_RATE)
        for name in transcribers.installed():
            heard = transcribers.find(name).transcribe(clip)
            for what, truth in truths(composition).items():
                found.setdefault((name, what), []).append(scores(truth, heard))
        print(f"{index + 1} of {count}", file=sys.stderr, flush=True)
    rows = []
    for (name, what), values in found.items():
        columns = np.array(values).T
        each = {
            score: rounded(ratio_interval(column, np.ones(count), np.random.default_rng(0)))
            for score, column in zip(SCORES, columns, strict=True)
        }
        rows.append({"transcriber": name, "truth": what, **each})
    return {"n": count, "seconds": DURATION, "tolerance": TOLERANCE, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transcription", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=100, help="compositions (default 100)")
    parser.add_argument("--json", type=Path, help="store the result here")
    options = parser.parse_args()
    made = measure(options.count)
    made |= {"machine": machine.describe("cpu", torch.get_num_threads())}
    made["command"] = command("transcription")
    publish(made, options.json)


if __name__ == "__main__":
    main()
