"""Generation settings as text inside a clip's file, sufficient to generate the clip again.

The settings are JSON in the comment tag of the audio file. Input files of the clip (a melody, audio to continue) are recorded
by name and SHA-256, and a model's folder by its name, never by path. So a shared clip reveals nothing about the machine on
which it was generated, and text in a stranger's clip is never used as a path.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from musicgen import audio, catalog, provenance
from musicgen.chords import ChordChart
from musicgen.engine.precision import PRECISIONS
from musicgen.errors import InputError
from musicgen.folders import name_text
from musicgen.options import (
    LIMITERS,
    LOOP_CUTS,
    GenerationOptions,
    check_duration,
    check_limiter,
    check_loop_bars,
    check_loop_cut,
    check_text,
)
from musicgen.samples import file_sha256
from musicgen.sampling import check_seed
from musicgen.timeline import TimelineEntry, check_within, timeline_of
from musicgen.untrusted_text import UntrustedText

KEY = provenance.SETTINGS_KEY
"""The comment is {KEY: {...}}: other programs' comments are not taken for settings."""
MEASURED_KEY = "measured"
"""Beside KEY: {"limiter_reduction": dB, …}."""
SCHEMA = 10
"""Version of what stands under KEY. 1, which names no version, lacks `precision`, `model_folder` and `beyond`; 2 lacks
`conditions`; 3 lacks `timeline` and `loop`; 4 lacks `adapters`; 5 lacks the
options of a style and of MAGNeT, and `chords`; 6 lacks `decoder`; 7 lacks `limiter` and
`watermark`; 8 lacks `loop_cut` and `loop_bars`; in 9 the guidance scale is always a number."""
MAX_COMMENT = 1_000_000
"""Characters of a comment that is read: JSON takes a hundred times its length as Python's objects."""
REPAINTED = "made anew"
"""The end of what `Settings.beyond` says of a span that was made anew: such a clip is not made from its settings alone."""
STOPPED_EARLY = "an early stop"
"""The entry of `Settings.beyond` for a clip whose generation was stopped: it is shorter than its settings say."""
LOUDNESS = (-70.0, 0.0)
"""LUFS that a clip can be brought to."""


@dataclass(frozen=True)
class SourceFile:
    """A file that went into a clip."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    name: str
    sha256: str

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> SourceFile:
        path = Path(path)
        try:
            digest = file_sha256(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
        # A name in another encoding than UTF-8 is kept as far as it is text.
        return cls(name_text(path.name), digest)


@dataclass(frozen=True)
class AdapterUse:
    """A LoRA adapter that a clip was made with: the folder's or hub name, SHA-256 of the weights, and its weight."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    name: str
    sha256: str
    weight: float


@dataclass(frozen=True)
class Settings:
    """One clip's settings.

    version: of the package; model: embedded or hub name, or the name of a folder where `model_folder` is true; precision: of
    the language model, never "auto"; decoder: of `catalog.DECODERS`; loudness: LUFS, None where it was left as decoded;
    limiter: of `options.LIMITERS`, what kept the peaks below the ceiling; watermark: whether the sound has an inaudible mark;
    separate: Demucs on the melody, None without one; conditions: those beside text and melody, by name, as text or as the file
    that they were read from; chords: in place of a melody; adapters: those of the model; timeline, loop: as of
    `GenerationRequest`; loop_cut: of `options.LOOP_CUTS`; loop_bars: of the loop, None for as many as fit; beyond: what else
    decided the clip and is not among these settings, such as a melody that was edited on the page.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    version: str
    model: str
    prompt: str | None
    duration: float
    seed: int
    options: GenerationOptions = field(default_factory=GenerationOptions)
    loudness: float | None = audio.TARGET_LUFS
    limiter: str = LIMITERS[0]
    watermark: bool = False
    melody: SourceFile | None = None
    chords: ChordChart | None = None
    separate: bool | None = None
    continue_from: SourceFile | None = None
    precision: str = "float32"
    decoder: str = catalog.DECODERS[0]
    model_folder: bool = False
    conditions: dict[str, str | SourceFile] = field(default_factory=dict)
    adapters: tuple[AdapterUse, ...] = ()
    timeline: tuple[TimelineEntry, ...] = ()
    loop: bool = False
    loop_cut: str = LOOP_CUTS[0]
    loop_bars: int | None = None
    beyond: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "duration", check_duration(self.duration))
        check_seed(self.seed)
        object.__setattr__(self, "timeline", timeline_of(self.timeline))
        check_within(self.timeline, self.duration)
        if self.prompt is not None:
            check_text("the prompt", self.prompt)
        if self.loudness is not None:
            object.__setattr__(self, "loudness", check_loudness(self.loudness))
        check_limiter(self.limiter)
        check_loop_cut(self.loop_cut)
        check_loop_bars(self.loop_bars)
        if self.precision not in PRECISIONS:
            raise InputError(f"unknown precision {self.precision[:20]!r}: one of {', '.join(PRECISIONS)}")
        catalog.check_decoder(self.decoder)

    @property
    def repainted(self) -> bool:
        """Whether it is another clip with a span made anew."""
        return any(one.endswith(REPAINTED) for one in self.beyond)

    def comment(self, measured: Mapping[str, Any] | None = None) -> str:
        """The text that goes into the file.

        Args:
            measured: what was measured of the clip, by name: it follows from the settings, and does not make the clip.
        """
        values: dict[str, Any] = {KEY: {"schema": SCHEMA, **dataclasses.asdict(self)}}
        return json.dumps(values | {MEASURED_KEY: dict(measured)} if measured else values)

    @classmethod
    def from_comment(cls, comment: str, source: str) -> Settings:
        """The settings in a comment; `source` names the file in errors."""
        return ClipComment.parse(comment, source).settings

    @classmethod
    def of_file(cls, path: str | os.PathLike[str]) -> Settings:
        return ClipComment.of_file(path).settings

    @classmethod
    def of_recording(cls, path: str | os.PathLike[str]) -> Settings | None:
        """The settings in any audio file, None where it is no clip of this program.

        Raises:
            InputError: The file cannot be read, or its settings are damaged.
        """
        comment = audio.read_comment(path)
        return cls.from_comment(comment, str(path)) if f'"{KEY}"' in comment else None


@dataclass(frozen=True)
class ClipComment:
    """What the comment of a clip's file says: the only reader of it.

    Attributes:
        settings: Validated. Their texts are `UntrustedText` where a text may be a path, because the file may be a stranger's.
        values: The whole comment: the settings as they are written under KEY, what was measured under MEASURED_KEY, and what
            other parts of the program keep beside them under keys of their own.
    """

    settings: Settings
    values: Mapping[str, Any]

    @property
    def measured(self) -> Mapping[str, Any]:
        """As of `Settings.comment`."""
        measured = self.values.get(MEASURED_KEY, {})
        return measured if isinstance(measured, dict) else {}

    @classmethod
    def of_file(cls, path: str | os.PathLike[str], name: str = "") -> ClipComment:
        """The comment of a file.

        Args:
            path: The file.
            name: What errors call it, its path by default.

        Raises:
            InputError: The file cannot be read, holds no settings, or damaged ones.
        """
        try:
            text = audio.read_comment(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), name) if name else str(error)) from error
        return cls.parse(text, name or str(path))

    @classmethod
    def parse(cls, text: str, source: str) -> ClipComment:
        """A comment out of its text.

        Args:
            text: Of the tag.
            source: The file's name for errors.

        Raises:
            InputError: It holds no settings, or damaged ones.
        """
        if len(text) > MAX_COMMENT:
            raise InputError(
                f"{source}: its comment has {len(text)} characters, and settings have at most {MAX_COMMENT}: it is no clip "
                "of this program"
            )
        try:
            values = json.loads(text)
            stored = values[KEY]
        except (ValueError, KeyError, TypeError, RecursionError):
            stored = None
        if not isinstance(stored, dict):
            raise InputError(f"{source}: holds no settings of this program (was it re-encoded or tagged since?)")
        schema = stored.get("schema", 1)
        if type(schema) is int and schema > SCHEMA:
            raise InputError(
                f"{source}: was made by a newer version of this program (settings of schema {schema}; the newest "
                f"known here is {SCHEMA}): update it"
            )
        try:
            fields = json.dumps({name: value for name, value in stored.items() if name != "schema"})
            settings = _ADAPTER.validate_json(fields)
        except (ValidationError, RecursionError) as error:
            raise InputError(f"{source}: its settings are damaged ({_first(error)})") from error
        conditions: dict[str, str | SourceFile] = {
            name: UntrustedText(value) if isinstance(value, str) else value
            for name, value in settings.conditions.items()
        }
        return cls(dataclasses.replace(settings, conditions=conditions), values)

    @classmethod
    def parse_whole(cls, text: str) -> ClipComment | None:
        """As `parse`, but damaged settings are treated as missing: returns None for both."""
        try:
            return cls.parse(text, "")
        except InputError:
            return None


_ADAPTER = TypeAdapter(Settings)


def check_loudness(lufs: float) -> float:
    """`lufs` as a float, if a clip can be brought to it."""
    low, high = LOUDNESS
    if not low <= lufs <= high:
        raise InputError(f"loudness is {lufs:g} LUFS: it must lie between {low:g} and {high:g}")
    return float(lufs)


def _first(error: Exception) -> str:
    """The first fault that the schema found, in a line."""
    if not isinstance(error, ValidationError):
        return "nested too deeply"
    fault: Any = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, fault["loc"]))
    return f"{place}: {fault['msg']}" if place else str(fault["msg"]).removeprefix("Value error, ")
