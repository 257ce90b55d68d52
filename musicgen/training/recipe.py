"""Recipes: YAML files -> frozen dataclasses, each field typed, checked and documented.

A recipe may begin with `inherits: NAME`, another shipped recipe or a file beside it, and then says only what differs
(`section: null` takes an inherited section back); a command line may set single fields (`optimisation.steps=100`). A field's
text after its line in the dataclass is its documentation; `document` prints it. It knows nothing of what the fields mean.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import math
import textwrap
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from musicgen.errors import InputError

SHIPPED = Path(__file__).parent / "recipes"
"""The recipes that come with the package."""

T = TypeVar("T")


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
            value = yaml.safe_load(text)
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
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
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


def build(cls: type[T], values: Any, place: str = "") -> T:
    """A dataclass from plain values, its sections too. What is left out keeps its default; an unknown name is an error."""
    if not isinstance(values, dict):
        raise InputError(f"{place.rstrip('.')} is {values!r}: it must be a section of names and values")
    hints = typing.get_type_hints(cls)
    made = {}
    for name, value in values.items():
        if name not in hints:
            close = difflib.get_close_matches(str(name), list(hints), n=1)
            hint = f"did you mean {place}{close[0]}?" if close else f"known here: {', '.join(hints)}"
            raise InputError(f"the recipe has no {place}{name}: {hint}")
        made[name] = _value(hints[name], value, f"{place}{name}")
    return cls(**made)


def _value(hint: Any, value: Any, place: str) -> Any:
    options = typing.get_args(hint) if type(None) in typing.get_args(hint) else (hint,)
    if value is None and type(None) in options:
        return None
    kind = next(option for option in options if option is not type(None))
    if dataclasses.is_dataclass(kind):
        return build(typing.cast(type[Any], kind), value, f"{place}.")
    origin = typing.get_origin(kind) or kind
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(value)
    # YAML reads 3e-4 as text and 1 as a whole number: both are meant as numbers.
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    if not isinstance(value, origin) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{place} is {value!r}: it must be of the type {getattr(kind, '__name__', kind)}")
    return value


def plain(value: Any) -> Any:
    """A dataclass as YAML and checkpoints hold it: sections as dictionaries, tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def differences(one: dict[str, Any], other: dict[str, Any], place: str = "") -> list[str]:
    """The names of the fields in which two recipes' plain values differ."""
    found = []
    for name in one:
        mine, theirs = one[name], other.get(name)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            found += differences(mine, theirs, f"{place}{name}.")
        elif mine != theirs:
            found.append(f"{place}{name}")
    return found


def document(cls: type[Any], place: str = "") -> str:
    """Every field with its type, default and meaning."""
    texts = _field_texts(cls)
    lines = []
    for field in dataclasses.fields(cls):
        kind = typing.get_type_hints(cls)[field.name]
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        section: Any = next((one for one in (kind, *options) if dataclasses.is_dataclass(one)), None)
        if section is not None:
            about = texts.get(field.name) or (section.__doc__ or "").split("\n")[0]
            lines += ["", f"{place}{field.name}: {about}", document(section, f"{place}{field.name}.")]
            continue
        default = field.default if field.default is not dataclasses.MISSING else "(needed)"
        name = getattr(kind, "__name__", str(kind)) if not typing.get_args(kind) else str(kind)
        lines.append(f"  {place}{field.name} ({name.replace('typing.', '')}, default {plain(default)!r})")
        if field.name in texts:
            lines.append(textwrap.indent(textwrap.fill(texts[field.name], 108), " " * 6))
    return "\n".join(lines)


def _field_texts(cls: type[Any]) -> dict[str, str]:
    """The string after each field, which Python itself does not keep."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            texts[field.target.id] = " ".join(str(after.value.value).split())
    return texts


def whole(name: str, value: Any, *, low: int) -> None:
    """InputError unless `value` is a whole number, `low` or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise InputError(f"{name} is {value!r}: it must be a whole number, {low} or more")


def number(name: str, value: Any, *, low: float, high: float) -> None:
    """InputError unless `value` is a finite number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{name} is {value!r}: it must be a finite number")
    if not low <= value <= high:
        raise InputError(f"{name} is {value:g}: it must lie between {low:g} and {high:g}")


def choice(name: str, value: Any, known: Sequence[str]) -> None:
    """InputError unless `value` is one of `known`."""
    if value not in known:
        raise InputError(f"{name} is {value!r}: one of {', '.join(known)}")
