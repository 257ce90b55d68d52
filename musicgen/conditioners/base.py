"""The interface of conditioners: the input of each clip -> vectors for the language model, and the null condition of guidance.

    value --prepare--> prepared (validated, one clip) --window--> of one window --forward--> Condition

A model has any number of conditioners by name. `fuser` decides how the language model reads them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import nn

from musicgen.conditioners.condition import Condition, stack


class Conditioner(nn.Module, ABC):
    """Base class of conditioners.

    None stands for a clip without this condition, from the caller's value to `forward`; `prepare` and `window` never see it.
    """

    kind: ClassVar[str] = ""
    """The name in a checkpoint's configuration; `registry.register` sets it."""

    from_text: ClassVar[bool] = False
    """Whether `prepare` takes a text as a value and never as the path of a file. The page has a field for such conditions; what
    strangers type there must not name files of the server."""

    @property
    @abstractmethod
    def max_length(self) -> int:
        """The most vectors of a condition."""

    @property
    def min_length(self) -> int:
        """The fewest vectors of a condition, 0 where that is not fixed."""
        return 0

    def prepare(self, value: Any, **options: Any) -> Any:  # noqa: ARG002
        """Validate the input of one clip.

        Args:
            value: The value that the caller passed, or the text of `--condition NAME=VALUE` on the command line; or a value
                that this method returned before, because the sections of a timeline share it.
            **options: Options of the request that concern preparation: `separate`, and `options`, its GenerationOptions. A
                conditioner ignores those that it does not use.

        Returns:
            The prepared input that `forward` takes. The same object may be returned for equal inputs.

        Raises:
            InputError: The value is not a valid condition.
        """
        return value

    def seeded(self, prepared: Any, seed: int) -> Any:  # noqa: ARG002
        """The prepared input of a clip with a seed, after random choices such as an excerpt.

        Args:
            prepared: From `prepare`.
            seed: Seed of the clip.

        Returns:
            The input of that clip; `prepared` itself if there are no random choices, or they have already been made.
        """
        return prepared

    def window(self, prepared: Any, start: float, duration: float) -> Any:  # noqa: ARG002
        """The part of a prepared input that conditions one window of a long clip.

        Args:
            prepared: From `prepare`.
            start: Seconds from the beginning of the clip.
            duration: Seconds.

        Returns:
            The input of the window; `prepared` itself if it does not change with time.
        """
        return prepared

    def shift(self, prepared: Any, start: float) -> Any:  # noqa: ARG002
        """A prepared input, shifted in time.

        Args:
            prepared: From `prepare`.
            start: Seconds from the beginning of the clip; below 0 for a clip that is extended at its beginning.

        Returns:
            The input of a clip that begins there, which `prepare` accepts as well; `prepared` itself if it does not change with
            time.
        """
        return prepared

    @abstractmethod
    def forward(self, prepared: Sequence[Any]) -> Condition:
        """The condition of B clips, from their prepared inputs (None for a clip without)."""

    def encode(self, prepared: Sequence[Any]) -> Condition:
        """The condition of B clips, computed separately for each distinct input.

        In one batch, the rounding of a clip's vectors would depend on the other clips, which int8 activations amplify to
        different codes.

        Args:
            prepared: As of `forward`.
        """
        distinct = {id(one): one for one in prepared}
        alone = {key: self([one]) for key, one in distinct.items()}
        return stack([alone[id(one)] for one in prepared])

    def null(self, batch: int, like: Condition) -> Condition:  # noqa: ARG002
        """The null condition of guidance; that of a clip must not depend on the others.

        Args:
            batch: Number of clips B.
            like: The condition of the same clips.
        """
        return self.encode([None] * batch)

    def unknown(self, value: Any) -> float:  # noqa: ARG002
        """The share of an input that the conditioner cannot represent, such as unknown words, 0 to 1."""
        return 0.0

    def place(self, device: torch.device) -> None:
        """Set the device of helpers that are not submodules."""

    def check(self, source: str) -> None:
        """Refuse settings of a checkpoint that cannot be checked against its tensors and would exhaust the memory.

        Args:
            source: The checkpoint, for errors.

        Raises:
            CheckpointError: For such settings.
        """

    def config(self) -> dict[str, Any]:
        """Settings for a checkpoint, as JSON values: the arguments of `from_config` beside the width."""
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], dim: int) -> Self:
        """The inverse of `config`, with weights that a checkpoint replaces.

        Args:
            config: Settings, as of `config`.
            dim: Width of the language model.
        """
        return cls(dim=dim, **config)
