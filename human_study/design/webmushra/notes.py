"""Notes about settings of a configuration that have no equivalent in a study, or only a similar one, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .configuration import Page


@dataclass
class Notes:
    """The list.

    Attributes:
        lines: what was noted so far.
    """

    lines: list[str] = field(default_factory=list)

    def add(self, what: str, ours: str, pages: Sequence[Page] = ()) -> None:
        """Note one thing.

        Args:
            what: in webMUSHRA's words.
            ours: what becomes of it.
            pages: where it stands; at most three are named.
        """
        names = ", ".join(page.id for page in pages[:3]) + (f" and {len(pages) - 3} more" if len(pages) > 3 else "")
        self.lines.append(f"{what} ({names}): {ours}" if names else f"{what}: {ours}")
