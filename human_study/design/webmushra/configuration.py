"""A parsed configuration of webMUSHRA: its pages in order, each validated for the settings that all pages have.

The layout is that of webMUSHRA's manual for experimenters (doc/experimenter.md there): options at the top, and `pages`, a list
of pages and of lists of pages; a list whose first entry is "random" is shown in random order.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from musicgen.errors import InputError

from .. import checks, documents
from ..checks import shown

MAX_DEPTH = 20
"""Lists within lists of pages."""

MAX_PAGES = 10_000

_VALUE = re.compile(r"([ \t]*(?:-[ \t]+)*\w+:[ \t]+)(.+)")
"""A key, and a value on the same line."""

_MARKS = frozenset("\"'|>{[&*!#%@`")
"""First characters of values that are no plain texts."""


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        id: of the page; "page N" where it has none.
        type: such as "mushra".
        options: all of its settings.
        random: it stands in a list whose order is random.
    """

    id: str
    type: str
    options: Mapping[str, Any]
    random: bool

    def text(self, name: str) -> str:
        """A setting that holds HTML, as plain text in one line."""
        return plain_text(self.options.get(name))

    def flag(self, name: str) -> bool:
        """Whether a setting is true."""
        return self.options.get(name) is True

    @property
    def stimuli(self) -> dict[str, str]:
        """Name of a condition -> path of its file.

        Raises:
            InputError: the page has none, or an entry is no path.
        """
        found = self.options.get("stimuli")
        if not isinstance(found, Mapping) or not found:
            raise InputError(f"page {self.id}: stimuli is {shown(found)}: a mapping of conditions to files is needed")
        return {
            self._text(name, "the name of a condition"): self._text(path, f"stimuli: {name}")
            for name, path in found.items()
        }

    @property
    def reference(self) -> str | None:
        """Path of the reference, None where there is none.

        Raises:
            InputError: it is no path.
        """
        found = self.options.get("reference")
        return None if found is None else self._text(found, "reference")

    def _text(self, value: Any, what: str) -> str:
        # YAML reads 1 as a number, and names of conditions are often numbers.
        if isinstance(value, bool) or not isinstance(value, (str, int, float)) or not str(value).strip():
            raise InputError(f"page {self.id}: {what} is {shown(value)}: a text is needed")
        return str(value).strip()


@dataclass(frozen=True)
class Configuration:
    """A configuration.

    Attributes:
        path: of the file.
        options: those at the top.
        pages: in order, those of nested lists included.
        nested: a list of pages stands within a list of random order.
        mended: texts with ": " in them stand without quotation marks, which is no YAML; webMUSHRA's reader takes them.
    """

    path: Path
    options: Mapping[str, Any]
    pages: tuple[Page, ...]
    nested: bool
    mended: bool = False


def read(path: Path) -> Configuration:
    """Read a configuration.

    Args:
        path: the file.

    Raises:
        InputError: the file cannot be read, is not YAML, or is no configuration of webMUSHRA.
    """
    mended = False
    try:
        document = documents.read_yaml(path)
    except InputError as error:
        try:
            document, mended = documents.read_yaml(path, _quoted), True
        except InputError:
            raise error from None
    if not isinstance(document, Mapping) or not isinstance(document.get("pages"), list):
        raise InputError(f"{path}: is no configuration of webMUSHRA: a mapping with a list 'pages:' is needed")
    try:
        found = list(itertools.islice(_flat(document["pages"], random=False, depth=0), MAX_PAGES + 1))
        if len(found) > MAX_PAGES:
            raise InputError(f"pages: there are more than {MAX_PAGES}")
        pages = tuple(_page(number, entry, random) for number, (entry, random, _) in enumerate(found, 1))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    nested = any(random and depth > 1 for _, random, depth in found)
    return Configuration(path, document, pages, nested, mended)


def plain_text(html: Any) -> str:
    """HTML as plain text in one line; "" for what is no text."""
    if not isinstance(html, str):
        return ""
    reader = _Text()
    reader.feed(html)
    reader.close()
    return " ".join("".join(reader.parts).split())


def _quoted(text: str) -> str:
    """Put plain texts with a colon before a space, or at their end, into quotation marks."""
    lines = []
    for line in text.splitlines():
        match = _VALUE.fullmatch(line)
        value = match[2].partition(" #")[0].rstrip() if match else ""
        if match and value[:1] not in _MARKS and (": " in value or value.endswith(":")):
            line = match[1] + json.dumps(value, ensure_ascii=False)
        lines.append(line)
    return "\n".join(lines)


def name_of(text: Any) -> str:
    """A text as a name, with the characters that names of studies, systems and fields have."""
    found = re.sub(r"[^A-Za-z0-9 _.+()-]+", "-", str(text)).lstrip(" _.+()-")[:60].rstrip()
    return found if checks.NAME.fullmatch(found) else "unnamed"


def _flat(entries: list[Any], random: bool, depth: int) -> Iterator[tuple[Any, bool, int]]:
    if depth > MAX_DEPTH:
        raise InputError(f"pages: lists are nested more than {MAX_DEPTH} times")
    drawn = entries[:1] == ["random"]
    for entry in entries[drawn:]:
        if isinstance(entry, list):
            yield from _flat(entry, random or drawn, depth + 1)
        else:
            yield entry, random or drawn, depth


def _page(number: int, entry: Any, random: bool) -> Page:
    if not isinstance(entry, Mapping):
        raise InputError(f"pages: {shown(entry)} is no page: a mapping with 'type:' is needed")
    kind = entry.get("type")
    if not isinstance(kind, str):
        raise InputError(f"pages: page {number} has the type {shown(kind)}: a text such as mushra is needed")
    name = entry.get("id")
    return Page(
        f"page {number}" if name is None or name == "" else " ".join(str(name).split())[:60], kind, entry, random
    )


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    # Paragraphs and line breaks separate words.
    def handle_starttag(self, *_tag: object) -> None:
        self.parts.append(" ")

    def handle_endtag(self, *_tag: object) -> None:
        self.parts.append(" ")
