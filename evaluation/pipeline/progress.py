"""Progress of a run in stages: the number of the stage, and its remaining time."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from tqdm import tqdm


class Stages:
    """Progress bars, one behind the other.

    Args:
        count: of stages.
        show: whether to show them.
    """

    def __init__(self, count: int, *, show: bool) -> None:
        self._count, self._show = count, show
        self._begun = 0

    def bar(self, total: int, label: str) -> AbstractContextManager[tqdm | None]:
        """Begin the next stage.

        Args:
            total: its units, such as clips.
            label: what it does.

        Returns:
            Its bar, with the time it has taken and will still take; None if none is shown.
        """
        self._begun += 1
        return tqdm(total=total, desc=f"{self._begun}/{self._count} {label}") if self._show else nullcontext()
