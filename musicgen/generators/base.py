"""The interface of generators: conditions -> the codes of one window."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch

from musicgen.errors import InputError
from musicgen.generate import Runner, Step
from musicgen.guidance import Guided
from musicgen.lm import LanguageModel
from musicgen.options import PAPER_GUIDANCE, GenerationOptions
from musicgen.patterns import Pattern
from musicgen.sampling import ClipStream
from musicgen.windows import Window

_DEFAULTS = GenerationOptions()
_FORMER_DEFAULTS = {"guidance_scale": PAPER_GUIDANCE}
"""Values of unset options in the settings of older clips."""


class Generator(ABC):
    """Base class of generators.

    Attributes:
        autoregressive: Whether it computes one pattern step after the other, so that the engine's back ends and continuous
            batching can be used. Other generators compute whole passes with the PyTorch module.
        foreign: Options that only other generators read.
        defaults: The model's defaults for options that a request does not set.
    """

    kind: ClassVar[str] = ""
    """The name in a checkpoint's configuration; `registry.register` sets it."""
    autoregressive: ClassVar[bool]
    foreign: ClassVar[Mapping[str, str]]
    """Option -> what is said of it."""
    defaults: GenerationOptions

    @classmethod
    def check(cls, options: GenerationOptions) -> None:
        """Refuse options that would be ignored.

        Raises:
            InputError: One of them is not at its default; the line says what to use.
        """
        for name, advice in cls.foreign.items():
            value = getattr(options, name)
            if value not in (getattr(_DEFAULTS, name), _FORMER_DEFAULTS.get(name)):
                raise InputError(f"{name} is {value!r}: {advice}")

    def completed(self, options: GenerationOptions) -> GenerationOptions:
        """The options, with the model's defaults for those that are None."""
        own = {
            field.name: getattr(self.defaults, field.name)
            for field in dataclasses.fields(options)
            if getattr(options, field.name) is None
        }
        return dataclasses.replace(options, **own)

    timeline: ClassVar[str] = ""
    """Why clips with a timeline cannot be generated, "" where they can."""

    def frames(self, total: int, context: int) -> int:  # noqa: ARG002
        """The number of frames that a clip of `total` frames gets.

        Args:
            total: Requested frames.
            context: Most frames of a window.

        Raises:
            InputError: Clips of this length cannot be generated.
        """
        return total

    @abstractmethod
    def num_steps(self, pattern: Pattern, window: Window, options: GenerationOptions) -> int:
        """The number of steps that `steps` yields for a window."""

    @abstractmethod
    def steps(
        self,
        lm: LanguageModel,
        pattern: Pattern,
        guidance: Guided,
        num_frames: int,
        options: GenerationOptions,
        streams: Sequence[ClipStream],
        prompt: torch.Tensor | None = None,
        runner: Runner | None = None,
    ) -> Iterator[Step]:
        """Generate one window of B clips; nothing is computed before the first step is requested.

        Args:
            lm: The language model.
            pattern: Its codebook interleaving pattern.
            guidance: The conditions of all rows.
            num_frames: T, prompt included.
            options: Sampling and guidance, from `completed`.
            streams: One random stream per clip.
            prompt: int64 [B, K, P], P < T, the given frames.
            runner: Executes an autoregressive language model; None runs the PyTorch module.

        Yields:
            Steps, whose codes concatenated are the T - P frames after the prompt.
        """

    def config(self) -> dict[str, Any]:
        """Settings for a checkpoint, as JSON values: the arguments of the class."""
        return {}
