"""The raw tables of a study. Raters are pseudonymised."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from ..database import schema
from ..database.study_database import StudyDatabase
from ..design.manifest import Study, to_json
from ..sessions import questionnaires, raters
from . import ratings_csv, ratings_reader

Table = list[Mapping[str, Any]]

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "ratings": ratings_csv.COLUMNS,
    "preferences": ("rater", "question", "item", "system_1", "system_2", "preferred", "seconds"),
    "abx": ("rater", "question", "item", "system_1", "system_2", "x", "answer", "correct", "confidence", "seconds"),
    "trials": ("rater", "page", "kind", "position", "column", "system", "value", "heard_share", "heard", "started",
               "submitted", "check_passed", "receipt"),
    "raters": ("rater", "platform", "language", "entered", "consented", "headphone_score", "excluded_for",
               "failed_checks"),
    "questionnaires": ("rater", "place", "field", "answer", "submitted"),
    "events": ("at", "rater", "kind", "detail"),
}  # fmt: skip
"""Table -> its columns: a table without rows has them, too."""


def raw_tables(connection: Connection, database: StudyDatabase, study: Study) -> dict[str, Table]:
    """All tables of COLUMNS, raters as pseudonyms. None contains a worker id.

    Args:
        connection: a transaction.
        database: of the study.
        study: the study.

    Returns:
        Name -> rows.
    """
    data = ratings_reader.read(connection, database, study)
    people = connection.execute(select(schema.rater).where(schema.rater.c.study_id == database.study_id)).all()
    names = {row.id: raters.export_id(database, row.public_id) for row in people}
    preferences: Table = [
        {
            "rater": p.rater, "question": p.question, "item": p.item, "system_1": p.systems[0], "system_2": p.systems[1],
            "preferred": p.preferred, "seconds": p.seconds,
        }
        for p in data.preferences
    ]  # fmt: skip
    abx: Table = [
        {
            "rater": m.rater, "question": m.question, "item": m.item, "system_1": m.systems[0], "system_2": m.systems[1],
            "x": m.x, "answer": m.answer, "correct": m.correct, "confidence": m.confidence, "seconds": m.seconds,
        }
        for m in data.matches
    ]  # fmt: skip
    raters_table: Table = [
        {
            "rater": names[row.id], "platform": row.platform, "language": row.language, "entered": _iso(row.created_at),
            "consented": _iso(row.consented_at), "headphone_score": row.headphone_score, "excluded_for": row.excluded_for,
            "failed_checks": data.failed_checks.get(names[row.id], 0),
        }
        for row in people
    ]  # fmt: skip
    event = schema.event
    events: Table = [
        {"at": _iso(row.at), "rater": names.get(row.rater_id), "kind": row.kind, "detail": row.detail}
        for row in connection.execute(select(event).where(event.c.study_id == database.study_id).order_by(event.c.id))
    ]
    ratings: Table = list(ratings_csv.rows_of(data))
    return {
        "ratings": ratings,
        "preferences": preferences,
        "abx": abx,
        "trials": _trials(connection, database, study, names),
        "raters": raters_table,
        "questionnaires": _questionnaires(connection, database, study, names),
        "events": events,
    }


def _questionnaires(connection: Connection, database: StudyDatabase, study: Study, names: Mapping[int, str]) -> Table:
    table, rater = schema.questionnaire, schema.rater
    rows = connection.execute(
        select(table)
        .join(rater, rater.c.id == table.c.rater_id)
        .where(rater.c.study_id == database.study_id)
        .order_by(table.c.id)
    )
    return [
        {
            "rater": names[row.rater_id], "place": row.place, "field": field.name, "answer": row.answers.get(field.name),
            "submitted": _iso(row.submitted_at),
        }
        for row in rows
        for field in questionnaires.fields(study, row.place)
    ]  # fmt: skip


def _trials(connection: Connection, database: StudyDatabase, study: Study, names: Mapping[int, str]) -> Table:
    trial, listening, page, clip = schema.trial, schema.listening, schema.page, schema.clip
    rows = connection.execute(
        select(trial, page.c.key, page.c.kind, clip.c.name, listening.c.slot, listening.c.value, listening.c.heard_share,
               listening.c.intervals)
        .join(page, page.c.id == trial.c.page_id)
        .join(listening, listening.c.trial_id == trial.c.id)
        .join(clip, clip.c.id == listening.c.clip_id)
        .where(trial.c.study_id == database.study_id)
        .order_by(trial.c.id, listening.c.slot)
    )  # fmt: skip
    return [
        {
            "rater": names[row.rater_id], "page": row.key, "kind": row.kind, "position": row.position, "column": row.slot,
            "system": study.clips[row.name].system, "value": row.value, "heard_share": round(row.heard_share, 4),
            "heard": to_json(row.intervals), "started": _iso(row.started_at), "submitted": _iso(row.submitted_at),
            "check_passed": row.check_passed, "receipt": row.receipt,
        }
        for row in rows
    ]  # fmt: skip


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
