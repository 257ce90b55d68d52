"""STUDY.yaml: systems, questions, number of raters, levels. Read and checked once, before anything is built.

Times are in seconds unless a name says otherwise; loudness is in LUFS, true peak in dBTP. This module knows nothing about
audio, databases or web pages.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from musicgen.errors import InputError
from musicgen.options import check_text
from musicgen.suggestions import did_you_mean

from . import documents

SCALE = (1, 100)
"""The rating scale of the paper (section 3.3), both ends included. BS.1534-3 has 0 to 100."""

BANDS = ("bad", "poor", "fair", "good", "excellent")
"""The five equal bands beside the sliders, from the bottom (BS.1534-3, figure 2)."""

METHODS = ("mushra", "rating", "ab")
OPEN_REFERENCES = ("none", "reference", "melody")
HEADPHONE_CHECKS = ("require", "record", "off")
BUILT_IN_QUESTIONS = ("OVL", "REL", "MEL")
MAX_ATTENTION_CHECKS = 3
RESERVED_SYSTEMS = ("reference", "melody")

RATES = (8000, 192000)
"""Lowest and highest sample rate of a study in Hz."""

_LIMITS: Mapping[str, tuple[float, float]] = {
    "raters_per_sample": (1, 100_000),
    "trials_per_rater": (1, 10_000),
    "attention_checks": (0, MAX_ATTENTION_CHECKS),
    "retention_days": (1, 36_500),
    "lease_minutes": (0.01, 10_080),
    "rate": RATES,
    "target_lufs": (-60, 0),
    "peak_dbtp": (-40, 0),
    "seed": (0, 2**63 - 1),
    "reward": (0, 1_000_000),
    "minutes": (1, 1_440),
}
"""Setting -> its lowest and highest value."""

_CODE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,4})?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+()-]{0,59}")

_TYPES: Mapping[str, tuple[tuple[type[Any], ...], str]] = {
    "str": ((str,), "text"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false"),
    "Mapping": ((Mapping,), "a mapping of names to values"),
    "tuple": ((list, tuple), "a list"),
    "ProlificSettings": ((Mapping,), "a mapping of names to values"),
}
"""First word of a field's annotation -> the types that YAML may hold there, and their name in error messages."""


@dataclass(frozen=True)
class Question:
    """One question that raters answer about clips.

    Attributes:
        name: OVL, REL and MEL have wordings in web/texts/; any other name needs `text`.
        method: "mushra" (open and hidden reference, anchors), "rating" (sliders alone), "ab" (which of two is better).
        text: language -> wording.
        show_prompt: the page shows the text prompt.
        open_reference: the labelled clip at the left: "reference" (the recording), "melody" or "none".
        hidden_reference: the recording is also rated, unlabelled, among the systems.
        anchors: corner frequencies in Hz of the low-passed recordings that are rated too (BS.1534-3 §5.1).
    """

    name: str
    method: str
    text: Mapping[str, str]
    show_prompt: bool
    open_reference: str
    hidden_reference: bool
    anchors: tuple[int, ...]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(f"question name {_shown(self.name)}: letters, digits, spaces and _.+()- only, at most 60")
        _one_of(f"question {self.name}: method", self.method, METHODS)
        _one_of(f"question {self.name}: open_reference", self.open_reference, OPEN_REFERENCES)
        if len(set(self.anchors)) != len(self.anchors):
            raise InputError(f"question {self.name}: anchors {', '.join(map(str, self.anchors))}: one is listed twice")
        if any(anchor < 100 for anchor in self.anchors):
            raise InputError(
                f"question {self.name}: an anchor of {min(self.anchors)} Hz: at least 100 Hz, such as 3500"
            )
        if self.method == "ab" and (self.hidden_reference or self.anchors):
            raise InputError(f"question {self.name}: an A/B page compares two systems: no hidden reference, no anchors")

    @property
    def needs_reference(self) -> bool:
        """Whether the question needs reference recordings."""
        return self.open_reference == "reference" or self.hidden_reference or bool(self.anchors)


@dataclass(frozen=True)
class ProlificSettings:
    """The study on Prolific.

    Attributes:
        completion_code: shown to a rater after the last trial is stored.
        reward: in pence.
        minutes: estimated duration.
        verify: ask Prolific's API whether a submission is active before its rater is admitted. Without it anybody can make
            up worker ids.

    Raises:
        InputError: a value is out of range, or the code has other characters than Prolific's.
    """

    completion_code: str
    reward: int = 0
    minutes: int = 20
    verify: bool = True

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.completion_code):
            raise InputError(
                f"prolific: completion_code is {self.completion_code[:70]!r}: 1 to 64 letters, digits, - and _"
            )
        _within("prolific: reward", self.reward, "reward")
        _within("prolific: minutes", self.minutes, "minutes")


@dataclass(frozen=True)
class StudySettings:
    """The contents of STUDY.yaml.

    Attributes:
        name: of the study; one database holds one build of it.
        systems: name -> samples folder.
        questions: at least one.
        reference: samples folder of recordings, with the ids of the systems.
        melody: samples folder of reference melodies, with the ids of the systems.
        languages: files of web/texts/.
        title: language -> title of the page.
        consent: language -> consent text; paragraphs are separated by an empty line.
        contact: e-mail address that raters can write to.
        raters_per_sample: valid raters that every page reaches (the paper: at least 5).
        trials_per_rater: rating pages, without practice page and attention checks.
        practice: a practice page comes first.
        headphone_check: "require" (two tries), "record" (the score alone) or "off".
        attention_checks: number of check pages between the rating pages.
        seconds: length of every clip; None for the length of the shortest.
        rate: sample rate in Hz; None for the highest of the clips.
        target_lufs: integrated loudness of every clip (BS.1770).
        peak_dbtp: ceiling of the true peak.
        lease_minutes: how long a page is reserved for an inactive rater.
        minimum_heard: share of a clip that must have been played before it can be submitted.
        clock: refuse a trial with more seconds heard than have elapsed.
        open_link: admit raters without a code.
        prolific: None unless raters come from Prolific.
        retention_days: after so many days worker ids are deleted.
        seed: of page assignment and presentation order.
        screening: steps of the post-screening protocol; None for the default.
    """

    name: str
    systems: Mapping[str, str]
    questions: tuple[Question, ...]
    reference: str | None = None
    melody: str | None = None
    languages: tuple[str, ...] = ("en", "de")
    title: Mapping[str, str] = field(default_factory=dict)
    consent: Mapping[str, str] = field(default_factory=dict)
    contact: str = ""
    raters_per_sample: int = 5
    trials_per_rater: int = 10
    practice: bool = True
    headphone_check: str = "require"
    attention_checks: int = 1
    seconds: float | None = None
    rate: int | None = None
    target_lufs: float = -14.0
    peak_dbtp: float = -1.0
    lease_minutes: float = 30.0
    minimum_heard: float = 0.98
    clock: bool = True
    open_link: bool = False
    prolific: ProlificSettings | None = None
    retention_days: int = 180
    seed: int = 0
    screening: tuple[Mapping[str, Any], ...] | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(f"study name {_shown(self.name)}: letters, digits, spaces and _.+()- only, at most 60")
        if not self.systems:
            raise InputError("systems: the mapping is empty: at least one samples folder is needed")
        for system in self.systems:
            if not _NAME.fullmatch(system) or system in RESERVED_SYSTEMS or system.startswith("anchor"):
                raise InputError(
                    f"system name {system!r}: letters, digits, spaces and _.+()- only; "
                    "reference, melody and anchor… are reserved"
                )
        if not self.questions:
            raise InputError("questions: the list is empty: add OVL, REL, MEL or a question of your own")
        names = [question.name for question in self.questions]
        if len(set(names)) != len(names):
            raise InputError(f"questions: {', '.join(names)}: every name must be unique")
        for question in self.questions:
            self._check_question(question)
        if self.attention_checks > MAX_ATTENTION_CHECKS:
            raise InputError(
                f"attention_checks is {self.attention_checks}: at most {MAX_ATTENTION_CHECKS}, one for each check clip"
            )
        for name in ("raters_per_sample", "trials_per_rater", "attention_checks", "retention_days", "lease_minutes",
                     "target_lufs", "peak_dbtp", "seed"):  # fmt: skip
            _within(name, getattr(self, name), name)
        if self.rate is not None:
            _within("rate", self.rate, "rate")
        if not self.languages:
            raise InputError("languages: the list is empty: at least one, such as en")
        for language in self.languages:
            if not _LANGUAGE.fullmatch(language):
                raise InputError(f"languages: {language[:20]!r} is no language: a code such as en or de")
        if len(set(self.languages)) != len(self.languages):
            raise InputError(f"languages: {', '.join(self.languages)}: one of them is listed twice")
        _one_of("headphone_check", self.headphone_check, HEADPHONE_CHECKS)
        if self.seconds is not None and self.seconds < 0.4:
            raise InputError(f"seconds is {_shown(self.seconds)}: BS.1770 loudness needs at least 0.4 s")
        if not 0 < self.minimum_heard <= 1:
            raise InputError(f"minimum_heard is {self.minimum_heard}: a share above 0 and up to 1")
        if self.contact and "@" not in self.contact:
            raise InputError(f"contact is {_shown(self.contact)}: an e-mail address that raters can write to")

    def _check_question(self, question: Question) -> None:
        if question.needs_reference and self.reference is None:
            raise InputError(
                f"question {question.name}: {question.method} needs 'reference:', a samples folder of recordings"
            )
        if question.open_reference == "melody" and self.melody is None:
            raise InputError(f"question {question.name}: needs 'melody:', a samples folder of reference melodies")
        if question.method == "ab" and len(self.systems) < 2:
            raise InputError(
                f"question {question.name}: A/B needs at least two systems, and the study has {len(self.systems)}"
            )
        if question.name not in BUILT_IN_QUESTIONS:
            missing = [language for language in self.languages if not question.text.get(language)]
            if missing:
                raise InputError(f"question {question.name}: no wording for {', '.join(missing)}: add text: {{en: …}}")


def read(path: str | Path) -> StudySettings:
    """Read STUDY.yaml.

    Args:
        path: the file; folders in it are relative to it.

    Raises:
        InputError: the file is missing, is not YAML, or a value is not allowed.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such study file")
    settings = parse(documents.read_yaml(path), str(path))
    here = path.parent
    return StudySettings(
        **{f.name: getattr(settings, f.name) for f in fields(StudySettings)}
        | {
            "systems": {name: str(here / folder) for name, folder in settings.systems.items()},
            "reference": str(here / settings.reference) if settings.reference else None,
            "melody": str(here / settings.melody) if settings.melody else None,
        }
    )


def parse(document: Any, where: str) -> StudySettings:
    """Parse a document that YAML or JSON was read into.

    Args:
        document: a mapping of settings.
        where: start of error messages, such as the file's name.

    Raises:
        InputError: a setting is unknown, missing or not allowed.
    """
    try:
        values = _known(StudySettings, document, "the study")
        values["questions"] = tuple(_question(entry) for entry in _list(values, "questions"))
        if values.get("prolific") is not None:
            values["prolific"] = ProlificSettings(**_known(ProlificSettings, values["prolific"], "prolific"))
        if values.get("screening") is not None:
            values["screening"] = tuple(_list(values, "screening"))
            for step in values["screening"]:
                if not isinstance(step, Mapping):
                    raise InputError(f"screening: {_shown(step)} is no step: expected one such as {{step: attention}}")
        if "languages" in values:
            values["languages"] = tuple(_list(values, "languages"))
            _texts("languages", values["languages"])
        _names_and_texts("systems", values["systems"])
        for name in ("title", "consent"):
            if name in values:
                _names_and_texts(name, values[name])
        return StudySettings(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def as_document(settings: StudySettings) -> dict[str, Any]:
    """The settings as a document that `parse` reads back, without paths of folders: they mean nothing on another machine."""
    document = {f.name: getattr(settings, f.name) for f in fields(StudySettings)}
    document["systems"] = dict.fromkeys(settings.systems, "")
    document["reference"] = "" if settings.reference is not None else None
    document["melody"] = "" if settings.melody is not None else None
    document["questions"] = [
        {f.name: getattr(question, f.name) for f in fields(Question)} | {"anchors": list(question.anchors)}
        for question in settings.questions
    ]
    document["prolific"] = vars(settings.prolific) if settings.prolific else None
    document["languages"] = list(settings.languages)
    document["screening"] = [dict(step) for step in settings.screening] if settings.screening is not None else None
    return document


def _question(entry: Any) -> Question:
    if isinstance(entry, str):
        entry = {"name": entry}
    values = _known(Question, entry, "a question")
    name = values.get("name")
    if not isinstance(name, str):
        raise InputError("questions: every question needs a name, such as OVL")
    method = values.setdefault("method", "rating")
    mushra = method == "mushra"
    values.setdefault("text", {})
    values.setdefault("show_prompt", name == "REL")
    values.setdefault("open_reference", "reference" if mushra else "melody" if name == "MEL" else "none")
    values.setdefault("hidden_reference", mushra)
    anchors = values.setdefault("anchors", (3500, 7000) if mushra else ())
    for anchor in anchors:
        if isinstance(anchor, bool) or not isinstance(anchor, (int, float)) or anchor != anchor // 1:
            raise InputError(f"question {name[:70]}: anchors: {_shown(anchor)} is no whole number of Hz, such as 3500")
        if anchor > RATES[1]:
            raise InputError(f"question {name[:70]}: an anchor of {_shown(anchor)} Hz: at most {RATES[1]} Hz")
    values["anchors"] = tuple(int(anchor) for anchor in anchors)
    _names_and_texts(f"question {name[:70]}: text", values["text"])
    return Question(**values)


def _known(cls: type[Any], document: Any, what: str) -> dict[str, Any]:
    if not isinstance(document, Mapping):
        raise InputError(f"{what} must be a mapping of names to values, not {type(document).__name__}")
    allowed = {f.name: f for f in fields(cls)}
    for name in document:
        if name not in allowed:
            raise InputError(f"{what} has no setting {_shown(name)}: {did_you_mean(name, allowed)}")
    values = dict(document)
    for name, setting in allowed.items():
        required = setting.default is MISSING and setting.default_factory is MISSING
        if required and name not in values and cls is not Question:
            raise InputError(f"{what} needs '{name}:'")
        if name in values:
            _check_type(f"{what}: {name}", str(setting.type), values[name])
    return values


def check_values(cls: type[Any], document: Any, what: str) -> dict[str, Any]:
    """Check a mapping against the fields of a data class: names, and the types that their annotations name.

    Args:
        cls: the data class.
        document: what YAML or JSON was read into.
        what: start of error messages.

    Returns:
        The mapping as a dictionary.

    Raises:
        InputError: a name is unknown or missing, or a value has the wrong type.
    """
    return _known(cls, document, what)


def _check_type(name: str, annotation: str, value: Any) -> None:
    # YAML reads "no" as False and 5.0 as a float; unchecked, the error would appear far from its cause.
    first = annotation.split("|")[0].split("[")[0].strip()
    if value is None and "None" in annotation:
        return
    kinds, words = _TYPES[first]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise InputError(f"{name} is {_shown(value)}: expected {words}")
    if isinstance(value, (int, float)):
        _check_finite(name, value)
    if isinstance(value, str):
        _check_text(name, value)


def _check_finite(name: str, value: float) -> None:
    # A whole number can have more digits than a float, and more than Python writes.
    if abs(value) > 2**63 or not math.isfinite(value):
        raise InputError(f"{name} is {_shown(value)}: a finite number is needed")


def _check_text(name: str, value: str) -> None:
    check_text(name, value)
    if "\0" in value:
        raise InputError(f"{name} is {_shown(value)}: a zero byte is not allowed in a text")


def _names_and_texts(name: str, values: Mapping[Any, Any]) -> None:
    for key, value in values.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InputError(f"{name}: {_shown(key)} is {_shown(value)}: expected texts (put quotes around them)")
        _check_text(f"{name}: the name {key[:20]!r}", key)
        _check_text(f"{name}: {key[:20]}", value)


def _texts(name: str, values: Sequence[Any]) -> None:
    for value in values:
        if not isinstance(value, str):
            raise InputError(f"{name}: {_shown(value)} is no text (put quotes around it)")


def _shown(value: Any) -> str:
    """A value for an error message: one short line, whatever it is."""
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except (ValueError, RecursionError):  # a whole number of more than 4,300 digits, a list within itself
        text = f"a value of type {type(value).__name__} that is too long to show"
    return text if len(text) <= 60 else f"{text[:57]}…"


def _list(values: Mapping[str, Any], name: str) -> list[Any]:
    if not isinstance(values[name], (list, tuple)):
        raise InputError(f"{name} must be a list, not {type(values[name]).__name__}")
    return list(values[name])


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name} is {_shown(value)}: one of {', '.join(allowed)}")


def _within(name: str, value: float, limits: str) -> None:
    low, high = _LIMITS[limits]
    if not low <= value <= high:
        raise InputError(f"{name} is {_shown(value)}: from {low:,} to {high:,}")
