"""Checks of a request against a model's files before the model is loaded: whether adapters fit it, and whether texts are too
long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from safetensors import safe_open

from musicgen.checkpoint import adapters as lora
from musicgen.checkpoint import transformers_layout
from musicgen.checkpoint.adapter_folders import WEIGHTS
from musicgen.checkpoint.loading import local_folder
from musicgen.checkpoint.tensors import weight_files
from musicgen.conditioners.text_tokenizer import TOKENIZER, TextTokenizer
from musicgen.errors import InputError
from musicgen.text_format import counted

KEPT = 32
"""Adapters, models and tokenisers of which is kept what their files tell."""


def check_adapters(source: str, folders: Sequence[Path], shown: str) -> None:
    """Check that LoRA adapters fit a model, as far as its files tell.

    Args:
        source: hub name, embedded name or folder of the model.
        folders: of the adapters.
        shown: the model's name in messages.

    Raises:
        CheckpointError: an adapter is damaged, or of another model.
    """
    folder = local_folder(source) if folders else None
    files = [] if folder is None else weight_files([path.name for path in folder.iterdir()])
    if folder is None or not any(file.endswith(".safetensors") for file in files):
        return
    shapes = _adaptable(folder, tuple(files))
    for one in folders:
        lora.check_fit(_adapter(one, _changed(one)), shown, shapes)


def check_texts(source: str, texts: Sequence[str], most: int) -> None:
    """Check that descriptions are not too long for a model, as far as its files tell.

    Args:
        source: as of `check_adapters`.
        texts: the descriptions.
        most: tokens of one.

    Raises:
        InputError: one is too long.
    """
    longer = [text for text in texts if len(text.encode()) >= most]  # a token has a byte at least
    folder = local_folder(source) if longer else None
    if folder is None or not (folder / TOKENIZER).is_file():
        return
    for text in longer:
        tokens = len(_tokenizer(folder).backend.encode(text).ids)
        if tokens > most:
            raise InputError(f"the description has {counted(tokens, 'token')}: {most} at most, shorten it")


@lru_cache(KEPT)
def _tokenizer(folder: Path) -> TextTokenizer:
    return TextTokenizer.load(folder)


@lru_cache(KEPT)
def _adapter(folder: Path, changed: int) -> lora.Adapter:  # noqa: ARG001 (an adapter that has changed is read anew)
    return lora.read(folder)


def _changed(folder: Path) -> int:
    return max((path.stat().st_mtime_ns for name in WEIGHTS if (path := folder / name).is_file()), default=0)


@lru_cache(KEPT)
def _adaptable(folder: Path, files: Sequence[str]) -> Mapping[str, list[int]]:
    """transformers' name of each weight in a model's files that adapters may change -> its shape."""
    config, _ = transformers_layout.shape(folder)
    parts = {part for parts in transformers_layout.lm_names(config).values() for part in parts}
    parts |= {f"{projection}.{kind}" for projection in lora.PROJECTIONS for kind in ("weight", "bias")}
    shapes: dict[str, list[int]] = {}
    for file in files:
        if file.endswith(".safetensors"):
            with safe_open(folder / file, framework="pt") as opened:
                shapes |= {key: opened.get_slice(key).get_shape() for key in opened.keys() if key in parts}  # noqa: SIM118
    return shapes
