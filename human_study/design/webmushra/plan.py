"""The plan of a conversion: the studies that a configuration of webMUSHRA is converted to.

A study asks every question about every item, so pages of different kinds become separate studies. Nothing is dropped silently:
settings that have no equivalent, or only a similar one, are listed as notes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from musicgen.errors import InputError

from ..checks import shown
from ..questions import POINTS
from .configuration import Configuration, Page, name_of, plain_text
from .fields import fields
from .notes import Notes
from .page_types import PAGE_TYPES, Settings, grades, has_several_scales

LANGUAGES = ("en", "de")
"""Languages that both programs have."""

HEADPHONES = ("headphones", "headphones_screen")
"""Types of pages that check for headphones."""

_OPTIONS = {
    "testname", "testId", "pages", "language", "bufferSize", "stopOnErrors", "showButtonPreviousPage", "remoteService",
}  # fmt: skip
"""Options of webMUSHRA that are taken, or concern its own engine."""

_SETTINGS = {
    "type", "id", "name", "content", "stimuli", "reference", "strict", "createAnchor35", "createAnchor70", "response",
}  # fmt: skip
"""Settings of a page that are taken."""

_BEHAVIOUR: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "showWaveform": (lambda value: value is False, "a waveform is shown"),
    "enableLooping": (lambda value: value is False, "clips are looped"),
    "randomize": (lambda value: value is False, "the order of the clips is drawn"),
    "showConditionNames": (lambda value: value is True, "conditions are not named"),
    "mustRate": (lambda value: value is False, "every clip must be rated"),
    "mustPlayback": (lambda value: value != "ended", "every clip must be heard to its end"),
    "unforced": (lambda value: value not in (None, False, ""), "X is A or B: there is no third answer"),
}
"""Setting of a page -> which values have another counterpart, and what our pages do."""


@dataclass(frozen=True)
class StudyPlan:
    """One study: pages of one kind.

    Attributes:
        kind: type of webMUSHRA's pages.
        question: settings for STUDY.yaml.
        items: item -> (system -> path).
        references: item -> path; empty where the question needs none.
    """

    kind: str
    question: Settings
    items: Mapping[str, Mapping[str, str]]
    references: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What becomes of a configuration.

    Attributes:
        name: of the study.
        title: that raters see.
        language: of the configuration.
        headphones: it checks for headphones.
        fields: of the questionnaire, as settings.
        studies: at least one.
        notes: what has no counterpart, or another one; a line each.
    """

    name: str
    title: str
    language: str
    headphones: bool
    fields: Sequence[Settings]
    studies: Sequence[StudyPlan]
    notes: Sequence[str]


def make(configuration: Configuration) -> Plan:
    """Decide what becomes of a configuration.

    Args:
        configuration: as it is in the file.

    Raises:
        InputError: it has no page with clips that can be judged here, or such a page is not complete.
    """
    try:
        return _make(configuration, Notes())
    except InputError as error:
        raise InputError(f"{configuration.path}: {error}") from error


def _make(configuration: Configuration, notes: Notes) -> Plan:
    options = configuration.options
    language = options.get("language", "en")
    if language not in LANGUAGES:
        notes.add(f"language {shown(language)}", f"there are pages in {' and '.join(LANGUAGES)}; the study is in en")
        language = "en"
    for name in options:
        if name not in _OPTIONS:
            notes.add(f"the option {shown(name)}", "has no counterpart")
    if options.get("showButtonPreviousPage") is True:
        notes.add("showButtonPreviousPage", "raters cannot go back to a stored page")
    listening = [page for page in configuration.pages if page.type in PAGE_TYPES]
    groups = _groups(listening, notes)
    if not groups:
        left_out = f" ({'; '.join(notes.lines)[:200]})" if listening else ""
        raise InputError(f"there is no page of the types {', '.join(PAGE_TYPES)} that a study can have{left_out}")
    studies = [_study(pages, language, notes) for pages in groups]
    if len(studies) > 1:
        notes.add(f"{len(studies)} kinds of pages or sets of conditions", "each is a study in a folder of its own")
    if not all(page.random for page in listening):
        notes.add("the order of the pages", "is drawn for every rater")
    if configuration.mended:
        what = "colons in texts without quotation marks, which are no YAML"
        notes.add(what, "are taken for parts of the texts, as webMUSHRA takes them")
    if configuration.nested:
        notes.add("lists of pages within a random list", "their pages are not kept together")
    last = _other_pages(configuration, language, notes)
    notes.add("levels", "all clips are cut to the length of the shortest and brought to one loudness")
    name = name_of(options.get("testId") or options.get("testname") or "webmushra")
    return Plan(
        name=name,
        title=plain_text(options.get("testname")) or name,
        language=language,
        headphones=any(page.type in HEADPHONES for page in configuration.pages),
        fields=last,
        studies=studies,
        notes=notes.lines,
    )


def _groups(pages: Sequence[Page], notes: Notes) -> list[list[Page]]:
    """Pages that can be one study: of one type, with the same conditions, anchors and grades."""
    groups: dict[Any, list[Page]] = {}
    for page in pages:
        if has_several_scales(page):
            notes.add("several scales", "a page has one; it is left out", [page])
            continue
        scale = grades(page)
        if page.type.startswith("likert") and not POINTS[0] <= len(scale) <= POINTS[1]:
            notes.add(
                f"a scale of {len(scale)}", f"grades are {POINTS[0]} to {POINTS[1]}; the page is left out", [page]
            )
            continue
        anchors = (page.flag("createAnchor35"), page.flag("createAnchor70"))
        groups.setdefault((page.type, frozenset(page.stimuli), anchors, scale), []).append(page)
    return list(groups.values())


def _study(pages: Sequence[Page], language: str, notes: Notes) -> StudyPlan:
    question: Settings = {"name": pages[0].type} | PAGE_TYPES[pages[0].type](pages, language, notes)
    question["text"] = {language: _wording(pages, notes)}
    for name, (differs, ours) in _BEHAVIOUR.items():
        found = [page for page in pages if name in page.options and differs(page.options[name])]
        if found:
            notes.add(f"{name}: {shown(found[0].options[name])}", ours, found)
    unknown = {name for page in pages for name in page.options} - _SETTINGS - set(_BEHAVIOUR)
    for name in sorted(unknown, key=str):
        notes.add(f"the setting {shown(name)}", "has no counterpart", [page for page in pages if name in page.options])
    systems = _systems(pages, notes)
    items: dict[str, Page] = {}
    for page in pages:
        # Ids that are there twice get a number.
        names = (page.id, *(f"{page.id} {number}" for number in range(2, len(pages) + 2)))
        items[next(name for name in names if name not in items)] = page
    paths = {item: page.reference for item, page in items.items() if question.get("hidden_reference")}
    return StudyPlan(
        kind=pages[0].type,
        question=question,
        items={item: {systems[name]: path for name, path in page.stimuli.items()} for item, page in items.items()},
        references={item: path for item, path in paths.items() if path is not None},
    )


def _wording(pages: Sequence[Page], notes: Notes) -> str:
    texts = [page.text("content") or page.text("name") or page.type for page in pages]
    others = [page for page, text in zip(pages, texts, strict=True) if text != texts[0]]
    if others:
        notes.add(
            f"a content of their own, such as {shown(others[0].text('content'))}",
            f"all pages ask {shown(texts[0])}",
            others,
        )
    marked = [page for page in pages if "<" in str(page.options.get("content"))]
    if marked:
        notes.add("HTML of the content", "its text alone is kept", marked)
    return texts[0]


def _systems(pages: Sequence[Page], notes: Notes) -> dict[str, str]:
    """Name of a condition -> name of the system."""
    out: dict[str, str] = {}
    for name in pages[0].stimuli:
        system = name_of(name)
        if system in {"reference", "melody"} or system.startswith("anchor"):
            system = f"condition {system}"
        if system in out.values():
            raise InputError(f"page {pages[0].id}: two conditions would be called {system!r}: rename {shown(name)}")
        if system != name:
            notes.add(f"the condition {shown(name)}", f"is called {system!r}", pages)
        out[name] = system
    return out


def _other_pages(configuration: Configuration, language: str, notes: Notes) -> list[Settings]:
    """Notes on the pages without clips; the fields of the questionnaire."""
    out: list[Settings] = []
    for page in configuration.pages:
        if page.type == "finish":
            out += fields(page, language, notes)
            for name in ("content", "popupContent", "popupcontent"):
                if page.text(name):
                    notes.add(f"finish: {name} {shown(page.text(name))}", "the last page thanks in its own words")
            if page.flag("showResults"):
                notes.add("finish: showResults", "raters do not see their ratings again")
        elif page.type == "volume":
            notes.add("volume", "raters set the volume on the page of the headphone check, if there is one", [page])
        elif page.type in HEADPHONES:
            notes.add(page.type, "the headphone check has tones of its own, one of them in antiphase", [page])
        elif page.type not in PAGE_TYPES:
            text = f" with {shown(page.text('content'))}" if page.text("content") else ""
            hint = "instructions fit into 'consent:'" if page.type == "generic" else "it is left out"
            notes.add(f"a page of the type {shown(page.type)}{text}", f"has no counterpart: {hint}", [page])
    return out
