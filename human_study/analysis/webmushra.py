"""webMUSHRA's result files: mushra.csv and paired_comparison.csv.

Nothing is guessed silently: the result states which column identifies raters, and a file without such a column is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from musicgen.errors import InputError
from musicgen.text_format import counted

from .imported_ratings import ImportedRatings
from .ratings import DEFAULT_SCALE, Preference, Rating, StudyData
from .ratings_csv import guess_role, number_in, read_rows

ANCHORS = {"anchor35": "anchor 3500 Hz", "anchor70": "anchor 7000 Hz"}
"""webMUSHRA's names of its two low-passed anchors -> ours."""

MUSHRA_COLUMNS = ("session_test_id", "trial_id", "rating_stimulus", "rating_score")
PAIR_COLUMNS = ("session_test_id", "trial_id", "choice_reference", "choice_non_reference", "choice_answer")
SESSION = "session_uuid"
"""One value for each session; webMUSHRA writes it since 2022, and into mushra.csv alone."""

ANSWERS: Mapping[str, int | None] = {
    "correct": 0, "reference": 0, "incorrect": 1, "non_reference": 1, "undecided": None, "unknown": None,
}  # fmt: skip
"""webMUSHRA's answers -> the system that was chosen: the reference, the other, none."""

Row = Mapping[str, str]


def read(path: Path, rater_column: str | None = None) -> ImportedRatings:
    """Read a result file of webMUSHRA: a session is a rater, a trial is an item. Its times are in milliseconds.

    Args:
        path: the file.
        rater_column: the column that tells raters apart; None for `session_uuid`, and where a row has none for the columns
            of the questionnaire together.

    Raises:
        InputError: required columns are missing, or nothing tells raters apart.
    """
    rows = read_rows(path)
    columns = list(rows[0][1]) if rows else []
    identify = _identify(path, columns, rater_column)
    if all(name in columns for name in MUSHRA_COLUMNS):
        _check_repetitions(path, rows, identify, ("trial_id", "rating_stimulus"), rater_column)
        ratings = tuple(_rating(row, f"{path}:{number}", identify) for number, row in rows)
        data = StudyData(ratings, scales={"OVL": DEFAULT_SCALE})
        return ImportedRatings(data, _told_apart_by(rows, rater_column))
    if all(name in columns for name in PAIR_COLUMNS):
        keys = ("trial_id", "choice_reference", "choice_non_reference")
        _check_repetitions(path, rows, identify, keys, rater_column)
        data = StudyData((), tuple(_preference(row, f"{path}:{number}", identify) for number, row in rows))
        return ImportedRatings(data, _told_apart_by(rows, rater_column))
    raise InputError(f"{path}: not a result file of webMUSHRA: the columns {', '.join(MUSHRA_COLUMNS)} are needed")


def system_name(stimulus: str) -> str:
    """Name of a system here: webMUSHRA's anchors have other names."""
    return ANCHORS.get(stimulus, stimulus)


def preferred_system(answer: str, systems: tuple[str, str], where: str) -> str | None:
    """The system that an answer to a paired comparison names.

    Args:
        answer: webMUSHRA's, or the name of a system.
        systems: the reference and the other.
        where: start of the error message.

    Returns:
        One of them, None where the rater was undecided.

    Raises:
        InputError: the answer is none.
    """
    if answer in systems:
        return answer
    if answer not in ANSWERS:
        raise InputError(f"{where} is {answer[:40]!r}: one of {', '.join(ANSWERS)}")
    place = ANSWERS[answer]
    return None if place is None else systems[place]


def _told_apart_by(rows: Sequence[tuple[int, Row]], rater_column: str | None) -> str:
    if rater_column is not None:
        return f"the column {rater_column}"
    answers = ", ".join(_questionnaire(list(rows[0][1])))
    lacking = sum(not row.get(SESSION) for _, row in rows)
    if not lacking:
        return f"the column {SESSION}"
    if lacking == len(rows):
        return f"the answers to the questionnaire ({answers}), because there is no {SESSION}"
    return f"the column {SESSION}, and in {counted(lacking, 'row')} without it the answers to the questionnaire ({answers})"


def _questionnaire(columns: Sequence[str]) -> list[str]:
    start, end = columns.index("session_test_id"), columns.index("trial_id")
    return [name for name in columns[start + 1 : end] if name != SESSION]


def _identify(path: Path, columns: Sequence[str], rater_column: str | None) -> Callable[[Row, str], str]:
    """A function from a row and its place to the rater's name."""
    if rater_column is not None and rater_column not in columns:
        raise InputError(f"{path}: --rater-column is {rater_column[:40]!r}: the columns are {', '.join(columns)[:200]}")

    def identify(row: Row, where: str) -> str:
        if rater_column is not None:
            if not row[rater_column]:
                raise InputError(
                    f"{where}: {rater_column} is empty, and --rater-column says that it tells raters apart"
                )
            return row[rater_column]
        if row.get(SESSION):
            return row[SESSION]
        answers = [row[name] for name in _questionnaire(list(row))]
        if not any(answer.strip() for answer in answers):
            raise InputError(
                f"{where}: nothing tells who rated: there is no {SESSION}, and no answer to a questionnaire between "
                "session_test_id and trial_id: name the column of the rater with --rater-column"
            )
        # The answers may be a name or an address: the rater gets a pseudonym.
        return "q" + hashlib.sha256("\0".join([row["session_test_id"], *answers]).encode()).hexdigest()[:16]

    return identify


def _check_repetitions(
    path: Path,
    rows: Sequence[tuple[int, Row]],
    identify: Callable[[Row, str], str],
    keys: Sequence[str],
    rater_column: str | None,
) -> None:
    """Refuse a file in which one rater has rated the same thing twice: more probably these are two raters."""
    if rater_column is not None:
        return
    seen: dict[tuple[str, ...], int] = {}
    for number, row in rows:
        where = f"{path}:{number}"
        key = (identify(row, where), *(row[name] for name in keys))
        if key in seen:
            raise InputError(
                f"{where}: the same rater has rated this in line {seen[key]}: two people with the same answers to the "
                "questionnaire, or one who took the test twice? Name the column that tells raters apart with --rater-column"
            )
        seen[key] = number


def _rating(row: Row, where: str, identify: Callable[[Row, str], str]) -> Rating:
    stimulus = row["rating_stimulus"]
    system = system_name(stimulus)
    time = row.get("rating_time", "")
    _check_filled(row, ("trial_id", "rating_stimulus"), where)
    return Rating(
        rater=identify(row, where),
        question="OVL",
        item=row["trial_id"],
        system=system,
        role=guess_role(system),
        value=number_in(row["rating_score"], f"{where}: rating_score"),
        seconds=number_in(time, f"{where}: rating_time") / 1000 if time else None,
    )


def _preference(row: Row, where: str, identify: Callable[[Row, str], str]) -> Preference:
    _check_filled(row, ("trial_id", "choice_reference", "choice_non_reference"), where)
    systems = row["choice_reference"], row["choice_non_reference"]
    preferred = preferred_system(row["choice_answer"], systems, f"{where}: choice_answer")
    return Preference(
        rater=identify(row, where), question="AB", item=row["trial_id"], systems=systems, preferred=preferred
    )


def _check_filled(row: Row, names: Sequence[str], where: str) -> None:
    lacking = [name for name in names if not row[name]]
    if lacking:
        raise InputError(f"{where}: {', '.join(lacking)} is empty")
