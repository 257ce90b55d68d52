"""File names of clips, derived from their descriptions."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_WORDS = 40
"""Characters of a description in a file's name."""


def words(prompt: str | None) -> str:
    """A description as a part of a file's name, in its own script."""
    if not (prompt or "").strip():
        return "unconditional"
    text = unicodedata.normalize("NFC", prompt or "").lower()
    found = re.sub(r"[\W_]+", "-", text).strip("-")[:_WORDS].strip("-")
    return found or f"prompt-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
