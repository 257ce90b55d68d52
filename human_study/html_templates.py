"""Rendering of Jinja templates to HTML. Values are escaped, and the HTML loads nothing from other hosts."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jinja2

from musicgen.text_format import counted


def render(template: Path, **values: Any) -> str:
    """Fill in a template.

    Args:
        template: path of the file.
        values: the variables that it names; a missing one is an error.

    Returns:
        HTML.
    """
    return _environment(template.parent).get_template(template.name).render(**values)


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["counted"] = counted
    return environment
