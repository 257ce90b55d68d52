"""Results of pyMUSHRA: its TinyDB file, a JSON object of tables. A table is a test; its entries are trials as webMUSHRA sends
them, each with the answers to the questionnaire and a `uuid`, which pyMUSHRA generates for every submission.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musicgen.errors import InputError
from musicgen.options import check_text
from musicgen.text_format import counted

from .imported_ratings import ImportedRatings
from .ratings import DEFAULT_SCALE, Preference, Rating, StudyData
from .ratings_csv import MAX_BYTES, guess_role, number_in
from .webmushra import preferred_system, system_name

RATER = "uuid"
UNRATED = "NA"
"""The value that webMUSHRA stores for a clip that was not rated."""

BS1116_SCALE = (1.0, 5.0)

Entry = Mapping[str, Any]


@dataclass
class _Found:
    ratings: list[Rating] = field(default_factory=list)
    preferences: list[Preference] = field(default_factory=list)
    scales: dict[str, tuple[float, float]] = field(default_factory=dict)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)


def read(path: Path, rater_column: str | None = None, test: str | None = None) -> ImportedRatings:
    """Read the results of one test.

    Args:
        path: the file.
        rater_column: the field of the questionnaire that tells raters apart; None for the uuid of the submission.
        test: name of the test; None where the file holds one.

    Raises:
        InputError: the file is no database of pyMUSHRA, the test is not in it, or a trial is damaged.
    """
    found = _Found()
    for number, trial in _trials(path, test):
        where = f"{path}: entry {number}"
        kind, responses = trial.get("type"), trial.get("responses")
        if not isinstance(kind, str) or not isinstance(responses, list):
            raise InputError(f"{where}: has no 'type' and list of 'responses': is it a database of pyMUSHRA?")
        if kind not in READERS:
            found.left_out["trial", f" of the type {kind[:40]!r}"] += 1
            continue
        whose = _rater(trial, rater_column, where), _text(trial, "id", where)
        for response in responses:
            if not isinstance(response, Mapping):
                raise InputError(f"{where}: a response is no object with a stimulus")
            READERS[kind](found, whose, response, where)
    data = StudyData(tuple(found.ratings), tuple(found.preferences), scales=found.scales)
    left_out = tuple(f"{counted(count, noun)}{rest}" for (noun, rest), count in sorted(found.left_out.items()))
    apart = "the uuid of their submission" if rater_column is None else f"the field {rater_column} of the questionnaire"
    return ImportedRatings(data, apart, left_out)


def _trials(path: Path, test: str | None) -> Iterator[tuple[str, Entry]]:
    tables = {name: table for name, table in _document(path).items() if isinstance(table, Mapping) and table}
    names = ", ".join(sorted(tables))[:200] or "none"
    if test is None and len(tables) != 1:
        raise InputError(f"{path}: holds {len(tables)} tests ({names}): name one with --test")
    if test is not None and test not in tables:
        raise InputError(f"{path}: holds no test {test[:40]!r}: there are {names}")
    table = tables[next(iter(tables)) if test is None else test]
    for number, entry in table.items():
        if not isinstance(entry, Mapping):
            raise InputError(f"{path}: entry {str(number)[:20]} is no trial: is it a database of pyMUSHRA?")
        yield str(number)[:20], entry


def _document(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: has more than {MAX_BYTES} bytes: is it a database of pyMUSHRA?")
        document = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise InputError(f"{path}: is not valid JSON: it is nested too deeply") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: is not valid JSON ({str(error)[:160]})") from error
    if not isinstance(document, Mapping):
        raise InputError(f"{path}: is no database of pyMUSHRA: a JSON object of tests is needed")
    return document


def _rater(trial: Entry, column: str | None, where: str) -> str:
    answers = trial.get("questionaire")  # pyMUSHRA's spelling
    if not isinstance(answers, Mapping):
        raise InputError(f"{where}: has no 'questionaire': is it a database of pyMUSHRA?")
    name = RATER if column is None else column
    if answers.get(name) in (None, ""):
        fields = ", ".join(map(str, answers))[:200]
        raise InputError(
            f"{where}: {name[:40]} is empty, and it tells raters apart: there are {fields} (--rater-column)"
        )
    return _text(answers, name, where)


def _mushra(found: _Found, whose: tuple[str, str], response: Entry, where: str) -> None:
    found.scales["OVL"] = DEFAULT_SCALE
    _add(found, whose, "OVL", _text(response, "stimulus", where), _number(response, "score", where), response, where)


def _bs1116(found: _Found, whose: tuple[str, str], response: Entry, where: str) -> None:
    found.scales["BS1116"] = BS1116_SCALE
    for system, score in (("reference", "referenceScore"), ("nonReference", "nonReferenceScore")):
        _add(found, whose, "BS1116", _text(response, system, where), _number(response, score, where), response, where)


def _likert(found: _Found, whose: tuple[str, str], response: Entry, where: str) -> None:
    value = response.get("stimulusRating")
    if value == UNRATED:
        found.left_out["unrated clip", ""] += 1
    elif isinstance(value, str):
        found.left_out["grade", " in words, whose order the file does not state"] += 1
    else:
        grade = _number(response, "stimulusRating", where)
        _add(found, whose, "likert", _text(response, "stimulus", where), grade, response, where)


def _paired_comparison(found: _Found, whose: tuple[str, str], response: Entry, where: str) -> None:
    systems = _text(response, "reference", where), _text(response, "nonReference", where)
    answer = preferred_system(_text(response, "answer", where), systems, f"{where}: answer")
    rater, item = whose
    found.preferences.append(Preference(rater, "AB", item, systems, answer, _seconds(response, where)))


READERS: Mapping[str, Callable[[_Found, tuple[str, str], Entry, str], None]] = {
    "mushra": _mushra,
    "bs1116": _bs1116,
    "likert_multi_stimulus": _likert,
    "likert_single_stimulus": _likert,
    "paired_comparison": _paired_comparison,
}
"""Type of a trial -> what reads one of its responses."""


def _add(
    found: _Found, whose: tuple[str, str], question: str, stimulus: str, value: float, response: Entry, where: str
) -> None:
    rater, item = whose
    system = system_name(stimulus)
    seconds = _seconds(response, where)
    found.ratings.append(Rating(rater, question, item, system, guess_role(system), value, seconds=seconds))


def _seconds(response: Entry, where: str) -> float | None:
    return None if response.get("time") in (None, "") else _number(response, "time", where) / 1000


def _text(entry: Entry, name: str, where: str) -> str:
    # pyMUSHRA makes numbers of names that look like numbers.
    value = entry.get(name)
    if value in (None, "") or isinstance(value, (list, dict)):
        raise InputError(f"{where}: {name} is empty or no text")
    text = str(value)[:200]
    check_text(f"{where}: {name}", text)
    return text


def _number(entry: Entry, name: str, where: str) -> float:
    value = entry.get(name)
    if isinstance(value, str):
        return number_in(value, f"{where}: {name}")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 2**63 or not math.isfinite(value):
        raise InputError(f"{where}: {name} is no finite number")
    return float(value)
