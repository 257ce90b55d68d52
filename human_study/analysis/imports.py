"""Ratings from other programs: webMUSHRA's result files (mushra.csv, paired_comparison.csv), or CSV of `ratings_csv`."""

from __future__ import annotations

from pathlib import Path

from musicgen.errors import InputError

from .ratings import Preference, Rating, StudyData
from .ratings_csv import guess_role, number_in, read_csv, read_rows

FORMATS = ("csv", "webmushra")
ANCHORS = {"anchor35": "anchor 3500 Hz", "anchor70": "anchor 7000 Hz"}
"""webMUSHRA's names of its two low-passed anchors -> ours."""

MUSHRA_COLUMNS = ("session_test_id", "trial_id", "rating_stimulus", "rating_score")
PAIR_COLUMNS = ("session_test_id", "trial_id", "choice_reference", "choice_non_reference", "choice_answer")


def read(path: str | Path, form: str) -> StudyData:
    """Read a file of ratings.

    Args:
        path: the file.
        form: one of FORMATS.

    Raises:
        InputError: the format is unknown, or the file does not have it.
    """
    if form == "csv":
        return read_csv(path)
    if form == "webmushra":
        return read_webmushra(Path(path))
    raise InputError(f"format is {form!r}: one of {', '.join(FORMATS)}")


def read_webmushra(path: Path) -> StudyData:
    """Read a result file of webMUSHRA: a session is a rater, a trial is an item. Its times are in milliseconds.

    Raises:
        InputError: required columns are missing.
    """
    rows = read_rows(path)
    columns = rows[0].keys() if rows else ()
    if all(name in columns for name in MUSHRA_COLUMNS):
        return StudyData(tuple(_rating(row, f"{path}:{number}") for number, row in enumerate(rows, 2)))
    if all(name in columns for name in PAIR_COLUMNS):
        return StudyData((), tuple(_preference(row) for row in rows))
    raise InputError(f"{path}: not a result file of webMUSHRA: the columns {', '.join(MUSHRA_COLUMNS)} are needed")


def _rating(row: dict[str, str], where: str) -> Rating:
    stimulus = row["rating_stimulus"]
    system = ANCHORS.get(stimulus, stimulus)
    time = row.get("rating_time", "")
    return Rating(
        rater=row.get("session_uuid") or row["session_test_id"],
        question="OVL",
        item=row["trial_id"],
        system=system,
        role=guess_role(system),
        value=number_in(row["rating_score"], f"{where}: rating_score"),
        seconds=number_in(time, f"{where}: rating_time") / 1000 if time else None,
    )


def _preference(row: dict[str, str]) -> Preference:
    systems = row["choice_reference"], row["choice_non_reference"]
    answer = row["choice_answer"]
    preferred = {"reference": systems[0], "non_reference": systems[1]}.get(answer, answer)
    return Preference(
        rater=row.get("session_uuid") or row["session_test_id"],
        question="AB",
        item=row["trial_id"],
        systems=systems,
        preferred=preferred if preferred in systems else None,
    )
