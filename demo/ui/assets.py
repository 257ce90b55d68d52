"""The page's JavaScript and CSS files, which are package data in `static/`."""

from __future__ import annotations

from pathlib import Path

STATIC = Path(__file__).with_name("static")


def read(name: str) -> str:
    """The text of a file in `static/`.

    Args:
        name: the file's name, for example "live.js".
    """
    return (STATIC / name).read_text(encoding="utf-8")
