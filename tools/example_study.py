"""python tools/example_study.py: make the example study's clips with the embedded models, into human_study/example/samples.

Held-out compositions of the project's own corpus are the references and the melodies; `mini` gets each one's caption,
`mini-melody` its caption and its sound.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from tqdm import tqdm

import musicgen
from musicgen.audio import Audio
from musicgen.samples import Writer
from musicgen.training.corpus import compose, render
from musicgen.training.quality import HELD_OUT_SEED, full_caption

SAMPLES = Path(__file__).parent.parent / "human_study" / "example" / "samples"
SEEDS = range(HELD_OUT_SEED + 900, HELD_OUT_SEED + 906)
SECONDS = 8.0


def main() -> int:
    shutil.rmtree(SAMPLES, ignore_errors=True)
    models = {name: musicgen.load(name) for name in ("mini", "mini-melody")}
    writers = {name: Writer(SAMPLES / name, name) for name in (*models, "reference", "melody")}
    for seed in tqdm(SEEDS, unit="clip"):
        composition = compose(seed, duration=SECONDS)
        caption = full_caption(composition)
        recording = Audio(torch.from_numpy(render(composition)), 32_000)
        clips = {"reference": recording, "melody": recording.mono()}
        for name, model in models.items():
            melody = recording if model.melody is not None else None
            wave = model.generate([caption], SECONDS, seed=seed, melody=melody, separate=False)[0]
            clips[name] = Audio(wave.cpu(), model.sample_rate)
        for name, clip in clips.items():
            writers[name].add(
                str(seed), clip, prompt=caption, seed=seed, settings={"duration": SECONDS}, extension=".ogg"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
