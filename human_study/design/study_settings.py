"""STUDY.yaml: systems, questions, number of raters, levels. Read and validated once, before anything is built.

Times are in seconds unless a name says otherwise; loudness is in LUFS, true peak in dBTP. This module does not depend on audio,
databases or web pages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from musicgen.errors import InputError

from .. import listening
from . import checks, documents, questionnaire, questions
from .checks import shown
from .questionnaire import Questionnaire
from .questions import Question

HEADPHONE_CHECKS = ("require", "record", "off")
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
        checks.within("prolific: reward", self.reward, _LIMITS["reward"])
        checks.within("prolific: minutes", self.minutes, _LIMITS["minutes"])


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
        questionnaire: what raters are asked about themselves; None for nothing.
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
    minimum_heard: float = listening.MINIMUM_HEARD
    clock: bool = True
    open_link: bool = False
    questionnaire: Questionnaire | None = None
    prolific: ProlificSettings | None = None
    retention_days: int = 180
    seed: int = 0
    screening: tuple[Mapping[str, Any], ...] | None = None

    def __post_init__(self) -> None:
        if not checks.NAME.fullmatch(self.name):
            raise InputError(f"study name {shown(self.name)}: letters, digits, spaces and _.+()- only, at most 60")
        if not self.systems:
            raise InputError("systems: the mapping is empty: at least one samples folder is needed")
        for system in self.systems:
            if not checks.NAME.fullmatch(system) or system in RESERVED_SYSTEMS or system.startswith("anchor"):
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
        if self.questionnaire is not None:
            self.questionnaire.check_languages(self.languages)
        if self.attention_checks > MAX_ATTENTION_CHECKS:
            raise InputError(
                f"attention_checks is {self.attention_checks}: at most {MAX_ATTENTION_CHECKS}, one for each check clip"
            )
        for name in ("raters_per_sample", "trials_per_rater", "attention_checks", "retention_days", "lease_minutes",
                     "target_lufs", "peak_dbtp", "seed"):  # fmt: skip
            checks.within(name, getattr(self, name), _LIMITS[name])
        if self.rate is not None:
            checks.within("rate", self.rate, _LIMITS["rate"])
        if not self.languages:
            raise InputError("languages: the list is empty: at least one, such as en")
        for language in self.languages:
            if not _LANGUAGE.fullmatch(language):
                raise InputError(f"languages: {language[:20]!r} is no language: a code such as en or de")
        if len(set(self.languages)) != len(self.languages):
            raise InputError(f"languages: {', '.join(self.languages)}: one of them is listed twice")
        checks.one_of("headphone_check", self.headphone_check, HEADPHONE_CHECKS)
        if self.seconds is not None and self.seconds < 0.4:
            raise InputError(f"seconds is {shown(self.seconds)}: BS.1770 loudness needs at least 0.4 s")
        if not 0 < self.minimum_heard <= 1:
            raise InputError(f"minimum_heard is {self.minimum_heard}: a share above 0 and up to 1")
        if self.contact and "@" not in self.contact:
            raise InputError(f"contact is {shown(self.contact)}: an e-mail address that raters can write to")

    def _check_question(self, question: Question) -> None:
        if question.needs_reference and self.reference is None:
            raise InputError(
                f"question {question.name}: {question.method} needs 'reference:', a samples folder of recordings"
            )
        if question.open_reference == "melody" and self.melody is None:
            raise InputError(f"question {question.name}: needs 'melody:', a samples folder of reference melodies")
        if question.kind.compares and len(self.systems) + question.hidden_reference < 2:
            raise InputError(
                f"question {question.name}: the method {question.method} compares systems: at least two are needed (abx: or "
                f"hidden_reference: true), and the study has {len(self.systems)}"
            )
        if question.name not in questions.BUILT_IN:
            self._check_languages(f"question {question.name}: no wording for", "text", "…", question.text)
        if question.labels:
            what = f"question {question.name}: no labels for"
            self._check_languages(what, "labels", "[from the lowest, …]", question.labels)

    def _check_languages(self, what: str, setting: str, example: str, texts: Mapping[str, Any]) -> None:
        missing = [language for language in self.languages if not texts.get(language)]
        if missing:
            raise InputError(f"{what} {', '.join(missing)}: add {checks.by_language(setting, missing, example)}")


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
        if isinstance(document, Mapping) and document.get("headphone_check") is False:
            document = {**document, "headphone_check": "off"}  # YAML 1.1 reads the word off as false
        values = checks.values(StudySettings, document, "the study")
        values["questions"] = tuple(
            questions.parse(entry) for entry in checks.entries("questions", values["questions"])
        )
        if values.get("prolific") is not None:
            values["prolific"] = ProlificSettings(**checks.values(ProlificSettings, values["prolific"], "prolific"))
        if values.get("questionnaire") is not None:
            values["questionnaire"] = questionnaire.parse(values["questionnaire"])
        if values.get("screening") is not None:
            values["screening"] = tuple(checks.entries("screening", values["screening"]))
            for step in values["screening"]:
                if not isinstance(step, Mapping):
                    raise InputError(f"screening: {shown(step)} is no step: expected one such as {{step: attention}}")
        if "languages" in values:
            values["languages"] = tuple(checks.entries("languages", values["languages"]))
            checks.texts("languages", values["languages"])
        checks.names_and_texts("systems", values["systems"])
        for name in ("title", "consent"):
            if name in values:
                checks.names_and_texts(name, values[name])
        return StudySettings(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def as_document(settings: StudySettings) -> dict[str, Any]:
    """The settings as a document that `parse` reads back, without paths of folders: they mean nothing on another machine."""
    document = {f.name: getattr(settings, f.name) for f in fields(StudySettings)}
    document["systems"] = dict.fromkeys(settings.systems, "")
    document["reference"] = "" if settings.reference is not None else None
    document["melody"] = "" if settings.melody is not None else None
    document["questions"] = [questions.as_document(question) for question in settings.questions]
    if settings.questionnaire is not None:
        document["questionnaire"] = questionnaire.as_document(settings.questionnaire)
    document["prolific"] = vars(settings.prolific) if settings.prolific else None
    document["languages"] = list(settings.languages)
    document["screening"] = [dict(step) for step in settings.screening] if settings.screening is not None else None
    return document
