"""A training of a visitor: its folder, and its state as the page shows it.

FOLDER/music/manifest.jsonl, 0001.flac, …   the clips, renamed
FOLDER/output/                              the output of `musicgen.training.lm.trainer`
FOLDER/adapters/NAME/                       the adapters so far, as offered by the catalog of adapters
FOLDER/log.txt                              the output of the training's process
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from musicgen.decoding import EXTENSIONS

from .messages import NOTHING, Curve
from .request import TrainingRequest


class State(StrEnum):
    """Of a training."""

    WAITING = "waiting"
    PREPARING = "preparing"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True)
class Snapshot:
    """How far a training is.

    Attributes:
        state: what it does.
        curve: its losses.
        sample: the newest clip to hear, None before the first.
        adapter: name of the newest adapter, "" before the first.
        message: why it stopped or failed, "" without a reason.
    """

    state: State
    curve: Curve = NOTHING
    sample: Path | None = None
    adapter: str = ""
    message: str = ""

    @property
    def can_go_on(self) -> bool:
        """Whether the training has steps left and does not run."""
        return self.state in (State.STOPPED, State.FAILED)


class Run:
    """One training. Its snapshot is changed by `Trainings` alone.

    Attributes:
        owner: token of the visit that has it.
        network: for whose share its files count.
        folder: of the run; its name has 128 random bits.
        longest: seconds of the longest clip.
        seconds: that its process has run so far.
    """

    def __init__(self, owner: str, network: str, folder: Path, request: TrainingRequest, longest: float) -> None:
        self.owner, self.network, self.folder, self.request, self.longest = owner, network, folder, request, longest
        self.snapshot = Snapshot(State.WAITING)
        self.seconds = 0.0

    @property
    def id(self) -> str:
        """The unguessable part of its folder's name."""
        return self.folder.name

    @property
    def music(self) -> Path:
        """The manifest of the clips."""
        return self.folder / "music" / "manifest.jsonl"

    @property
    def output(self) -> Path:
        """The output folder of the training."""
        return self.folder / "output"

    @property
    def adapters(self) -> Path:
        """The adapters so far."""
        return self.folder / "adapters"

    def write_music(self) -> None:
        """Put the clips into the folder; the texts into its manifest."""
        self.music.parent.mkdir(mode=0o700)
        lines = []
        for number, clip in enumerate(self.request.clips, 1):
            suffix = clip.file.suffix.lower()
            file = self.music.parent / f"{number:04d}{suffix if suffix in EXTENSIONS else ''}"
            try:
                os.link(clip.file, file)
            except OSError:  # a disk without links
                shutil.copyfile(clip.file, file)
            lines.append(json.dumps({"path": file.name, "description": clip.caption}) + "\n")
        self.music.write_text("".join(lines), encoding="utf-8")

    def newest_sample(self) -> Path | None:
        """The first clip of the newest samples."""
        return max((self.output / "samples").glob("step-*-1.flac"), default=None)

    def size(self) -> int:
        """Bytes of its files, but of the clips, which are the visitor's uploads."""
        total = 0
        for path in self.folder.rglob("*"):
            with contextlib.suppress(OSError):
                total += path.lstat().st_size if path.is_file() and path.parent != self.music.parent else 0
        return total

    def touch(self) -> None:
        """Let all files expire together, so that a training is there as a whole or not at all."""
        for path in self.folder.rglob("*"):
            with contextlib.suppress(OSError):
                path.touch()

    def forget_steps(self) -> None:
        """Delete what only the next step would need."""
        for name in ("tokens", "checkpoints", "tensorboard", "adapter"):
            shutil.rmtree(self.output / name, ignore_errors=True)
        shutil.rmtree(self.music.parent, ignore_errors=True)
