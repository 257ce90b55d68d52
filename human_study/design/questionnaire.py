"""The questionnaires of a study: what raters are asked about themselves, before or after the ratings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from musicgen.errors import InputError

from . import checks
from .checks import shown

KINDS = ("choice", "number", "text")
PLACES = ("before", "after")
MAX_FIELDS = 15
MAX_OPTIONS = 30
MAX_CHARACTERS = 1000
"""Of one answer: with MAX_FIELDS of them a request stays under the server's limit of a body."""

NUMBERS = (-1e9, 1e9)
"""Range of a number without `minimum` and `maximum`."""

BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    "age": {"kind": "number", "minimum": 18, "maximum": 120},
    "device": {"kind": "choice", "options": ("headphones", "earphones", "loudspeakers", "other")},
    "experience": {"kind": "choice", "options": ("none", "listener", "musician", "professional")},
}
"""Fields with wordings in web/texts/ -> their settings."""


@dataclass(frozen=True)
class Field:
    """One field of a questionnaire.

    Attributes:
        name: column of the export; age, device and experience have wordings in web/texts/, any other name needs `text`.
        kind: "choice" (one of a few), "number" or "text".
        text: language -> wording.
        required: whether an answer is needed to go on.
        options: of a choice, in order.
        labels: language -> labels of the options, in their order; empty where the options' names are their labels.
        minimum: lowest number.
        maximum: highest number.
    """

    name: str
    kind: str
    text: Mapping[str, str] = field(default_factory=dict)
    required: bool = True
    options: tuple[str, ...] = ()
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        what = f"questionnaire field {self.name}"
        if not checks.NAME.fullmatch(self.name):
            raise InputError(
                f"questionnaire field {shown(self.name)}: letters, digits, spaces and _.+()- only, at most 60"
            )
        checks.one_of(f"{what}: kind", self.kind, KINDS)
        if self.kind == "choice":
            if not 2 <= len(set(self.options)) == len(self.options) <= MAX_OPTIONS:
                raise InputError(f"{what}: has {len(self.options)} options: 2 to {MAX_OPTIONS}, none of them twice")
            if any(not 0 < len(option) <= MAX_CHARACTERS for option in self.options):
                raise InputError(f"{what}: an option is empty or has more than {MAX_CHARACTERS} characters")
        elif self.options or self.labels:
            raise InputError(f"{what}: options and labels are for the kind choice, and the kind is {self.kind}")
        for language, labels in self.labels.items():
            if len(labels) != len(self.options):
                raise InputError(
                    f"{what}: labels: {language} has {len(labels)}, and there are {len(self.options)} options"
                )
        if self.kind != "number" and (self.minimum is not None or self.maximum is not None):
            raise InputError(f"{what}: minimum and maximum are for the kind number, and the kind is {self.kind}")
        low, high = self.range
        if not NUMBERS[0] <= low < high <= NUMBERS[1]:
            raise InputError(
                f"{what}: from {low:g} to {high:g}: the minimum must be below the maximum, both within ±1e9"
            )

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest number."""
        return (
            NUMBERS[0] if self.minimum is None else self.minimum,
            NUMBERS[1] if self.maximum is None else self.maximum,
        )


@dataclass(frozen=True)
class Questionnaire:
    """The fields that every rater fills in.

    Attributes:
        before: asked before the first rating page.
        after: asked after the last one.
    """

    before: tuple[Field, ...] = ()
    after: tuple[Field, ...] = ()

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.before + self.after]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"questionnaire: the field {twice} is there twice: every name must be unique")
        for place in PLACES:
            if len(self.at(place)) > MAX_FIELDS:
                raise InputError(f"questionnaire: {place} has {len(self.at(place))} fields: at most {MAX_FIELDS}")

    def at(self, place: str) -> tuple[Field, ...]:
        """The fields of one place, "before" or "after"."""
        return self.before if place == "before" else self.after

    def check_languages(self, languages: tuple[str, ...]) -> None:
        """Check that fields have wordings in every language of the study.

        Raises:
            InputError: one has not.
        """
        for entry in self.before + self.after:
            for setting, found in (("text", entry.text), ("labels", entry.labels)):
                # Options without any labels show their names.
                optional = entry.name in BUILT_IN or setting == "labels"
                missing = [language for language in languages if not found.get(language)]
                if missing and (found or not optional):
                    raise InputError(
                        f"questionnaire field {entry.name}: no {setting} for {', '.join(missing)}: add "
                        f"{checks.by_language(setting, missing)}"
                    )


def parse(document: Any) -> Questionnaire:
    """Parse the setting `questionnaire`.

    Args:
        document: a mapping of "before" and "after" to lists of fields; a field is the name of a built-in one, or a mapping.

    Raises:
        InputError: a setting is unknown, missing or not allowed.
    """
    values = checks.values(Questionnaire, document, "questionnaire")
    return Questionnaire(**{
        place: tuple(_field(entry) for entry in checks.entries(f"questionnaire: {place}", entries))
        for place, entries in values.items()
    })  # fmt: skip


def as_document(questionnaire: Questionnaire) -> dict[str, Any]:
    """A questionnaire as a mapping that `parse` reads back."""
    return {
        place: [
            vars(entry)
            | {"text": dict(entry.text), "options": list(entry.options)}
            | {"labels": {language: list(labels) for language, labels in entry.labels.items()}}
            for entry in questionnaire.at(place)
        ]
        for place in PLACES
    }


def _field(entry: Any) -> Field:
    if isinstance(entry, str):
        entry = {"name": entry}
    values = checks.values(Field, entry, "a questionnaire field", ("name", "kind"))
    name = values.get("name")
    if not isinstance(name, str):
        raise InputError("questionnaire: every field needs a name, such as age")
    what = f"questionnaire field {name[:70]}"
    if "kind" not in values:
        # A field that states its kind has nothing of the built-in one but its wording.
        values = dict(BUILT_IN.get(name, {})) | values
    if "kind" not in values:
        raise InputError(f"{what}: kind is missing: one of {', '.join(KINDS)}; {', '.join(BUILT_IN)} have theirs")
    checks.names_and_texts(f"{what}: text", values.get("text", {}))
    options = values.get("options", ())
    checks.texts(f"{what}: options", options)
    values["options"] = tuple(options)
    values["labels"] = checks.lists_of_texts(f"{what}: labels", values.get("labels", {}))
    return Field(**values)
