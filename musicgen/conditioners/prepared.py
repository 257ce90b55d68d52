"""One condition of the clips of a request: its prepared inputs, and their condition vectors for each window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from musicgen.conditioners.base import Conditioner
from musicgen.conditioners.condition import Condition
from musicgen.errors import InputError
from musicgen.options import GenerationOptions
from musicgen.untrusted_text import UntrustedText

_SHOWN = 80
"""Characters of a value that a message repeats."""


def prepared_input(
    conditioner: Conditioner, name: str, value: Any, *, separate: bool | None, options: GenerationOptions
) -> Any:
    """What `Conditioner.prepare` makes of the input of one clip.

    Args:
        conditioner: Of the model.
        name: Of the condition.
        value: The input.
        separate, options: Of the request.

    Raises:
        InputError: The value cannot be followed, or it is an `UntrustedText` for a conditioner that may read it as a path.
    """
    if isinstance(value, UntrustedText) and not conditioner.from_text:
        raise InputError(
            f"the clip says that its condition {name!r} was {str(value)[:_SHOWN]!r}, which this model may take for a file of "
            "this machine: pass it yourself",
            python=f" as conditions={{{name!r}: …}}",
            shell=f" as --condition {name}=VALUE",
        )
    return conditioner.prepare(value, separate=separate, options=options)


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
