"""Leases: a page is reserved for a rater for some minutes. When a lease expires, the page can be assigned to others.

Every function runs inside one write transaction. `assignment` chooses pages; `trials` stores submissions.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from ..database import queries, schema
from ..database.study_database import StudyDatabase
from ..design.manifest import Study, StudyClip, StudyPage
from ..design.methods import METHODS
from . import assignment, raters
from .assignment import PageQuota
from .errors import RequestRefused
from .raters import Rater


@dataclass(frozen=True)
class Stimulus:
    """A clip as one rater gets it.

    Attributes:
        token: audio token.
        slot: 0 for the open reference, then the columns from the left.
        label: of the column: A, B, …, or X; "" for the open reference.
        clip_id: id of the clip's row.
        clip: the clip.
    """

    token: str
    slot: int
    label: str
    clip_id: int
    clip: StudyClip


@dataclass(frozen=True)
class Lease:
    """A page that a rater may submit.

    Attributes:
        id: of its row.
        public_id: random id for requests.
        page_id: id of the page's row.
        page: the page.
        state: "open", "rated" or "lost".
        position: of the page in the rater's session, from 0.
        created_at: seconds since 1970.
        expires_at: seconds since 1970.
        stimuli: open reference and clips, by slot.
    """

    id: int
    public_id: str
    page_id: int
    page: StudyPage
    state: str
    position: int
    created_at: float
    expires_at: float
    stimuli: tuple[Stimulus, ...]


@dataclass(frozen=True)
class SessionProgress:
    """Progress of a rater.

    Attributes:
        done: pages submitted, practice and attention checks included.
        total: pages planned.
        rated: rating pages submitted.
        lease: the current page, None where there is none.
        complete: no further page will come.
    """

    done: int
    total: int
    rated: int
    lease: Lease | None
    complete: bool


def progress(
    connection: Connection, database: StudyDatabase, study: Study, rater: Rater, paused: bool = False
) -> SessionProgress:
    """Progress of a rater; leases the next page where none is open.

    Args:
        connection: a write transaction.
        database: of the study.
        study: the study.
        rater: whose progress.
        paused: the study is paused: only an open lease is returned.
    """
    now = time.time()
    settings = study.settings
    rng = assignment.random_stream("sequence", settings.seed, rater.seed)
    kinds = assignment.page_kinds(rng, settings.trials_per_rater, settings.attention_checks, settings.practice)
    trial, page = schema.trial, schema.page
    stored = connection.execute(
        select(page.c.kind, page.c.question)
        .join(trial, trial.c.page_id == page.c.id)
        .where(trial.c.rater_id == rater.id)
    ).all()
    done, rated = len(stored), sum(row.kind == "rating" for row in stored)
    if done >= len(kinds) or rater.excluded_for is not None:
        return SessionProgress(done, len(kinds), rated, None, complete=True)
    lease = _current(connection, database, study, rater, now)
    if lease is None and not paused:
        lease = _next(connection, database, study, rater, kinds[done], done, [row.question for row in stored], now)
    return SessionProgress(done, len(kinds), rated, lease, complete=lease is None and not paused)


def renew(connection: Connection, database: StudyDatabase, study: Study, rater: Rater, public_id: str) -> float:
    """Extend an open lease: the heartbeat of an open page.

    Returns:
        Its new duration in seconds.

    Raises:
        RequestRefused: the page has all its raters by now, is rated, or belongs to another rater.
    """
    lease = find(connection, study, rater, public_id)
    now = time.time()
    hold(connection, database, study, rater, lease, now)
    raters.show_life(connection, rater)
    seconds = study.settings.lease_minutes * 60
    connection.execute(update(schema.lease).where(schema.lease.c.id == lease.id).values(expires_at=now + seconds))
    return seconds


def hold(connection: Connection, database: StudyDatabase, study: Study, rater: Rater, lease: Lease, now: float) -> None:
    """Check that a rater has a place on a page, or can still have one.

    A lease takes a place from the rater's first sign of life until it expires. Before and after that the place is whose sign of
    life comes first, so that raters who open the study at the same moment do not all rate one page, and a page that was left
    open for too long is stored if it is still wanted.

    Args:
        connection: a write transaction.
        database: of the study.
        study: the study.
        rater: who has the lease.
        lease: the lease.
        now: seconds since 1970.

    Raises:
        RequestRefused: the page has all its raters by now, or is rated.
    """
    if lease.state == "rated":
        raise RequestRefused(409, "already_rated", "this page is stored already: the first ratings count")
    if lease.state == "open" and _can_hold(
        connection, database, study, rater, lease.page.kind, lease.page_id, lease.expires_at, now
    ):
        return
    raise RequestRefused(
        410, "lease_lost", "this page has all its raters by now, so it is not needed: reload to get another one"
    )


def find(connection: Connection, study: Study, rater: Rater, public_id: str) -> Lease:
    """A lease of this rater, whatever its state.

    Raises:
        RequestRefused: the rater has no such lease.
    """
    row = connection.execute(
        _leases().where(schema.lease.c.public_id == public_id, schema.lease.c.rater_id == rater.id)
    ).one_or_none()
    if row is None:
        raise RequestRefused(403, "not_yours", "this page belongs to another session")
    return _lease(connection, study, row)


def page_quotas(connection: Connection, database: StudyDatabase, study: Study, now: float) -> list[PageQuota]:
    """All rating pages with the number of raters that each lacks. Ratings of excluded raters do not count, nor do leases of
    raters who have shown no sign of life: a script that opens the study many times takes no places.

    Args:
        connection: a transaction.
        database: of the study.
        study: the study.
        now: seconds since 1970; leases that expired before it do not count.
    """
    page, trial, lease, rater = schema.page, schema.trial, schema.lease, schema.rater
    valid = _counts(
        connection,
        select(trial.c.page_id, func.count())
        .join(rater, rater.c.id == trial.c.rater_id)
        .where(trial.c.study_id == database.study_id, rater.c.excluded_for.is_(None))
        .group_by(trial.c.page_id),
    )
    leased = _counts(
        connection,
        select(lease.c.page_id, func.count())
        .join(rater, rater.c.id == lease.c.rater_id)
        .where(
            rater.c.study_id == database.study_id,
            rater.c.excluded_for.is_(None),
            rater.c.alive_at.is_not(None),
            lease.c.state == "open",
            lease.c.expires_at > now,
        )
        .group_by(lease.c.page_id),
    )
    target = study.settings.raters_per_sample
    pages = connection.execute(
        select(page.c.id, page.c.question, page.c.item).where(
            page.c.study_id == database.study_id, page.c.kind == "rating"
        )
    )
    out = []
    for row in pages.all():
        rated, under_way = valid.get(row.id, 0), leased.get(row.id, 0)
        out.append(PageQuota(row.id, row.question, row.item, rated, under_way, target - rated - under_way))
    return out


def _current(connection: Connection, database: StudyDatabase, study: Study, rater: Rater, now: float) -> Lease | None:
    lease = schema.lease
    row = connection.execute(_leases().where(lease.c.rater_id == rater.id, lease.c.state == "open")).one_or_none()
    if row is None:
        return None
    if not _can_hold(connection, database, study, rater, row.kind, row.page_id, row.expires_at, now):
        connection.execute(update(lease).where(lease.c.id == row.id).values(state="lost"))
        queries.log_event(connection, database.study_id, "lease lost", row.key, rater.id)
        return None
    if row.expires_at < now:
        connection.execute(
            update(lease).where(lease.c.id == row.id).values(expires_at=now + study.settings.lease_minutes * 60)
        )
        row = connection.execute(_leases().where(lease.c.id == row.id)).one()
    return _lease(connection, study, row)


def _can_hold(
    connection: Connection, database: StudyDatabase, study: Study, rater: Rater, kind: str, page_id: int, expires_at: float,
    now: float,
) -> bool:  # fmt: skip
    if kind != "rating" or (rater.alive_at is not None and expires_at >= now):
        return True
    return any(
        quota.page_id == page_id and quota.missing > 0 for quota in page_quotas(connection, database, study, now)
    )


def _next(
    connection: Connection,
    database: StudyDatabase,
    study: Study,
    rater: Rater,
    kind: str,
    position: int,
    rated: list[str],
    now: float,
) -> Lease | None:
    page, lease = schema.page, schema.lease
    rng = assignment.random_stream("page", study.settings.seed, rater.seed, position)
    met = connection.execute(
        select(page.c.id, page.c.item).join(lease, lease.c.page_id == page.c.id).where(lease.c.rater_id == rater.id)
    ).all()
    if kind == "rating":
        quota = assignment.choose_page(
            page_quotas(connection, database, study, now), {row.item for row in met if row.item}, rated, rng
        )
        page_id = quota.page_id if quota else None
    else:
        seen = {row.id for row in met}
        rows = connection.execute(select(page.c.id).where(page.c.study_id == database.study_id, page.c.kind == kind))
        free = [row.id for row in rows.all() if row.id not in seen]
        page_id = rng.choice(free) if free else None
    if page_id is None:
        return None
    return _give(connection, study, rater, page_id, position, rng, now)


def _give(
    connection: Connection, study: Study, rater: Rater, page_id: int, position: int, rng: Any, now: float
) -> Lease:
    lease = schema.lease
    lease_id = queries.insert_row(
        connection,
        lease,
        public_id=secrets.token_hex(16),
        rater_id=rater.id,
        page_id=page_id,
        state="open",
        position=position,
        created_at=now,
        expires_at=now + study.settings.lease_minutes * 60,
    )
    row = connection.execute(_leases().where(lease.c.id == lease_id)).one()
    page = study.pages[row.key]
    names = assignment.presentation_order(page.stimuli, rng)
    if METHODS[page.method].answer == "match":
        # X is a copy of A or of B. Its token is its own, so only this table knows which.
        names.append(rng.choice(names))
    slots = list(enumerate(names, 1))
    if page.open_reference is not None:
        slots.insert(0, (0, page.open_reference))
    ids = clip_ids(connection, dict(slots).values())
    connection.execute(
        insert(schema.token),
        [
            {
                "token": secrets.token_hex(16),
                "rater_id": rater.id,
                "lease_id": lease_id,
                "clip_id": ids[name],
                "slot": slot,
            }
            for slot, name in slots
        ],
    )
    return _lease(connection, study, row)


def clip_ids(connection: Connection, names: Any) -> Mapping[str, int]:
    """Name of a clip -> id of its row."""
    rows = connection.execute(select(schema.clip.c.id, schema.clip.c.name).where(schema.clip.c.name.in_(list(names))))
    return {row.name: row.id for row in rows.all()}


def _leases() -> Any:
    lease, page = schema.lease, schema.page
    return select(lease, page.c.key, page.c.kind).join(page, page.c.id == lease.c.page_id)


def _lease(connection: Connection, study: Study, row: Row[Any]) -> Lease:
    token, clip = schema.token, schema.clip
    rows = connection.execute(
        select(token.c.token, token.c.slot, token.c.clip_id, clip.c.name)
        .join(clip, clip.c.id == token.c.clip_id)
        .where(token.c.lease_id == row.id)
        .order_by(token.c.slot)
    ).all()
    return Lease(
        id=row.id,
        public_id=row.public_id,
        page_id=row.page_id,
        page=study.pages[row.key],
        state=row.state,
        position=row.position,
        created_at=row.created_at,
        expires_at=row.expires_at,
        stimuli=tuple(
            Stimulus(r.token, r.slot, _label(study.pages[row.key], r.slot), r.clip_id, study.clips[r.name])
            for r in rows
        ),
    )


def _label(page: StudyPage, slot: int) -> str:
    if METHODS[page.method].answer == "match" and slot > len(page.stimuli):
        return "X"
    return chr(64 + slot) if slot else ""


def _counts(connection: Connection, query: Any) -> dict[int, int]:
    return dict(connection.execute(query).tuples().all())
