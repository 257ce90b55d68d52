"""Reference clips: the suite's references, cut to the length of the clips and reconstructed by the tokeniser.

A small tokeniser changes the sound more than small language models differ: compared with the original recordings, FAD would
mostly measure the tokeniser. So references are reconstructed too, except where tokenisers are compared. The suite's references
are mono; for stereo the same compositions are rendered again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from evaluation.suites.items import Item
from experiments import stereo as stereo_parts
from experiments.plan import Plan, Scale
from experiments.rewording import composed
from musicgen import audio
from musicgen.audio import Audio
from musicgen.training.corpus import render

TOKENISED = "through the tokeniser"
ORIGINAL = "original"
SUITE_RATE = 32_000
"""Hz."""


def folder(output: Path, plan: Plan, scale: Scale) -> Path:
    """Where an experiment's references are stored as they were rendered."""
    return output / f"references-{2 if plan.stereo else 1}-{scale.clip_seconds:g}"


def originals(folder: Path, items: Sequence[Item], seconds: float, *, stereo: bool) -> list[Item]:
    """The items with references of `seconds`, stored in `folder` and reused."""

    def sound(item: Item) -> Audio:
        whole = Audio(torch.from_numpy(render(composed(item))), SUITE_RATE) if stereo else audio.read(item.file)
        return Audio(whole.wave[:, : round(seconds * whole.rate)], whole.rate)

    return _kept(folder, items, sound)


@torch.inference_mode()
def tokenised(folder: Path, items: Sequence[Item], model: Any) -> list[Item]:
    """The items with references reconstructed by the model's tokeniser, stored in `folder`."""

    def sound(item: Item) -> Audio:
        wave = audio.read(item.file, channels=model.channels, rate=model.sample_rate).wave
        decoded = model.tokenizer.decode(model.tokenizer.encode(wave[None].to(model.device)))
        return Audio(decoded[0, :, : wave.shape[1]].cpu(), model.sample_rate)

    return _kept(folder, items, sound)


def sides(items: Sequence[Item]) -> list[Item]:
    """The items with the side of their stereo references, stored in a folder beside theirs."""

    def sound(item: Item) -> Audio:
        return stereo_parts.part_of(audio.read(item.file), "side")

    folder = items[0].file.parent
    return _kept(folder.with_name(f"{folder.name}-side"), items, sound)


def _kept(folder: Path, items: Sequence[Item], sound: Any) -> list[Item]:
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for item in tqdm(items, desc=folder.name):
        file = folder / f"{item.id}.flac"
        if not file.is_file():
            audio.write_bytes(file, audio.encode(sound(item), ".flac"))
        made.append(dataclasses.replace(item, file=file, sha256=""))
    return made
