"""Conversion of webMUSHRA's page types with clips to questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from musicgen.errors import InputError

from ..checks import shown
from .configuration import Page, plain_text
from .notes import Notes

IMPAIRMENT = {
    "en": ("Very annoying", "Annoying", "Slightly annoying", "Perceptible, but not annoying", "Imperceptible"),
    "de": ("Sehr störend", "Störend", "Leicht störend", "Wahrnehmbar, aber nicht störend", "Nicht wahrnehmbar"),
}
"""The grades of BS.1116-3 (table 2), from the lowest."""

Settings = dict[str, Any]


def grades(page: Page) -> tuple[tuple[str, str], ...]:
    """Value and label of each grade of a page, from the lowest; nothing where the page has none.

    Raises:
        InputError: a page that needs grades has no list of them.
    """
    if not page.type.startswith("likert"):
        return ()
    found = page.options.get("response")
    if not isinstance(found, list):
        raise InputError(f"page {page.id}: response is {shown(found)}: a list of grades is needed")
    return tuple(option(f"page {page.id}", entry) for entry in found)


def has_several_scales(page: Page) -> bool:
    """Whether a page asks for grades on several scales."""
    found = page.options.get("response")
    return (
        page.type.startswith("likert") and isinstance(found, list) and any(isinstance(entry, list) for entry in found)
    )


def option(where: str, entry: Any) -> tuple[str, str]:
    """Value and label of one entry of a list `response`.

    Args:
        where: start of error messages.
        entry: of the list.

    Raises:
        InputError: it has no value.
    """
    if not isinstance(entry, Mapping) or "value" not in entry:
        raise InputError(f"{where}: response: {shown(entry)} is no entry with 'value:'")
    value = " ".join(str(entry["value"]).split())
    return value, plain_text(str(entry.get("label", value))) or value


def _mushra(pages: Sequence[Page], _language: str, _notes: Notes) -> Settings:
    _need_reference(pages)
    corners = {"createAnchor35": 3500, "createAnchor70": 7000}
    return {
        "method": "mushra",
        "hidden_reference": True,
        "anchors": [corner for name, corner in corners.items() if pages[0].flag(name)],
    }


def _bs1116(pages: Sequence[Page], language: str, notes: Notes) -> Settings:
    notes.add("bs1116", "grades are whole numbers, and a page has all conditions and one hidden reference", pages)
    return _mushra(pages, language, notes) | {
        "method": "likert", "stimuli": "multiple", "open_reference": "reference",
        "labels": {language: list(IMPAIRMENT[language])},
    }  # fmt: skip


def _paired_comparison(pages: Sequence[Page], _language: str, notes: Notes) -> Settings:
    _need_reference(pages)
    notes.add("paired_comparison", "A and B are the reference and a condition, and X is a copy of either", pages)
    return {"method": "abx", "hidden_reference": True}


def _likert(pages: Sequence[Page], language: str, notes: Notes) -> Settings:
    found = grades(pages[0])
    values = [value for value, _ in found]
    if values != [str(number) for number in range(1, len(found) + 1)]:
        notes.add(f"the values {shown(', '.join(values))} of the grades", f"are stored as 1 to {len(found)}", pages)
    if any(isinstance(grade, Mapping) and grade.get("img") for page in pages for grade in page.options["response"]):
        notes.add("pictures of the grades", "grades have numbers and labels", pages)
    return {"method": "likert", "labels": {language: [label for _, label in found]}}


def _likert_single(pages: Sequence[Page], language: str, notes: Notes) -> Settings:
    if any(len(page.stimuli) > 1 for page in pages):
        notes.add("likert_single_stimulus", "a rater gets one condition of a page, not one after the other", pages)
    return _likert(pages, language, notes) | {"stimuli": "single"}


def _likert_multi(pages: Sequence[Page], language: str, notes: Notes) -> Settings:
    return _likert(pages, language, notes) | {"stimuli": "multiple"}


def _need_reference(pages: Sequence[Page]) -> None:
    lacking = [page.id for page in pages if page.reference is None]
    if lacking:
        raise InputError(f"page {lacking[0]}: a page of the type {pages[0].type} needs 'reference:'")


PAGE_TYPES: Mapping[str, Callable[[Sequence[Page], str, Notes], Settings]] = {
    "mushra": _mushra,
    "bs1116": _bs1116,
    "paired_comparison": _paired_comparison,
    "likert_multi_stimulus": _likert_multi,
    "likert_single_stimulus": _likert_single,
}
"""Type of a page -> the settings of its question, from pages that can be one study."""
