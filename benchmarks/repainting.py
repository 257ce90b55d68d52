"""python -m benchmarks.repainting: how well a repainted span fits the music around it.

In each of several held-out compositions of the suite `synth`, a span in the middle is repainted, with the best of 1, 4 and 16
candidates of the same seeds. A model that learnt to fill in the middle also generates candidates from the left alone. Two
measures are compared with those of the original composition, and of the composition with the span of another one pasted in (a
negative control):

    fit    mean log-likelihood of a code after the span, given everything before it and the description, in nats
    flux   spectral flux at the seams: how much the magnitude spectrum rises from one frame to the next, as a share of its sum
           (Bello et al. 2005); the largest of the frames that hold the seam. Two-sample test of Kolmogorov and Smirnov, with
           what is uncut: the composition through the codec, as the span is
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats

import musicgen
from benchmarks import machine
from benchmarks.store import command, publish, rounded
from evaluation.suites.items import load_items
from evaluation.suites.suite import load_suite
from musicgen import audio
from musicgen.audio import Audio
from musicgen.repainting import join, repaint, span_layout
from musicgen.request import GenerationRequest
from musicgen.statistics import ratio_interval
from musicgen.tokenizers import frames_of

SPAN = (4.0, 6.0)
"""Seconds, of clips of 10 s."""
CANDIDATES = (1, 4, 16)
WINDOW = 1024
"""Samples of a frame of the flux: 32 ms."""
HOP = 256
UNCUT = "as it was"
WITHOUT = ", the left alone"
"""Of a model that learnt to fill in the middle: candidates that are generated without what follows the span."""

Array = npt.NDArray[np.float64]


def flux(clip: Audio, seconds: float) -> float:
    """The spectral flux at a time: the largest of the frames that hold it."""
    wave = clip.mono().wave[0]
    centre = round(seconds * clip.rate)
    piece = wave[max(0, centre - 2 * WINDOW) : centre + 2 * WINDOW]
    magnitude = torch.stft(
        piece, WINDOW, HOP, window=torch.hann_window(WINDOW), center=False, return_complex=True
    ).abs()
    rise = (magnitude[:, 1:] - magnitude[:, :-1]).clamp(min=0).sum(dim=0)
    return float((rise / magnitude[:, 1:].sum(dim=0).clamp(min=1e-6)).max())


def spans(model: musicgen.MusicGen, clip: Audio, prompt: str, seed: int, count: int) -> tuple[torch.Tensor, float]:
    """The codes [count, K, n] of candidates for the span, and the seconds that they took to generate."""
    found: list[torch.Tensor] = []

    def draw(request: GenerationRequest, given: torch.Tensor | None) -> torch.Tensor:
        plan = model.plan_generation(request, given)
        position = plan.known
        for step in model.window_steps(plan, plan.windows[0]):
            plan.codes[:, :, position : position + step.codes.shape[2]] = step.codes
            position += step.codes.shape[2]
        found.append(plan.codes[:, :, plan.known :])
        return plan.codes

    begun = time.perf_counter()
    repaint(model, clip, *SPAN, GenerationRequest.of_one(prompt, seed=seed), draw, candidates=count)
    return found[0], time.perf_counter() - begun


def ways(
    model: musicgen.MusicGen, clip: Audio, other: torch.Tensor, prompt: str, seed: int
) -> dict[str, tuple[float, Audio, float]]:
    """Way -> the fit, the sound, and the seconds of a clip whose span [K, n] was made anew, stayed, or comes from another
    composition."""
    seconds: dict[str, float] = {}
    candidates: dict[str, torch.Tensor] = {}
    learnt = model.fill_in_the_middle
    for suffix, right_first in (("", learnt), (WITHOUT, False)) if learnt else (("", False),):
        model.fill_in_the_middle = right_first
        for count in CANDIDATES:
            candidates[suffix], seconds[f"best of {count}{suffix}"] = spans(model, clip, prompt, seed, count)
    model.fill_in_the_middle = learnt
    frames = clip.wave.shape[1] // model.tokenizer.hop
    old = model.tokenizer.encode(clip.wave[None, :, : frames * model.tokenizer.hop])[0]
    where = span_layout(*SPAN, frames, model.frame_rate, frames_of(model.tokenizer, model.max_duration))
    span = slice(where.start, where.end)
    # All in one pass, so that equal codes have equal fits.
    rows = torch.cat([*candidates.values(), old[None, :, span], other[None]])
    caught = iter([rows])

    def given(request: GenerationRequest, prompt: torch.Tensor | None) -> torch.Tensor:  # noqa: ARG001
        assert prompt is not None
        return torch.cat([prompt.expand(len(rows), -1, -1), next(caught)], dim=2)

    request = GenerationRequest.of_one(prompt, seed=seed)
    fits = list(repaint(model, clip, *SPAN, request, given, candidates=len(rows)).log_likelihoods.values())

    def sound(index: int) -> Audio:
        codes = old.clone()
        codes[:, span] = rows[index]
        return Audio(join(model, clip.wave, old, codes, where, seed), clip.rate)

    found = {}
    for number, suffix in enumerate(candidates):
        first = number * max(CANDIDATES)
        for count in CANDIDATES:
            best = first + int(np.argmax(fits[first : first + count]))
            found[f"best of {count}{suffix}"] = fits[best], sound(best), seconds[f"best of {count}{suffix}"]
    found[UNCUT] = fits[-2], Audio(model.decode(old[None])[0], clip.rate), 0.0
    found["of another composition"] = fits[-1], sound(len(rows) - 1), 0.0
    return found


def measure(name: str, count: int, seed: int) -> dict[str, Any]:
    """Fit and flux of each way, with intervals over compositions and the two-sample tests."""
    model = musicgen.load(name)
    items = load_items(load_suite("synth"), limit=count)
    clips = [audio.read(item.file, channels=model.channels, rate=model.sample_rate) for item in items]
    first, last = (round(time * model.frame_rate) for time in SPAN)
    pasted = [model.tokenizer.encode(clip.wave[None])[0][:, first:last] for clip in clips]
    fits: dict[str, list[float]] = {}
    seams: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for index, (item, clip) in enumerate(zip(items, clips, strict=True)):
        other = pasted[(index + 1) % len(pasted)]
        for way, (fit, sound, passed) in ways(model, clip, other, item.caption, seed + 1000 * index).items():
            fits.setdefault(way, []).append(fit)
            seconds.setdefault(way, []).append(passed)
            seams.setdefault(way, []).extend(flux(sound, time) for time in SPAN)
        print(f"{index + 1} of {len(items)}", file=sys.stderr, flush=True)
    rng = np.random.default_rng(seed)
    uncut = np.array(seams[UNCUT])
    rows = {}
    for way in fits:
        pair = np.stack([np.array(fits[way]), np.array(fits[UNCUT])], axis=1)
        test = stats.ks_2samp(seams[way], uncut)
        rows[way] = {
            "fit": rounded(ratio_interval(pair[:, 0], np.ones(len(items)), rng)),
            "difference": None if way == UNCUT else rounded(ratio_interval(pair, np.ones((len(items), 2)), rng)),
            "seconds": round(float(np.median(seconds[way])), 2) or None,
            "flux": [round(float(value), 3) for value in np.quantile(seams[way], [0.1, 0.5, 0.9])],
            "statistic": None if way == UNCUT else round(float(test.statistic), 3),
            "p": None if way == UNCUT else float(f"{test.pvalue:.2g}"),
        }
    return {"model": name, "n": len(items), "span": list(SPAN), "seed": seed, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.repainting", description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--count", type=int, default=100, help="compositions, at least 5 (default 100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="store the result here")
    options = parser.parse_args()
    made = measure(options.model, options.count, options.seed)
    made |= {"machine": machine.describe("cpu", torch.get_num_threads())}
    made["command"] = command("repainting")
    publish(made, options.json)


if __name__ == "__main__":
    main()
