"""Raters: admission, consent, exclusion, deletion.

Worker ids are stored only in the table `payment`, for paying; everywhere else, a person is identified by an HMAC. This module
does not depend on pages or audio.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from musicgen.text_format import counted

from ..database import queries, schema
from ..database.study_database import StudyDatabase
from ..design.manifest import Study
from .errors import RequestRefused

CODE_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
CODE_LENGTH = 12
"""59 bits; letters and digits that look alike are left out."""

Rater = Row[Any]


def enter(
    connection: Connection,
    database: StudyDatabase,
    study: Study,
    *,
    platform: str,
    language: str,
    worker: str | None = None,
    submission: str = "",
    current: str | None = None,
    proven: bool = False,
) -> str:
    """Admit a person, or let them continue.

    Args:
        connection: a write transaction.
        database: of the study.
        study: the study.
        platform: "prolific", "code" or "open".
        language: of the page.
        worker: worker id of the platform or invitation code; None with an open link, which cannot tell people apart.
        submission: Prolific's id of the submission.
        current: the session token that the browser holds. The same person keeps it, so that a second tab does not end the
            session of the first.
        proven: it is known that the person is the one whom `worker` names: an invitation code is a secret, and Prolific's API
            confirmed the submission. Without it a session is never handed to another browser: worker ids are no secrets.

    Returns:
        The session token.

    Raises:
        RequestRefused: the worker has a session in another browser, and nothing proves that this is the same person.
    """
    table = schema.rater
    session = secrets.token_urlsafe(32)
    worker_hmac = None if worker is None else database.keyed("worker", platform, worker)
    if worker_hmac is not None:
        known = connection.execute(
            select(table.c.id, table.c.session_sha256).where(
                table.c.study_id == database.study_id, table.c.worker_hmac == worker_hmac
            )
        ).one_or_none()
        if known is not None:
            if current is not None and known.session_sha256 == _digest(current):
                return current
            if not proven:
                raise RequestRefused(
                    409,
                    "other_browser",
                    "this id has a session in another browser: go on there, or write to the address on the study's page",
                )
            connection.execute(
                update(table).where(table.c.id == known.id).values(session_sha256=_digest(session), language=language)
            )
            return session
    rater_id = queries.insert_row(
        connection,
        table,
        study_id=database.study_id,
        public_id=secrets.token_hex(16),
        session_sha256=_digest(session),
        platform=platform,
        worker_hmac=worker_hmac,
        language=language,
        seed=secrets.randbelow(2**31),
        created_at=time.time(),
        headphone_tries=0,
    )
    if platform == "prolific" and worker is not None:
        connection.execute(
            insert(schema.payment).values(
                rater_id=rater_id, worker_id=worker, submission_id=submission, created_at=time.time()
            )
        )
    queries.log_event(connection, database.study_id, "entered", f"by {platform}, study {study.sha256[:12]}", rater_id)
    return session


def find_by_session(connection: Connection, database: StudyDatabase, session: str | None) -> Rater:
    """The rater who holds a session token.

    Raises:
        RequestRefused: there is none.
    """
    rater = None
    if session:
        rater = connection.execute(
            select(schema.rater).where(
                schema.rater.c.session_sha256 == _digest(session), schema.rater.c.study_id == database.study_id
            )
        ).one_or_none()
    if rater is None:
        raise RequestRefused(401, "no_session", "no session: open the study's link again")
    return rater


def invite(connection: Connection, database: StudyDatabase, label: str) -> str:
    """Make an invitation code for one person.

    Args:
        connection: a write transaction.
        database: of the study.
        label: a note, at most 120 characters are kept.

    Returns:
        The code. The database stores its HMAC alone.
    """
    code = "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))
    connection.execute(
        insert(schema.invitation).values(
            study_id=database.study_id, code_hmac=database.keyed("code", code), label=label[:120]
        )
    )
    return code


def check_code(connection: Connection, database: StudyDatabase, code: str) -> str:
    """Check an invitation code.

    Returns:
        The code in normal form: lower case, without spaces around it.

    Raises:
        RequestRefused: the code is unknown.
    """
    code = code.strip().lower()
    table = schema.invitation
    found = connection.execute(
        select(table.c.id).where(
            table.c.study_id == database.study_id, table.c.code_hmac == database.keyed("code", code)
        )
    ).one_or_none()
    if found is None:
        raise RequestRefused(403, "bad_code", "this invitation code is not known: check it for a typing error")
    return code


def consent(connection: Connection, rater: Rater) -> None:
    """Record a rater's consent; a repetition keeps the first time."""
    if rater.consented_at is None:
        connection.execute(update(schema.rater).where(schema.rater.c.id == rater.id).values(consented_at=time.time()))


def show_life(connection: Connection, rater: Rater) -> None:
    """Record that the rater is active: from now on their lease counts. Later calls keep the first time."""
    if rater.alive_at is None:
        connection.execute(update(schema.rater).where(schema.rater.c.id == rater.id).values(alive_at=time.time()))


def exclude(connection: Connection, database: StudyDatabase, rater_id: int, reason: str) -> None:
    """Exclude a rater: their ratings no longer count, and their pages are assigned again."""
    connection.execute(update(schema.rater).where(schema.rater.c.id == rater_id).values(excluded_for=reason[:300]))
    queries.log_event(connection, database.study_id, "excluded", reason, rater_id)


def include(connection: Connection, database: StudyDatabase, rater_id: int) -> None:
    """Undo an exclusion."""
    connection.execute(update(schema.rater).where(schema.rater.c.id == rater_id).values(excluded_for=None))
    queries.log_event(connection, database.study_id, "included", "exclusion undone", rater_id)


def export_id(database: StudyDatabase, public_id: str) -> str:
    """Pseudonym of a rater in exports and reports."""
    return database.keyed("export", public_id)[:16]


def delete_rater(connection: Connection, database: StudyDatabase, name: str) -> int:
    """Delete a person with all data.

    Args:
        connection: a write transaction.
        database: of the study.
        name: pseudonym in exports, worker id or invitation code.

    Returns:
        Number of raters deleted.
    """
    table = schema.rater
    wanted = {database.keyed("worker", platform, name.strip()) for platform in ("prolific", "code")}
    rows = connection.execute(
        select(table.c.id, table.c.public_id, table.c.worker_hmac).where(table.c.study_id == database.study_id)
    ).all()
    ids = [row.id for row in rows if row.worker_hmac in wanted or export_id(database, row.public_id) == name.strip()]
    for rater_id in ids:
        connection.execute(delete(table).where(table.c.id == rater_id))
    if ids:
        queries.log_event(
            connection, database.study_id, "deleted", f"{counted(len(ids), 'rater')} on request, with all data"
        )
    return len(ids)


def delete_expired_worker_ids(connection: Connection, database: StudyDatabase, days: int) -> int:
    """Delete the worker ids of raters who entered more than `days` days ago.

    Their ratings remain, under the same HMAC, so nobody can take part twice.

    Returns:
        Number of worker ids deleted.
    """
    table = schema.payment
    mine = select(schema.rater.c.id).where(schema.rater.c.study_id == database.study_id)
    result = connection.execute(
        delete(table).where(table.c.created_at < time.time() - days * 86400, table.c.rater_id.in_(mine))
    )
    if result.rowcount:
        queries.log_event(
            connection, database.study_id, "retention", f"{result.rowcount} worker ids deleted after {days} days"
        )
    return int(result.rowcount)


def _digest(session: str) -> str:
    return hashlib.sha256(session.encode()).hexdigest()
