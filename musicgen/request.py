"""Generation requests: the shared definition of the arguments of `generate`, `stream` and `submit`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

from musicgen.chords import chart_of
from musicgen.errors import InputError
from musicgen.options import GenerationOptions, check_duration, check_text
from musicgen.recordings import AudioInput, is_pair
from musicgen.text_format import counted
from musicgen.timeline import Timeline, TimelineEntry, check_within, timeline_of

TEXT = "text"
"""The condition that the prompts are."""
SHORT = ("melody", "style")
"""The conditions that are arguments of their own as well."""
Prompts = str | Sequence[str | None] | None
"""One description or B of them; None or "" generates without text."""


class RequestArguments(TypedDict, total=False):
    """The keyword arguments of a request; `GenerationRequest.of` describes them."""

    seed: int | Sequence[int] | None
    melody: Any
    style: Any
    chords: str | None
    bpm: float | None
    metre: str | None
    continue_from: AudioInput | Sequence[AudioInput] | None
    options: GenerationOptions | Mapping[str, Any] | None
    separate: bool | None
    conditions: Mapping[str, Any] | None
    timeline: Timeline
    loop: bool


@dataclass(frozen=True, eq=False)
class GenerationRequest:
    """A request for B clips, validated as far as possible without a model. `of` makes one from users' arguments.

    Attributes:
        prompts: B descriptions; None or "" generates without text.
        duration: Seconds of the result, including the audio prompt.
        seed: Clip i uses `seed + i`; a list gives one seed for each clip; None draws random seeds.
        conditions: Name of a conditioner -> its value for all clips, or a list with one for each clip (None for none).
        continue_from: Audio that the clips start with, None for none.
        options: Sampling and guidance.
        separate: Whether drums and bass are removed from a melody; None as in the model's training.
        timeline: Changes of the prompt, ordered by time.
        loop: Whether the end of a clip is mixed into its beginning, so that it loops seamlessly.
    """

    prompts: tuple[str | None, ...]
    duration: float = 10.0
    seed: int | Sequence[int] | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)
    continue_from: AudioInput | Sequence[AudioInput] | None = None
    options: GenerationOptions = field(default_factory=GenerationOptions)
    separate: bool | None = None
    timeline: tuple[TimelineEntry, ...] = ()
    loop: bool = False

    def __post_init__(self) -> None:
        if TEXT in self.conditions:
            raise InputError(f"the condition {TEXT!r} is given by the prompts: leave it out of the conditions")
        object.__setattr__(self, "prompts", tuple(check_prompts(self.prompts)))
        object.__setattr__(self, "duration", check_duration(self.duration))
        check_within(self.timeline, self.duration)

    @classmethod
    def of(
        cls, prompts: Prompts | GenerationRequest, duration: float = 10.0, **arguments: Unpack[RequestArguments]
    ) -> GenerationRequest:
        """A request from the arguments that users pass; a request is returned unchanged.

        Args:
            prompts: B descriptions, or one; None or "" generates without text.
            duration: Seconds of the result, including the audio prompt. Clips longer than the model's `max_duration` are
                generated in overlapping windows.
            **arguments:
                seed: Clip i uses `seed + i`; a list gives one seed for each clip; None draws them from the operating system.
                    A clip depends only on its own seed, not on the other clips of the batch.
                melody: One for all clips, or a list with one for each clip (None for none). A file, an `Audio`,
                    (samples, rate), a MIDI file, or chroma frames [frames, 12].
                chords: A chord progression instead of a melody, one chord per bar: "C G,E7 Am F", repeated to the end
                    (`ChordChart`). Melody models read it as chroma with several pitch classes at once.
                bpm: Its tempo in quarter notes per minute, 120 by default.
                metre: Its time signature, "4/4" by default.
                style: A recording whose style the clips follow, for MusicGen-Style: one for all clips, or a list with one for
                    each clip (None for none). A file, an `Audio`, or (samples, rate), of 1.5 s at least.
                continue_from: Audio prompt that the clip starts with: one for all, or one for each clip, all of equal
                    length. A file, an `Audio`, or (samples, rate).
                options: Sampling and classifier-free guidance, as `GenerationOptions` or as a dict of its fields; the
                    paper's by default.
                separate: Whether Demucs removes drums and bass from the melody; False for clean or hummed melodies. None
                    as in the model's training: True for the published models, False for the embedded ones.
                conditions: Name of a conditioner of the model -> its value for all clips, or a list with one for each clip.
                    `melody` and `style` are shorthands for the entries of these names.
                timeline: Changes of the prompt, as "0:10 drums come in|0:20 strings" or as (seconds, prompt) pairs: all
                    clips follow it, each from its own prompt. Each section continues the audio before it (`sections`).
                loop: Mix the end of a clip into its beginning, so that it loops seamlessly; this shortens the clip by the
                    length of the crossfade.

        Raises:
            InputError: An argument is invalid for every model.
        """
        if isinstance(prompts, GenerationRequest):
            if arguments:
                raise InputError(f"a request holds its arguments itself: leave {', '.join(arguments)} out")
            return prompts
        unknown = sorted(arguments.keys() - RequestArguments.__annotations__.keys())
        if unknown:
            raise TypeError(f"unknown arguments {unknown}: a request takes {sorted(RequestArguments.__annotations__)}")
        conditions = dict(arguments.get("conditions") or {})
        for name in SHORT:
            if arguments.get(name) is not None:
                if name in conditions:
                    raise InputError(f"the {name} is given twice: as {name} and among the conditions")
                conditions[name] = arguments[name]  # type: ignore[literal-required]
        chart = chart_of(arguments.get("chords"), arguments.get("bpm"), arguments.get("metre"))
        if chart is not None:
            if conditions.get("melody") is not None:
                raise InputError("chords take the place of a melody: pass one of them")
            conditions["melody"] = chart
        options = arguments.get("options")
        if not isinstance(options, GenerationOptions):
            options = GenerationOptions.from_dict(options if options is not None else {})
        return cls(
            tuple(check_prompts(prompts)),
            duration,
            arguments.get("seed"),
            conditions,
            arguments.get("continue_from"),
            options,
            arguments.get("separate"),
            timeline_of(arguments.get("timeline")),
            bool(arguments.get("loop", False)),
        )

    @classmethod
    def of_one(
        cls, prompt: str | GenerationRequest | None, duration: float = 10.0, **arguments: Unpack[RequestArguments]
    ) -> GenerationRequest:
        """As `of`, for one clip; raises InputError for a request of several."""
        request = cls.of(prompt if isinstance(prompt, GenerationRequest) else [prompt], duration, **arguments)
        if len(request.prompts) != 1:
            raise InputError(f"the request has {len(request.prompts)} prompts: here it must have one")
        return request

    def clip(self, index: int, seed: int) -> GenerationRequest:
        """The request for one of the clips.

        Args:
            index: Index of the clip, from 0.
            seed: Seed of this clip.
        """
        conditions = {}
        for name in self.conditions:
            values = self.values(name)
            conditions[name] = [values[index]] if isinstance(values, list) else values
        given = self.continue_from
        if isinstance(given, (list, tuple)) and not is_pair(given) and len(given) > 1:
            if len(given) != len(self.prompts):
                raise InputError(
                    f"{counted(len(given), 'clip')} to continue for {counted(len(self.prompts), 'prompt')}: pass one, "
                    "or one a prompt"
                )
            given = [given[index]]
        return dataclasses.replace(
            self, prompts=(self.prompts[index],), seed=seed, conditions=conditions, continue_from=given
        )

    def part(self, own: slice) -> GenerationRequest:
        """The request for some of the clips; its seed must be a list, and its conditions the same for all clips."""
        assert isinstance(self.seed, Sequence)
        return dataclasses.replace(self, prompts=self.prompts[own], seed=list(self.seed[own]))

    def values(self, name: str) -> list[Any] | Any:
        """The values of a condition for each clip: a list of B, or one value for all of them; None for none.

        Raises:
            InputError: The list has another length than the prompts.
        """
        if name == TEXT:
            return list(self.prompts)
        value = self.conditions.get(name)
        if not isinstance(value, (list, tuple)) or is_pair(value):
            return value
        if len(value) != len(self.prompts):
            raise InputError(
                f"{len(value)} values of the condition {name!r} for {len(self.prompts)} prompts: pass one, or one a prompt"
            )
        return list(value)


def check_prompts(prompts: Prompts) -> list[str | None]:
    """The prompts as a list; raises InputError unless each is text or None."""
    try:
        texts = [prompts] if prompts is None or isinstance(prompts, str) else list(prompts)
    except TypeError:
        texts = [check_text("the prompt", prompts)]
    if not texts:
        raise InputError("the list of prompts is empty: pass at least one ('' generates without text)")
    return [None if one is None else check_text("the prompt", one) for one in texts]
