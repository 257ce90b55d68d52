"""Settings files as frozen pydantic dataclasses: validation with one-line errors, and documentation of every field.

A class of settings is decorated with `@dataclass(frozen=True, config=STRICT)`; the string below a field is its documentation.
Validation is strict except for numbers, because YAML reads `3e-4` as text and `1` as an integer.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from musicgen.errors import InputError
from musicgen.suggestions import closest

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
"""The configuration of every class: unknown names are errors, docstrings of fields are their descriptions."""

T = TypeVar("T")


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("it must be a number")
    return value


def between(low: float, high: float) -> AfterValidator:
    """The constraint that a number lies from `low` to `high`."""

    def check(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(f"it must lie between {low:g} and {high:g}")
        return value

    return AfterValidator(check)


def one_of(names: Iterable[str]) -> AfterValidator:
    """The constraint that a text is one of `names`, for names that a `Literal` cannot list."""
    known = tuple(names)

    def check(value: str) -> str:
        if value not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return value

    return AfterValidator(check)


Flag = Annotated[bool, Strict()]
PositiveInt = Annotated[int, Strict(), Field(ge=1)]
NonNegativeInt = Annotated[int, Strict(), Field(ge=0)]
Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
Probability = Annotated[Number, between(0.0, 1.0)]


def build(cls: type[T], values: Any, what: str = "the recipe") -> T:
    """Validate plain values.

    Args:
        cls: A pydantic dataclass.
        values: What YAML or JSON gave: sections as dictionaries. What is left out keeps its default.
        what: What the file is called in messages.

    Raises:
        InputError: One line with the name of the field, its value, and what it must be; for an unknown name the nearest known.
    """
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        raise InputError(_message(cls, error.errors()[0], what)) from error


def _message(cls: type[Any], error: ErrorDetails, what: str) -> str:
    kind, location, context = error["type"], error["loc"], error.get("ctx", {})
    name = ".".join(map(str, location)) or what
    if kind == "value_error" and isinstance(context["error"], InputError):
        return str(context["error"])  # of a class's own check of several fields
    if kind in ("unexpected_keyword_argument", "invalid_key"):
        known = list(_fields(_section_at(cls, location[:-1])))
        close = closest(location[-1], known)
        prefix = "".join(f"{part}." for part in location[:-1])
        return f"{what} has no {name}: " + (
            f"did you mean {prefix}{close}?" if close else f"known here: {', '.join(known)}"
        )
    if kind == "missing":
        return f"{what} lacks {name}"
    phrase = _PHRASES.get(kind, lambda _: f"it must be otherwise ({error['msg']})")(context)
    return f"{name} is {error['input']!r}: {phrase}"


_PHRASES: dict[str, Callable[[dict[str, Any]], str]] = {
    "value_error": lambda context: str(context["error"]),
    "int_type": lambda _: "it must be a whole number",
    "float_type": lambda _: "it must be a number",
    "float_parsing": lambda _: "it must be a number",
    "finite_number": lambda _: "it must be a finite number",
    "bool_type": lambda _: "it must be true or false",
    "string_type": lambda _: "it must be text",
    "tuple_type": lambda _: "it must be a list",
    "too_long": lambda context: f"it must have {context['max_length']} items",
    "dict_type": lambda _: "it must be a section of names and values",
    "dataclass_type": lambda _: "it must be a section of names and values",
    "greater_than": lambda context: f"it must be above {context['gt']:g}",
    "greater_than_equal": lambda context: f"it must be {context['ge']:g} or more",
    "less_than": lambda context: f"it must be below {context['lt']:g}",
    "literal_error": lambda context: "one of " + context["expected"].replace("'", "").replace(" or ", ", "),
}
"""pydantic's types of errors -> what is said of the value."""


def _fields(cls: type[Any]) -> dict[str, FieldInfo]:
    return cls.__pydantic_fields__


def _section(annotation: Any) -> type[Any] | None:
    """The dataclass in a field's type, such as `Section | None` or `dict[str, Section]`."""
    if dataclasses.is_dataclass(annotation):
        return annotation if isinstance(annotation, type) else None
    return next((found for part in get_args(annotation) if (found := _section(part)) is not None), None)


def _section_at(cls: type[Any], location: tuple[int | str, ...]) -> type[Any]:
    for part in location:
        field = _fields(cls).get(str(part))
        if field is not None:  # otherwise a key of a dictionary or an index
            cls = _section(field.annotation) or cls
    return cls


def plain(value: Any) -> Any:
    """Settings as YAML and checkpoints hold them: sections as dictionaries, tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def differences(one: dict[str, Any], other: dict[str, Any], place: str = "") -> list[str]:
    """The names of the fields in which two settings' plain values differ."""
    found = []
    for name in one:
        mine, theirs = one[name], other.get(name)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            found += differences(mine, theirs, f"{place}{name}.")
        elif mine != theirs:
            found.append(f"{place}{name}")
    return found


def document(cls: type[Any], place: str = "") -> str:
    """Every field with its type, default and description, as plain text."""
    lines = []
    for name, field in _fields(cls).items():
        section = _section(field.annotation)
        if section is not None:
            about = field.description or (section.__doc__ or "").split("\n")[0]
            lines += ["", f"{place}{name}: {about}", document(section, f"{place}{name}.")]
            continue
        default = "(needed)" if field.is_required() else plain(field.get_default(call_default_factory=True))
        lines.append(f"  {place}{name} ({_type_name(field.annotation)}, default {default!r})")
        if field.description:
            lines.append(textwrap.indent(textwrap.fill(" ".join(field.description.split()), 108), " " * 6))
    return "\n".join(lines)


def _type_name(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(parts[0])
    if origin is Literal:
        return " | ".join(parts)
    if origin in (tuple, dict, list):
        return f"{origin.__name__}[{', '.join('...' if part is ... else _type_name(part) for part in parts)}]"
    if parts:
        return " | ".join("none" if part is type(None) else _type_name(part) for part in parts)
    return getattr(annotation, "__name__", str(annotation))
