"""The interface of back ends: what runs the steps of one language model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from musicgen.engine.slot_pool import SlotPool
from musicgen.lm import LanguageModel


class Backend(ABC):
    """One way to run a language model. It keeps what it computes from the weights (compiled graphs, converted weights).

    Args:
        lm: The language model, in any precision and on any device.
    """

    name: ClassVar[str]
    adds: ClassVar[bool] = False
    """Whether its pools read `Conditions.added`."""

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm

    @property
    def batch_invariant(self) -> bool:
        """Whether the logits of a clip are the same bit for bit whatever other clips are in the batch, and for any number of
        threads. Where it is False they agree up to rounding, which may change codes."""
        return False

    @abstractmethod
    def supports(self, rows: int) -> bool:
        """Whether it can run the model now, on its device and in its precision, with this number of rows.

        Args:
            rows: Number of rows of the batch.
        """

    def pool_bytes(self, rows: int, capacity: int, text_capacity: int) -> int | None:  # noqa: ARG002
        """The bytes that a slot pool would allocate, so that slots that do not fit into memory are refused beforehand.

        Args:
            rows: Number of rows.
            capacity: Positions per row, prefix included.
            text_capacity: Vectors per row of a cross-attention condition.

        Returns:
            The bytes; None for the layout of the built-in back ends, which `engine.memory` computes.
        """
        return None

    @abstractmethod
    def pool(self, rows: int, capacity: int, text_capacity: int) -> SlotPool:
        """Allocate a slot pool.

        Args:
            rows: Number of rows.
            capacity: Positions per row, prefix included.
            text_capacity: Vectors per row of a cross-attention condition.
        """
