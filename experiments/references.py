"""What clips are compared with: the suite's references, as long as the clips, and as the tokeniser lets them sound.

A small tokeniser changes sound more than small language models differ: against the original recordings, FAD would hear
hardly anything else. So both sides go through it, except where the tokenisers themselves are compared. The suite's references
are mono; in stereo, the same compositions are rendered anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from evaluation.data import Item
from experiments.wording import composed
from musicgen import audio
from musicgen.audio import Audio
from musicgen.training.corpus import render

TOKENISED = "through the tokeniser"
ORIGINAL = "original"
SUITE_RATE = 32_000
"""Hz."""


def originals(folder: Path, items: Sequence[Item], seconds: float, *, stereo: bool) -> list[Item]:
    """The items with files of `seconds` in `folder`, which keeps them: they are made once."""

    def sound(item: Item) -> Audio:
        whole = Audio(torch.from_numpy(render(composed(item))), SUITE_RATE) if stereo else audio.read(item.file)
        return Audio(whole.wave[:, : round(seconds * whole.rate)], whole.rate)

    return _kept(folder, items, sound)


@torch.inference_mode()
def tokenised(folder: Path, items: Sequence[Item], model: Any) -> list[Item]:
    """The items as the model's tokeniser gives them back, kept in `folder`."""

    def sound(item: Item) -> Audio:
        wave = audio.read(item.file, channels=model.channels, rate=model.sample_rate).wave
        decoded = model.tokenizer.decode(model.tokenizer.encode(wave[None].to(model.device)))
        return Audio(decoded[0, :, : wave.shape[1]].cpu(), model.sample_rate)

    return _kept(folder, items, sound)


def _kept(folder: Path, items: Sequence[Item], sound: Any) -> list[Item]:
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for item in tqdm(items, desc=folder.name):
        file = folder / f"{item.id}.flac"
        if not file.is_file():
            audio.write_bytes(file, audio.encode(sound(item), ".flac"))
        made.append(dataclasses.replace(item, file=file, sha256=""))
    return made
