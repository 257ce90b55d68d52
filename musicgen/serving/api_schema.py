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
"""The identifier of a generation or a file: 128 random bits."""


class Message(BaseModel):
    """A request body. Unknown fields are an error, so that a misspelt field is not ignored."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class PromptChange(Message):
    """A change of the prompt during the clip."""

    start: float
    """Seconds from the beginning of the clip."""
    prompt: str


class GenerationBody(Message):
    """A generation request. Each field has the meaning of the argument of that name of `MusicGen.generate`."""

    prompt: str = ""
    """The description."""
    model: str | None = None
    """A name in `/v1/models`; null for the default model."""
    duration: float = 10.0
    """Seconds."""
    seed: int | None = None
    """The seed of the first clip; null draws a random one, which the response contains."""
    variations: int = 1
    """Number of clips, with consecutive seeds."""
    options: GenerationOptions = Field(default_factory=GenerationOptions)
    """Sampling and guidance, the options of docs/generation.md; `condition_guidance` is a list of pairs or an object."""
    melody: Identifier | None = None
    """A file in `/v1/files`: a recording or a MIDI file whose melody the clip follows."""
    frames: list[int] | None = None
    """An edited melody that replaces that of the file: one pitch class, 0 (C) to 11, per 0.128 s."""
    separate: bool | None = None
    """Whether to remove drums and bass from the melody; null as in the model's training."""
    chords: str | None = None
    """A chord progression instead of a melody, one chord per bar: "C G Am F"."""
    bpm: float | None = None
    """Tempo of the chords; null is 120."""
    metre: str | None = None
    """Time signature of the chords; null is 4/4."""
    style: Identifier | None = None
    """A file in `/v1/files` whose style the clip follows, for MusicGen-Style."""
    continue_from: Identifier | None = None
    """A file in `/v1/files` that the clip continues and begins with."""
    span: tuple[float, float] | None = None
    """Start and end in seconds of the span of `continue_from` to regenerate, instead of continuing it."""
    timeline: list[PromptChange] = Field(default_factory=list)
    """Changes of the prompt."""
    precision: str = PRECISIONS[0]
    """auto, float32 (exact), bfloat16, float16, int8 or int4."""
    loop: bool = False
    """Whether the clip is a seamless loop."""
    loop_cut: str = LOOP_CUTS[-1]
    """Where a loop is cut: end or bars."""
    limiter: str = LIMITERS[-1]
    """The limiter that keeps peaks below the ceiling: true-peak or none."""
    adapters: dict[str, float] = Field(default_factory=dict)
    """The operator's LoRA adapters by name, with their weights."""
    conditions: dict[str, str] = Field(default_factory=dict)
    """Values for further conditioners of the model, by name."""
    decoder: str = DECODERS[0]
    """codec (the tokeniser's decoder), or mbd (multi-band diffusion)."""

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
            InputError: for an invalid chord chart, and conditions that have a field of their own.
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
    """The body of a request, the inverse of `GenerationBody.request`.

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
    """Index of the variation."""
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
    """Share of the description's tokens that are not in the model's vocabulary."""
    audio: str
    """Path of the file; `?format=` selects flac, wav, mp3 or ogg."""


class ProgressState(BaseModel):
    """The progress of a generation."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    message: str
    fraction: float
    """Fraction done of all variations."""
    seconds_left: float | None
    """Estimated remaining time."""


class Failure(BaseModel):
    """The reason of a refusal or failure."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    code: str
    """Machine-readable code."""
    message: str
    """One line for people."""


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
    """Seed of the first clip."""
    precision: str
    """The precision of the model, once it is known; until then the requested one."""
    duration: float
    position: int
    """Position in the queue: 1 for the next one, 0 once it runs."""
    progress: ProgressState | None
    clips: list[ClipState]
    error: Failure | None
    events: str
    """Path of the server-sent events."""
    stream: str
    """Path of the live audio stream of the first clip."""


class GenerationPage(BaseModel):
    """A part of a client's generations."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    generations: list[GenerationState]
    """Ordered from the newest to the oldest."""
    next: str | None
    """The value of `before` for the next part; null if there is none."""


class FileState(BaseModel):
    """An uploaded file."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    name: str
    seconds: float | None
    """Length of a recording; null for MIDI."""


class ModelState(BaseModel):
    """An available model."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    size: int
    """Bytes of the weights."""
    licence: str
    origin: str
    """embedded, published, or folder: the operator's."""
    stereo: bool | None
    melody: bool | None
    """Whether it follows melodies and chords; null if this is only known after loading."""
    style: bool | None
    conditions: list[str] | None
    separated: bool
    sounds: bool
    longest: float | None
    """Seconds of its longest clip; null if clips may be longer than its window."""
    generator: str | None
    """autoregressive (step by step), or masked (MAGNeT's passes); null if this is only known after loading."""
    multi_band: bool | None
    """Whether the decoder mbd supports its tokeniser; null if this is only known after loading."""
    here: bool
    """Whether its weights are already on the server."""


class AdapterState(BaseModel):
    """An available LoRA adapter."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    base: str
    """The model that it was trained on, according to its files; "" if they do not name it."""
    sha256: str
    """sha256 of its weight file."""


def model_state(info: Any, here: bool) -> ModelState:
    """The description of a model for clients.

    Args:
        info: a `ModelInfo`.
        here: whether its weights need not be downloaded.
    """
    values = {name: getattr(info, name) for name in ModelState.model_fields if name not in ("here", "conditions")}
    return ModelState(**values, conditions=None if info.conditions is None else list(info.conditions), here=here)
