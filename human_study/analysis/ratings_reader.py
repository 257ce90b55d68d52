"""Read the ratings of a study from its database, without practice pages and attention checks. Raters are pseudonymised."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from ..database import schema
from ..database.study_database import StudyDatabase
from ..design.manifest import Study
from ..design.methods import METHODS
from ..sessions import raters
from .ratings import DEFAULT_SCALE, Match, Preference, Rating, StudyData

SCREENED = "screening: "
"""Start of the reason where screening excluded a rater: the analysis screens again, with thresholds of its own."""


def read(connection: Connection, database: StudyDatabase, study: Study) -> StudyData:
    """Read everything that was measured, raters who are excluded included.

    Args:
        connection: a transaction.
        database: of the study.
        study: the study.
    """
    rater = schema.rater
    people = connection.execute(
        select(rater.c.id, rater.c.public_id, rater.c.excluded_for).where(rater.c.study_id == database.study_id)
    ).all()
    names = {row.id: raters.export_id(database, row.public_id) for row in people}
    ratings, preferences, matches = [], [], []
    x: dict[int, str] = {}
    for row in _listened(connection, database):
        page, clip = study.pages[row.key], study.clips[row.clip]
        if row.slot > len(page.stimuli):
            x[row.id] = clip.system
        if page.kind == "rating" and row.value is not None:
            ratings.append(
                Rating(
                    rater=names[row.rater_id],
                    question=page.question,
                    item=page.item,
                    system=clip.system,
                    role=clip.role,
                    value=row.value,
                    heard=row.heard_share,
                    seconds=row.submitted_at - row.started_at,
                    position=row.position,
                    column=row.slot,
                )
            )
    trial, page_table, clip_table = schema.trial, schema.page, schema.clip
    rows = connection.execute(
        select(trial, page_table.c.key, clip_table.c.name.label("preferred"))
        .join(page_table, page_table.c.id == trial.c.page_id)
        .outerjoin(clip_table, clip_table.c.id == trial.c.preferred_clip_id)
        .where(trial.c.study_id == database.study_id)
        .order_by(trial.c.id)
    )
    failed: dict[str, int] = {}
    for row in rows.all():
        page = study.pages[row.key]
        if row.check_passed is False:
            failed[names[row.rater_id]] = failed.get(names[row.rater_id], 0) + 1
        if page.kind == "rating" and METHODS[page.method].compares:
            one, other = (study.clips[name].system for name in page.stimuli)
            whose = names[row.rater_id], page.question, page.item, (one, other)
            chosen = study.clips[row.preferred].system if row.preferred else None
            seconds = row.submitted_at - row.started_at
            if chosen is not None and row.id in x:
                matches.append(Match(*whose, x[row.id], chosen, row.confidence, seconds))
            else:
                preferences.append(Preference(*whose, chosen, seconds))
    marked = {
        names[row.id]: row.excluded_for
        for row in people
        if row.excluded_for and not row.excluded_for.startswith(SCREENED)
    }
    return StudyData(
        tuple(ratings), tuple(preferences), failed, marked, scales=_scales(study), matches=tuple(matches),
        minimum_heard=study.settings.minimum_heard,
    )  # fmt: skip


def _scales(study: Study) -> dict[str, tuple[float, float]]:
    # The sliders' 1 to 100 is read as part of BS.1534-3's 0 to 100.
    rated = [question for question in study.settings.questions if question.kind.rates]
    return {q.name: DEFAULT_SCALE if q.points is None else (1.0, float(q.points)) for q in rated}


def _listened(connection: Connection, database: StudyDatabase) -> list[Any]:
    trial, listening, page, clip = schema.trial, schema.listening, schema.page, schema.clip
    return list(
        connection.execute(
            select(
                trial.c.id,
                trial.c.rater_id,
                trial.c.position,
                trial.c.started_at,
                trial.c.submitted_at,
                listening.c.slot,
                listening.c.value,
                listening.c.heard_share,
                page.c.key,
                clip.c.name.label("clip"),
            )
            .join(listening, listening.c.trial_id == trial.c.id)
            .join(page, page.c.id == trial.c.page_id)
            .join(clip, clip.c.id == listening.c.clip_id)
            .where(trial.c.study_id == database.study_id)
            .order_by(trial.c.id, listening.c.slot)
        ).all()
    )
