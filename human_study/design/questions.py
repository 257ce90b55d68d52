"""The questions of a study: their kind of page, wording, labels and clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from musicgen.errors import InputError

from . import checks
from .checks import shown
from .methods import BANDS, METHODS, SLIDER_SCALE, Method

OPEN_REFERENCES = ("none", "reference", "melody")
STIMULI = ("single", "multiple")
BUILT_IN = ("OVL", "REL", "MEL", "ABX")
"""Questions with wordings in web/texts/."""

POINTS = (2, 11)
"""Fewest and most grades of a labelled scale."""

HIGHEST_ANCHOR = 192_000
"""In Hz."""


@dataclass(frozen=True)
class Question:
    """One question that raters answer about clips.

    Attributes:
        name: OVL, REL, MEL and ABX have wordings in web/texts/; any other name needs `text`.
        method: name of a kind of page, see `methods.METHODS`.
        text: language -> wording.
        show_prompt: the page shows the text prompt.
        open_reference: the labelled clip at the left: "reference" (the recording), "melody" or "none".
        hidden_reference: the recording is also rated, unlabelled, among the systems; on ABX pages each system is compared with
            it, instead of with the other systems.
        anchors: corner frequencies in Hz of the low-passed recordings that are rated too (BS.1534-3 §5.1).
        stimuli: "single" (a page for each clip) or "multiple" (all clips of an item on one page).
        points: number of grades of a labelled scale, None on other pages.
        labels: language -> labels of the grades, from the lowest; empty for ITU-T P.800's five.
        confidence: an ABX page also asks how sure the rater is.
    """

    name: str
    method: str
    text: Mapping[str, str]
    show_prompt: bool
    open_reference: str
    hidden_reference: bool
    anchors: tuple[int, ...]
    stimuli: str = "multiple"
    points: int | None = None
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    confidence: bool = False

    def __post_init__(self) -> None:
        what = f"question {self.name}"
        if not checks.NAME.fullmatch(self.name):
            raise InputError(f"question name {shown(self.name)}: letters, digits, spaces and _.+()- only, at most 60")
        checks.one_of(f"{what}: method", self.method, METHODS)
        checks.one_of(f"{what}: open_reference", self.open_reference, OPEN_REFERENCES)
        checks.one_of(f"{what}: stimuli", self.stimuli, STIMULI)
        if len(set(self.anchors)) != len(self.anchors):
            raise InputError(f"{what}: anchors {', '.join(map(str, self.anchors))}: one is listed twice")
        if any(anchor < 100 for anchor in self.anchors):
            raise InputError(f"{what}: an anchor of {min(self.anchors)} Hz: at least 100 Hz, such as 3500")
        if self.kind.compares and (self.anchors or (self.hidden_reference and not self.kind.recordings)):
            raise InputError(
                f"{what}: a page of the method {self.method} compares two systems: no anchors, and a hidden reference with the "
                "method abx alone"
            )
        if self.confidence and self.kind.answer != "match":
            raise InputError(f"{what}: confidence is for the method abx, and the method is {self.method}")
        if self.stimuli == "single" and not self.kind.single:
            raise InputError(f"{what}: stimuli is single, and a page of the method {self.method} shows several clips")
        self._check_labels(what)

    def _check_labels(self, what: str) -> None:
        if self.kind.answer != "label":
            if self.points is not None or self.labels:
                raise InputError(
                    f"{what}: points and labels are for the method likert, and the method is {self.method}"
                )
            return
        if self.points is None:
            raise InputError(f"{what}: points is missing: the number of grades, such as 5")
        checks.within(f"{what}: points", self.points, POINTS)
        if not self.labels and self.points != len(BANDS):
            raise InputError(
                f"{what}: points is {self.points}, and there are no labels: {len(BANDS)} points have those of ITU-T P.800, "
                "other scales need labels: {en: [from the lowest, …]}"
            )
        for language, labels in self.labels.items():
            if len(labels) != self.points:
                raise InputError(
                    f"{what}: labels: {language} has {len(labels)}, and the scale has {self.points} points: one label for "
                    "each (an empty one shows the number alone)"
                )

    @property
    def kind(self) -> Method:
        """The kind of its pages."""
        return METHODS[self.method]

    @property
    def scale(self) -> tuple[int, int]:
        """Lowest and highest value of an answer."""
        return SLIDER_SCALE if self.points is None else (1, self.points)

    @property
    def needs_reference(self) -> bool:
        """Whether the question needs reference recordings."""
        return self.open_reference == "reference" or self.hidden_reference or bool(self.anchors)


def parse(entry: Any) -> Question:
    """Parse one question.

    Args:
        entry: the name of a built-in question, or a mapping of settings.

    Raises:
        InputError: a setting is unknown, missing or not allowed.
    """
    if isinstance(entry, str):
        entry = {"name": entry}
    defaults = ("name", "method", "text", "show_prompt", "open_reference", "hidden_reference", "anchors")
    values = checks.values(Question, entry, "a question", defaults)
    name = values.get("name")
    if not isinstance(name, str):
        raise InputError("questions: every question needs a name, such as OVL")
    what = f"question {name[:70]}"
    method = values.setdefault("method", "abx" if name == "ABX" else "rating")
    checks.one_of(f"{what}: method", method, METHODS)
    kind = METHODS[method]
    values.setdefault("text", {})
    values.setdefault("show_prompt", name == "REL")
    values.setdefault("open_reference", "reference" if kind.references else "melody" if name == "MEL" else "none")
    values.setdefault("hidden_reference", kind.references)
    values["anchors"] = _anchors(what, values.get("anchors", (3500, 7000) if kind.references else ()))
    values["labels"] = checks.lists_of_texts(f"{what}: labels", values.get("labels", {}))
    if kind.answer == "label":
        values.setdefault("stimuli", "single")
        if values.get("points") is None:
            values["points"] = len(next(iter(values["labels"].values()), BANDS))
    checks.names_and_texts(f"{what}: text", values["text"])
    return Question(**values)


def as_document(question: Question) -> dict[str, Any]:
    """A question as a mapping that `parse` reads back."""
    return vars(question) | {
        "text": dict(question.text),
        "anchors": list(question.anchors),
        "labels": {language: list(labels) for language, labels in question.labels.items()},
    }


def _anchors(what: str, anchors: Any) -> tuple[int, ...]:
    for anchor in anchors:
        if isinstance(anchor, bool) or not isinstance(anchor, (int, float)) or anchor != anchor // 1:
            raise InputError(f"{what}: anchors: {shown(anchor)} is no whole number of Hz, such as 3500")
        if anchor > HIGHEST_ANCHOR:
            raise InputError(f"{what}: an anchor of {shown(anchor)} Hz: at most {HIGHEST_ANCHOR} Hz")
    return tuple(int(anchor) for anchor in anchors)
