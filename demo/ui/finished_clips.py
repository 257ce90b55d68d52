"""Notification of new output of a generation: text in a hidden component, whose change event updates the page.

So events that show progress several times a second need not have all components of a clip as their outputs.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from musicgen.serving.stored_clip import StoredClip


@dataclass(frozen=True)
class FinishedClips:
    """The clips of one generation so far.

    Attributes:
        first: id of the first clip, "" before there is one.
        count: number of clips.
        last: duration of the last clip, and what is not as it was asked for, as text.
        message: what the page says at the end, "" until then.
    """

    first: str = ""
    count: int = 0
    last: str = ""
    message: str = ""

    def with_clip(self, clip: StoredClip) -> FinishedClips:
        """With a further clip."""
        return FinishedClips(self.first or clip.id, self.count + 1, clip.brief)

    def at_end(self, seconds: float) -> FinishedClips:
        """With the message of the end.

        Args:
            seconds: that the generation has taken.
        """
        summary = self.last if self.count == 1 else f"{self.count} clips to choose from; the last has {self.last}"
        return dataclasses.replace(self, message=f"Done in {seconds:.1f} s: {summary}.")

    def dump(self) -> str:
        """As the component's value."""
        return json.dumps(dataclasses.asdict(self)) if self.count else ""

    @classmethod
    def load(cls, value: str) -> FinishedClips:
        """The component's value, which comes from the browser. Of one that was changed there nothing is left."""
        try:
            first, count, last, message = (json.loads(value)[field.name] for field in dataclasses.fields(cls))
        except (ValueError, TypeError, KeyError, RecursionError):
            return cls()
        if not isinstance(first, str) or not isinstance(count, int) or not isinstance(message, str):
            return cls()
        return cls(first, count, str(last), message)
