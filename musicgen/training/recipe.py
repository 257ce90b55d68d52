"""Recipes: YAML files with inheritance.

A recipe may begin with `inherits: NAME`, a shipped recipe or a file beside it, and then contains only what differs
(`section: null` removes an inherited section). The command line can set single fields (`optimisation.steps=100`). This module
returns plain values; `schema.py` validates them against the classes of `lm/config.py` and `tokenizer/config.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from musicgen import textfiles, yaml_text
from musicgen.errors import InputError

SHIPPED = Path(__file__).parent / "recipes"
"""The recipes that come with the package."""


def shipped() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(str(path.relative_to(SHIPPED).with_suffix("")) for path in SHIPPED.rglob("*.yaml"))


def locate(name: str, beside: Path | None = None) -> Path:
    """The file of a recipe: a path, or the name of a shipped one. `beside`: the folder of the recipe that names it."""
    candidates = [Path(name) if beside is None else beside / name]
    if beside is not None:
        candidates.append(candidates[0].with_suffix(".yaml"))
    candidates.append(SHIPPED / f"{name.removesuffix('.yaml')}.yaml")
    for path in candidates:
        if path.is_file():
            return path
    raise InputError(f"no recipe {name!r}: neither a file nor one of {', '.join(shipped())}")


def read(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The values of a recipe file, what it inherits below them and `overrides` ("section.field=value") above."""
    values = _read(path, ())
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise InputError(f"{override!r} sets nothing: write section.field=value")
        try:
            value = yaml_text.parse(text)
        except yaml.YAMLError as error:
            raise InputError(f"{override!r}: {text!r} is no YAML value") from error
        section = values
        *places, last = name.split(".")
        for place in places:
            inner = section.setdefault(place, {})
            if not isinstance(inner, dict):
                raise InputError(f"{override!r}: {place} is no section of the recipe")
            section = inner
        section[last] = value
    return values


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in above:
        raise InputError(f"{path}: a recipe cannot inherit itself ({' -> '.join(p.stem for p in above)})")
    try:
        values = yaml_text.parse(textfiles.read(path))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not readable as a recipe ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: a recipe is a mapping of names to values")
    parent = values.pop("inherits", None)
    if parent is None:
        return values
    return _merged(_read(locate(str(parent), path.parent), (*above, path.resolve())), values)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        inner = merged.get(name)
        if value is None and isinstance(inner, dict):
            del merged[name]
            continue
        merged[name] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged
