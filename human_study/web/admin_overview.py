"""What the admin page shows: progress of every page and rater, and flags."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, select

from musicgen.text_format import counted

from ..database import schema
from ..database.study_database import StudyDatabase
from ..design.manifest import Study
from ..sessions import leases, raters

QUICK_SECONDS = 5.0
"""Raters whose median page took less are flagged."""
MAX_IDLE = 200
"""Raters without a stored page who are listed."""


def study_progress(connection: Connection, database: StudyDatabase, study: Study) -> dict[str, Any]:
    """Counts for each page and rater, flags, and the last 50 events.

    Of the raters who have stored no page only the newest MAX_IDLE are listed, and no event tells that somebody has entered: a
    script that opens the study again and again makes the page neither long nor slow, and hides nothing on it.
    """
    now = time.time()
    trial, event = schema.trial, schema.event
    keys = {
        row.id: row.key
        for row in connection.execute(
            select(schema.page.c.id, schema.page.c.key).where(schema.page.c.study_id == database.study_id)
        )
    }
    target = study.settings.raters_per_sample
    quotas = leases.page_quotas(connection, database, study, now)
    pages = [
        {"page": keys[quota.page_id], "valid": quota.valid, "under_way": quota.leased, "target": target}
        for quota in quotas
    ]
    trials: dict[int, list[Any]] = {}
    for row in connection.execute(select(trial).where(trial.c.study_id == database.study_id)):
        trials.setdefault(row.rater_id, []).append(row)
    rater = schema.rater
    mine = select(rater).where(rater.c.study_id == database.study_id)
    rated = select(trial.c.rater_id).where(trial.c.study_id == database.study_id)
    idle = mine.where(rater.c.id.not_in(rated)).order_by(rater.c.id.desc()).limit(MAX_IDLE)
    rows = sorted(
        [*connection.execute(mine.where(rater.c.id.in_(rated))), *connection.execute(idle)], key=lambda row: int(row.id)
    )
    entered = connection.execute(select(func.count()).where(rater.c.study_id == database.study_id)).scalar_one()
    people = [_person(database, row, trials.get(row.id, [])) for row in rows]
    events = connection.execute(
        select(event)
        .where(event.c.study_id == database.study_id, event.c.kind != "entered")
        .order_by(event.c.id.desc())
        .limit(50)
    ).all()
    paused = connection.execute(
        select(schema.study.c.paused).where(schema.study.c.id == database.study_id)
    ).scalar_one()
    return {
        "paused": bool(paused),
        "pages": pages,
        "raters": people,
        "entered": int(entered),
        "events": [{"at": _iso(row.at), "kind": row.kind, "detail": row.detail} for row in events],
        "trials": int(
            connection.execute(select(func.count()).where(trial.c.study_id == database.study_id)).scalar_one()
        ),
        "complete": sum(page["valid"] >= page["target"] for page in pages),
    }


def _person(database: StudyDatabase, row: Any, trials: list[Any]) -> dict[str, Any]:
    flags = []
    times = sorted(t.submitted_at - t.started_at for t in trials)
    if times and times[len(times) // 2] < QUICK_SECONDS:
        flags.append(f"median page {times[len(times) // 2]:.1f} s")
    failed = sum(t.check_passed is False for t in trials)
    if failed:
        flags.append(f"{counted(failed, 'attention check')} failed")
    if row.headphone_score is not None and row.headphone_score < 5:
        flags.append(f"headphones {row.headphone_score} of 6")
    return {
        "rater": raters.export_id(database, row.public_id),
        "platform": row.platform,
        "language": row.language,
        "entered": _iso(row.created_at),
        "trials": len(trials),
        "last": _iso(max((t.submitted_at for t in trials), default=row.created_at)),
        "flags": flags,
        "excluded": row.excluded_for,
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
