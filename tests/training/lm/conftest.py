"""A dozen short tones with sidecars, a tiny audio tokeniser, and recipes on them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from accelerate.state import AcceleratorState
from transformers import EncodecModel

from musicgen.training.lm.config import LMRecipe
from tests.standins import encodec_config

RATE = 32_000
NUM_CLIPS = 24


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tones, 1.2 to 2.3 s long, stereo, each with a JSON file of its metadata."""
    folder = tmp_path_factory.mktemp("music")
    for number in range(NUM_CLIPS):
        time = np.arange(round(RATE * (1.2 + number / 20))) / RATE
        pitch = 220 * 2 ** (number % 12 / 12)
        wave = np.stack([np.sin(2 * np.pi * pitch * time), np.sin(2 * np.pi * pitch * 1.5 * time)], axis=1) * 0.3
        soundfile.write(folder / f"tone-{number:02d}.flac", wave, RATE)
        fields = {
            "description": f"a pure tone number {number} played by a sine",
            "genre": "drone",
            "bpm": 60 + number,
            "key": "A major",
            "instrument": "sine",
        }
        (folder / f"tone-{number:02d}.json").write_text(json.dumps(fields))
    return folder


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    torch.manual_seed(3)
    model = EncodecModel(encodec_config(4))
    for name, buffer in model.named_buffers():
        if name.endswith("codebook.embed"):
            buffer.normal_(0.0, 1.0)
    model.save_pretrained(folder)
    return folder


def recipe_values(music: Path, tokenizer: Path, **sections: dict[str, Any]) -> dict[str, Any]:
    """A tiny recipe; a keyword adds to a section."""
    values: dict[str, Any] = {
        "shape": {"dim": 16, "num_heads": 2, "num_layers": 2},
        "text": {"new": {"vocabulary": 60, "dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 16}},
        "data": {
            "path": str(music), "tokenizer": str(tokenizer), "seconds": 1.0, "melody": "mix", "lanes": 2, "validation": 2,
        },
        "optimisation": {
            "steps": 6, "batch": 4, "learning_rate": 1e-2, "warmup": 2, "average": 0.5, "precision": "float32",
        },
        "every": {"log": 1, "validate": 6, "checkpoint": 2, "samples": 6},
    }  # fmt: skip
    for name, section in sections.items():
        values[name] = values.get(name, {}) | section
    return values


@pytest.fixture
def recipe(music: Path, tokenizer_folder: Path) -> LMRecipe:
    return LMRecipe.from_dict(recipe_values(music, tokenizer_folder))


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> None:
    """Accelerate keeps one state a process: every test starts without."""
    AcceleratorState._reset_state(reset_partial_state=True)
