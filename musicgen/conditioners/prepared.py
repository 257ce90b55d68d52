"""One condition of the clips of a request: their prepared inputs, and their vectors window by window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from musicgen.conditioners.base import Conditioner
from musicgen.conditioners.condition import Condition


class PreparedCondition:
    """Inputs that were validated; vectors are computed on demand, and again only where a window changes the inputs.

    Args:
        conditioner: Of the model.
        values: The prepared input of each clip, None for a clip without.
        negative: A prepared input that takes the place of the null condition; None for none.
    """

    def __init__(self, conditioner: Conditioner, values: Sequence[Any], negative: Any = None) -> None:
        self.conditioner, self.values, self.negative = conditioner, list(values), negative
        self._computed: tuple[list[Any], Condition, Condition] | None = None

    def vectors(self, span: tuple[float, float] | None = None) -> tuple[Condition, Condition]:
        """The condition and the null condition of the clips.

        Args:
            span: (start, duration) of a window in seconds; None for a clip of one window.
        """
        values = self.values
        if span is not None:
            values = [None if one is None else self.conditioner.window(one, *span) for one in values]
        if self._computed is None or any(a is not b for a, b in zip(values, self._computed[0], strict=True)):
            given = self.conditioner.encode(values)
            if self.negative is None:
                null = self.conditioner.null(len(values), given)
            else:
                null = self.conditioner.encode([self.negative] * len(values))
            self._computed = values, given, null
        return self._computed[1:]
