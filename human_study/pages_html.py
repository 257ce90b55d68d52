"""Jinja templates to HTML. Everything is escaped; a page from here needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from .manifest import Clip
from .settings import Settings

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> str:
    """One template with its values."""
    return _ENVIRONMENT.get_template(template).render(**values)


def levels(settings: Settings, clips: Sequence[Clip], target: float, limited_by: str | None) -> str:
    """The report of every level: what each clip measures, and what set the target."""
    rated = [clip for clip in clips if clip.role in {"system", "reference", "melody", "anchor"}]
    return render("levels.html", settings=settings, clips=rated, target=target, limited_by=limited_by)
