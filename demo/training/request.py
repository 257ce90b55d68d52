"""A visitor's request to train an adapter: its type, and the checks that need no file to be decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from musicgen.errors import InputError
from musicgen.serving.models import ModelCatalog, ModelInfo
from musicgen.serving.request import check_integer, clean_prompt

from ..configuration import TrainingLimits

MIN_CLIPS = 5
MAX_NAME = 40
"""Characters of an adapter's name."""
MIN_STEPS, MAX_STEPS = 10, 2_000


@dataclass(frozen=True)
class TrainingClip:
    """One clip: its file as the server has stored it, the name under which the visitor knows it, and its text."""

    file: Path
    name: str
    caption: str


@dataclass(frozen=True)
class TrainingRequest:
    """What to train on what.

    Attributes:
        name: of the adapter, as the visitor has it.
        model: a name in the catalog.
        clips: to train on; a tenth of them are held out.
        steps: of the training.
        sample_every: steps between two samples to hear.
    """

    name: str
    model: str
    clips: tuple[TrainingClip, ...]
    steps: int = 200
    sample_every: int = 50


def trainable(info: ModelInfo) -> bool:
    """Whether adapters can be trained for a model: one that makes codes step by step and follows no style."""
    return info.longest is None and info.style is False and not info.conditions


def captions_of(text: str, names: Sequence[str]) -> list[str]:
    """The texts of the clips, a line each, such as "song.mp3: slow folk on two guitars".

    Args:
        text: the lines, in the order of the clips; empty ones do not count.
        names: of the clips' files.

    Raises:
        InputError: there are more or fewer lines than clips.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) != len(names):
        raise InputError(f"{len(lines)} captions for {len(names)} clips: one line for each clip, in their order")
    return [clean_prompt(line.removeprefix(f"{name}:")) for line, name in zip(lines, names, strict=True)]


def validate(request: TrainingRequest, limits: TrainingLimits, catalog: ModelCatalog, max_caption: int) -> None:
    """Check a request before any of its files is read.

    Args:
        request: of the visitor.
        limits: of the operator.
        catalog: the offered models.
        max_caption: characters of a caption.

    Raises:
        InputError: for a value that is out of range, and a model that is not offered or takes no adapters.
    """
    if not request.name:
        raise InputError("the adapter has no name: type one, under which you will find it among the LoRA adapters")
    if len(request.name) > MAX_NAME:
        raise InputError(f"the adapter's name has {len(request.name)} characters: {MAX_NAME} at most")
    if not trainable(catalog.get(request.model)):
        raise InputError(f"{request.model} takes no adapters: choose another model to train for")
    if len(request.clips) < MIN_CLIPS:
        raise InputError(f"{len(request.clips)} clips to train on: {MIN_CLIPS} at least")
    if len(request.clips) > limits.clips:
        raise InputError(f"{len(request.clips)} clips to train on: {limits.clips} at most")
    for clip in request.clips:
        if not clip.caption:
            raise InputError(f"{clip.name}: has no caption: say in some words what is heard in it")
        if len(clip.caption) > max_caption:
            raise InputError(f"{clip.name}: its caption has {len(clip.caption)} characters: {max_caption} at most")
    check_integer(request.steps, "steps", MIN_STEPS, MAX_STEPS)
    check_integer(request.sample_every, "steps between two samples", MIN_STEPS, MAX_STEPS)
