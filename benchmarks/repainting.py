"""python -m benchmarks.repainting: how well a span that was made anew fits the music around it.

Held-out compositions of the suite `synth`, of each of which a span in the middle is made anew, with the best of 1, 4 and 16
candidates. Two measures, each beside the same composition as it was and beside the same span of another composition (a cut, the
control that shows that the measure sees what does not fit):

    fit    mean log-likelihood of a code behind the span, given all before it and the description
    flux   spectral flux at the seams: how much the magnitude spectrum rises from one frame to the next, as a share of its sum
           (Bello et al. 2005); the largest of the frames that hold the seam. Two-sample test: Kolmogorov and Smirnov's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats

import musicgen
from benchmarks import machine
from evaluation.suites.items import load_items
from evaluation.suites.suite import load_suite
from musicgen import audio
from musicgen.audio import Audio
from musicgen.repainting import Repainted, repaint
from musicgen.request import GenerationRequest
from musicgen.statistics import Interval, ratio_interval

SPAN = (4.0, 6.0)
"""Seconds, of clips of 10 s."""
CANDIDATES = (1, 4, 16)
WINDOW = 1024
"""Samples of a frame of the flux: 32 ms."""
HOP = 256
BATCH = 16

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


def cut(model: musicgen.MusicGen, clip: Audio, other: torch.Tensor, prompt: str, seed: int) -> Repainted:
    """A clip with the codes [K, n] of another composition in its span."""

    def draw(request: GenerationRequest, left: torch.Tensor | None) -> torch.Tensor:  # noqa: ARG001
        assert left is not None
        return torch.cat([left, other[None]], dim=2)

    return repaint(model, clip, *SPAN, GenerationRequest.of_one(prompt, seed=seed), draw, candidates=1)


def measure(name: str, count: int, seed: int) -> dict[str, Any]:
    """Fit and flux of each way, with intervals over compositions and the two-sample tests."""
    model = musicgen.load(name)
    items = load_items(load_suite("synth"), limit=count)
    clips = [audio.read(item.file, channels=model.channels, rate=model.sample_rate) for item in items]
    frames = [round(time * model.frame_rate) for time in SPAN]
    codes = [model.tokenizer.encode(clip.wave[None])[0][:, frames[0] : frames[1]] for clip in clips]
    fit: dict[str, list[float]] = {}
    seams: dict[str, list[float]] = {}

    def add(way: str, likely: float, clip: Audio) -> None:
        fit.setdefault(way, []).append(likely)
        seams.setdefault(way, []).extend(flux(clip, time) for time in SPAN)

    for index, (item, clip) in enumerate(zip(items, clips, strict=True)):
        own = seed + 1000 * index
        for candidates in CANDIDATES:
            made = model.repaint(clip, *SPAN, item.caption, candidates=candidates, seed=own, batch_size=BATCH)
            add(f"best of {candidates}", made.log_likelihoods[made.seed], Audio(made.wave, clip.rate))
        assert made.original is not None
        add("as it was", made.original, clip)
        other = cut(model, clip, codes[(index + 1) % len(codes)], item.caption, own)
        add("of another composition", other.log_likelihoods[own], Audio(other.wave, clip.rate))
    rng = np.random.default_rng(seed)
    uncut = np.array(seams["as it was"])
    rows = {
        way: {
            "fit": _stored(ratio_interval(np.array(fit[way]), np.ones(len(items)), rng)),
            "below": None
            if way == "as it was"
            else _stored(
                ratio_interval(
                    np.stack([np.array(fit["as it was"]), np.array(fit[way])], axis=1), np.ones((len(items), 2)), rng
                )
            ),
            "flux": [round(float(value), 4) for value in np.quantile(values, [0.5, 0.9])],
            "statistic": round(float(stats.ks_2samp(values, uncut).statistic), 4),
            "p": float(f"{stats.ks_2samp(values, uncut).pvalue:.3g}"),
        }
        for way, values in ((way, np.array(seams[way])) for way in fit)
    }
    return {"model": name, "n": len(items), "span": list(SPAN), "seed": seed, "rows": rows}


def _stored(interval: Interval | None) -> list[float] | None:
    if interval is None:
        return None
    return [round(value, 4) for value in (interval.estimate, interval.low, interval.high)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.repainting", description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--count", type=int, default=100, help="compositions, at least 5 (default 100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="store the result here")
    options = parser.parse_args()
    made = measure(options.model, options.count, options.seed)
    made |= {"machine": machine.describe("cpu", torch.get_num_threads())}
    made["command"] = (
        f"python -m benchmarks.repainting --model {options.model} --count {options.count} --seed {options.seed}"
    )
    text = json.dumps(made, indent=1) + "\n"
    print(text, end="")
    if options.json:
        options.json.write_text(text)


if __name__ == "__main__":
    main()
