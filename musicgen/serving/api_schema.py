"""Request and response schemas of the HTTP API, as pydantic models from which FastAPI generates the OpenAPI description."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from musicgen.catalog import DECODERS
from musicgen.chords import chart_of
from musicgen.errors import InputError
from musicgen.options import LIMITERS, LOOP_CUTS, GenerationOptions
from musicgen.serving.models import CONDITIONS_WITH_INPUTS, ModelCatalog
from musicgen.serving.request import FILES, PRECISIONS, ClipRequest, clean_prompt
from musicgen.timeline import TimelineEntry

Status = Literal["queued", "running", "done", "failed", "cancelled"]
Identifier = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
"""Of a generation or a file: 128 random bits."""


class Message(BaseModel):
    """A body that clients send: what it does not know is an error, so that a misspelt field is not ignored."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class PromptChange(Message):
    """A change of the prompt during the clip."""

    start: float
    """Seconds."""
    prompt: str


class GenerationBody(Message):
    """What to generate. Each field has the meaning of the argument of that name of `MusicGen.generate`."""

    prompt: str = ""
    """The description."""
    model: str | None = None
    """A name in `/v1/models`; null for the first of them."""
    duration: float = 10.0
    """Seconds."""
    seed: int | None = None
    """null draws one, which the answer names."""
    variations: int = 1
    """Number of clips, with consecutive seeds."""
    options: GenerationOptions = Field(default_factory=GenerationOptions)
    """Sampling and guidance, the options of docs/generation.md; `condition_guidance` is pairs or an object."""
    melody: Identifier | None = None
    """A file in `/v1/files`: a recording or a MIDI file whose melody the clip follows."""
    frames: list[int] | None = None
    """An edited melody in place of the file's: one pitch class, 0 (C) to 11, for each 0.128 s."""
    separate: bool | None = None
    """Whether to remove drums and bass from the melody; null as in the model's training."""
    chords: str | None = None
    """In place of a melody, one bar after the other: "C G Am F"."""
    bpm: float | None = None
    """Of the chords; null is 120."""
    metre: str | None = None
    """Of the chords; null is 4/4."""
    style: Identifier | None = None
    """A file in `/v1/files` that the clip sounds like, for MusicGen-Style."""
    continue_from: Identifier | None = None
    """A file in `/v1/files` with which the clip begins."""
    span: tuple[float, float] | None = None
    """Seconds of `continue_from` that are made anew in place of a continuation."""
    timeline: list[PromptChange] = Field(default_factory=list)
    """Changes of the prompt."""
    precision: str = PRECISIONS[0]
    """auto, float32 (exact), bfloat16, float16, int8 or int4."""
    loop: bool = False
    """Whether the clip repeats without a seam."""
    loop_cut: str = LOOP_CUTS[-1]
    """Where a loop is cut: end or bars."""
    limiter: str = LIMITERS[-1]
    """What keeps peaks below the ceiling: true-peak or none."""
    adapters: dict[str, float] = Field(default_factory=dict)
    """The operator's LoRA adapters by name, with their weights."""
    conditions: dict[str, str] = Field(default_factory=dict)
    """Of the model's further conditioners, by name."""
    decoder: str = DECODERS[0]
    """codec, the model's own, or mbd, multi-band diffusion."""

    @field_validator("options", mode="before")
    @classmethod
    def _pairs_of_an_object(cls, value: Any) -> Any:
        """The options as pydantic reads them: `condition_guidance` as pairs, where it is an object as in Python a dict."""
        given = value.get("condition_guidance") if isinstance(value, dict) else None
        return value | {"condition_guidance": list(given.items())} if isinstance(given, dict) else value

    def request(self, catalog: ModelCatalog, files: dict[str, Path]) -> ClipRequest:
        """The request, which is not validated yet.

        Args:
            catalog: the models.
            files: field -> file of the fields that name one.

        Raises:
            InputError: for what is no chart of chords, and conditions that have a field of their own.
        """
        own = sorted(set(self.conditions) & set(CONDITIONS_WITH_INPUTS))
        if own:
            raise InputError(f"the condition {own[0]!r} has a field of its own: leave it out of the conditions")
        return ClipRequest(
            prompt=clean_prompt(self.prompt),
            model=catalog.default() if self.model is None else self.model,
            duration=self.duration,
            seed=self.seed,
            variations=self.variations,
            options=dataclasses.replace(
                self.options, negative_prompt=clean_prompt(self.options.negative_prompt) or None
            ),
            frames=tuple(self.frames) if self.frames else None,
            separate=self.separate,
            chords=chart_of(self.chords, self.bpm, self.metre),
            timeline=tuple(TimelineEntry(entry.start, clean_prompt(entry.prompt)) for entry in self.timeline),
            precision=self.precision,
            loop=self.loop,
            loop_cut=self.loop_cut,
            limiter=self.limiter,
            adapters=tuple(sorted(self.adapters.items())),
            conditions=tuple(sorted((name, clean_prompt(value)) for name, value in self.conditions.items())),
            decoder=self.decoder,
            span=self.span,
        ).with_files(files)

    @property
    def files(self) -> dict[str, str]:
        """Field -> identifier of the file that it names."""
        return {name: value for name in FILES if (value := getattr(self, name)) is not None}


def body_of(request: ClipRequest, files: dict[str, str]) -> GenerationBody:
    """The body that asks for a request: the opposite of `GenerationBody.request`.

    Args:
        request: the request.
        files: field -> identifier of its files on the server.
    """
    chart = request.chords
    return GenerationBody(
        prompt=request.prompt,
        model=request.model,
        duration=request.duration,
        seed=request.seed,
        variations=request.variations,
        options=request.options,
        frames=None if request.frames is None else list(request.frames),
        separate=request.separate,
        chords=None if chart is None else chart.chords,
        bpm=None if chart is None else chart.bpm,
        metre=None if chart is None else chart.metre,
        span=request.span,
        timeline=[PromptChange(start=entry.start, prompt=entry.prompt) for entry in request.timeline],
        precision=request.precision,
        loop=request.loop,
        loop_cut=request.loop_cut,
        limiter=request.limiter,
        adapters=dict(request.adapters),
        conditions=dict(request.conditions),
        decoder=request.decoder,
        melody=files.get("melody"),
        style=files.get("style"),
        continue_from=files.get("continue_from"),
    )


class ClipState(BaseModel):
    """A finished clip."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    index: int
    """Of the variation."""
    seed: int
    seconds: float
    sample_rate: int
    """Hz."""
    channels: int
    loudness: float | None
    """LUFS; null for silence."""
    complete: bool
    """Whether the generation was not stopped early."""
    unknown: float
    """Share of the description's tokens that the model's vocabulary lacks."""
    audio: str
    """Path of the file; `?format=` selects flac, wav, mp3 or ogg."""


class ProgressState(BaseModel):
    """How far a generation is."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    message: str
    fraction: float
    """Of all variations."""
    seconds_left: float | None
    """An estimate."""


class Failure(BaseModel):
    """Why something was refused or failed."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    code: str
    """For programs."""
    message: str
    """One line for a person."""


class Refusal(BaseModel):
    """The answer to a request that is refused."""

    error: Failure


class GenerationState(BaseModel):
    """A generation."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    status: Status
    model: str
    seed: int
    """Of the first clip."""
    precision: str
    """In which the model computes, once it is known; before that as it was asked for."""
    duration: float
    position: int
    """In the queue: 1 for the next one, 0 once it runs."""
    progress: ProgressState | None
    clips: list[ClipState]
    error: Failure | None
    events: str
    """Path of the server-sent events."""
    stream: str
    """Path of the first clip's sound while it is generated."""


class GenerationPage(BaseModel):
    """A part of a client's generations."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    generations: list[GenerationState]
    """The newest first."""
    next: str | None
    """What `before` is for the next part; null where there is none."""


class FileState(BaseModel):
    """A file that was sent."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    name: str
    seconds: float | None
    """Of a recording; null for MIDI."""


class ModelState(BaseModel):
    """A model that can be asked for."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    size: int
    """Bytes of the weights."""
    licence: str
    origin: str
    """embedded, published, or folder: the operator's."""
    stereo: bool | None
    melody: bool | None
    """Whether it follows melodies and chords; null where only loading it tells."""
    style: bool | None
    conditions: list[str] | None
    separated: bool
    sounds: bool
    longest: float | None
    """Seconds of its longest clip; null where clips may be longer than its window."""
    generator: str | None
    """autoregressive (step by step), or masked (MAGNeT's passes); null where only loading it tells."""
    multi_band: bool | None
    """Whether its tokeniser is of the kind that the decoder mbd decodes; null where only loading it tells."""
    here: bool
    """Whether its weights need not be downloaded."""


class AdapterState(BaseModel):
    """A LoRA adapter that can be asked for."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    base: str
    """The model that it was trained on, as its files say; "" where they do not."""
    sha256: str
    """Of the file of its weights."""


def model_state(info: Any, here: bool) -> ModelState:
    """What clients are told of a model.

    Args:
        info: a `ModelInfo`.
        here: whether its weights need not be downloaded.
    """
    values = {name: getattr(info, name) for name in ModelState.model_fields if name not in ("here", "conditions")}
    return ModelState(**values, conditions=None if info.conditions is None else list(info.conditions), here=here)
