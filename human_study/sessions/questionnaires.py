"""Questionnaires: the answers of a rater about themselves, validated and stored once.

The answers are personal data. They are stored under the rater, and deleted with the rater.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select

from ..database import schema
from ..design.manifest import Study
from ..design.questionnaire import MAX_CHARACTERS, Field, Questionnaire
from .errors import RequestRefused
from .raters import Rater

Answer = str | int | float


def is_finished(connection: Connection, study: Study, rater: Rater, place: str) -> bool:
    """Whether nothing is (any longer) to be asked.

    Args:
        connection: a transaction.
        study: the study.
        rater: who is asked.
        place: "before" or "after" the ratings.
    """
    return not fields(study, place) or _stored(connection, rater, place) is not None


def fields(study: Study, place: str) -> tuple[Field, ...]:
    """The fields of one place; none where the study asks nothing there."""
    return (study.settings.questionnaire or Questionnaire()).at(place)


def submit(
    connection: Connection, study: Study, rater: Rater, place: str, answers: Mapping[str, Answer | None]
) -> None:
    """Store the answers. The same answers again change nothing.

    Args:
        connection: a write transaction.
        study: the study.
        rater: who answers.
        place: "before" or "after" the ratings.
        answers: field -> answer; None or an empty text where there is none.

    Raises:
        RequestRefused: others are stored already, or an answer is missing or not allowed.
    """
    wanted = fields(study, place)
    unknown = answers.keys() - {field.name for field in wanted}
    if unknown:
        raise RequestRefused(422, "bad_answers", f"no such field: {ascii(min(unknown))[:70]}")
    checked = {field.name: _checked(field, answers.get(field.name)) for field in wanted}
    given = {name: answer for name, answer in checked.items() if answer is not None}
    stored = _stored(connection, rater, place)
    if stored == given:
        return
    if stored is not None:
        raise RequestRefused(409, "already_answered", "this questionnaire is stored already: the first answers count")
    connection.execute(
        insert(schema.questionnaire).values(rater_id=rater.id, place=place, answers=given, submitted_at=time.time())
    )


def _stored(connection: Connection, rater: Rater, place: str) -> dict[str, Answer] | None:
    table = schema.questionnaire
    row = connection.execute(
        select(table.c.answers).where(table.c.rater_id == rater.id, table.c.place == place)
    ).one_or_none()
    return None if row is None else dict(row.answers)


def _checked(field: Field, answer: Any) -> Answer | None:
    if isinstance(answer, str):
        answer = answer.strip()
    if answer is None or answer == "":
        if field.required:
            raise RequestRefused(422, "unanswered", f"{field.name}: an answer is needed")
        return None
    if field.kind == "number":
        low, high = field.range
        # NaN is within no range.
        if isinstance(answer, str) or not low <= answer <= high:
            raise RequestRefused(422, "bad_answers", f"{field.name}: a number from {low:g} to {high:g} is needed")
        return int(answer) if answer == int(answer) else float(answer)
    if not isinstance(answer, str):
        raise RequestRefused(422, "bad_answers", f"{field.name}: a text is needed, and a number came")
    if field.kind == "choice" and answer not in field.options:
        raise RequestRefused(422, "bad_answers", f"{field.name}: the answer is none of its options")
    # What PostgreSQL cannot store: zero bytes, and halves of UTF-16 pairs.
    if len(answer) > MAX_CHARACTERS or "\0" in answer or any("\ud800" <= letter <= "\udfff" for letter in answer):
        raise RequestRefused(
            422, "bad_answers", f"{field.name}: a text of at most {MAX_CHARACTERS} characters is needed"
        )
    return answer
