"""Trials: validation of submitted pages, which are stored exactly once.

A submission may arrive several times (a lost response, two tabs): the first one is stored, the others get its receipt. The
browser is not trusted: all checks are made here.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from .. import listening
from ..database import queries, schema
from ..database.study_database import StudyDatabase
from ..design.manifest import Study, to_json
from ..listening import Spans
from . import answers, leases, raters
from .answers import PageAnswer
from .errors import RequestRefused
from .leases import Lease, Stimulus
from .raters import Rater

END_SLACK_SECONDS = 0.25
"""How far behind the end of a clip an interval may end: decoders differ by that much. It is cut at the clip's end."""

CLOCK_SLACK_SECONDS = 2.0
CHECK_TOLERANCE = 5
"""Tolerance of the answer to an attention check, in points of the scale."""


@dataclass(frozen=True)
class TrialSubmission:
    """What the page sends.

    Attributes:
        key: idempotency key.
        answer: to the page's question.
        heard: token -> [start, end] in seconds of the clip.
    """

    key: str
    answer: PageAnswer
    heard: Mapping[str, Spans]


def submit(
    connection: Connection,
    database: StudyDatabase,
    study: Study,
    rater: Rater,
    lease_id: str,
    submission: TrialSubmission,
) -> str:
    """Store a page. The caller acknowledges it after the transaction has been committed.

    Args:
        connection: a write transaction.
        database: of the study.
        study: the study.
        rater: who submits.
        lease_id: public id of the lease.
        submission: the contents.

    Returns:
        The receipt.

    Raises:
        RequestRefused: the page has all its raters by now or is stored with other contents, or the contents are not allowed.
    """
    lease = leases.find(connection, study, rater, lease_id)
    body = _body(submission)
    trial = schema.trial
    earlier = connection.execute(
        select(trial.c.receipt, trial.c.body_sha256, trial.c.idempotency_key, trial.c.page_id).where(
            trial.c.rater_id == rater.id,
            (trial.c.page_id == lease.page_id) | (trial.c.idempotency_key == submission.key),
        )
    ).first()
    if earlier is not None:
        if earlier.page_id != lease.page_id:
            raise RequestRefused(409, "key_used", "this idempotency key belongs to another page")
        if earlier.idempotency_key == submission.key and earlier.body_sha256 == body:
            return str(earlier.receipt)
        raise RequestRefused(
            409, "already_rated", "this page is stored already: the first ratings count", receipt=earlier.receipt
        )
    now = time.time()
    leases.hold(connection, database, study, rater, lease, now)
    shares = check(study, lease, submission, now)
    receipt = secrets.token_hex(16)
    trial_id = queries.insert_row(
        connection,
        trial,
        study_id=database.study_id,
        rater_id=rater.id,
        page_id=lease.page_id,
        idempotency_key=submission.key,
        body_sha256=body,
        receipt=receipt,
        position=lease.position,
        started_at=lease.created_at,
        submitted_at=now,
        preferred_clip_id=_preferred(lease, submission),
        check_passed=_check_passed(lease, submission),
        confidence=submission.answer.confidence,
    )
    connection.execute(
        insert(schema.listening),
        [
            {
                "trial_id": trial_id,
                "slot": stimulus.slot,
                "clip_id": stimulus.clip_id,
                "value": submission.answer.values.get(stimulus.token),
                "heard_share": shares[stimulus.token],
                "intervals": [
                    list(span) for span in listening.union(submission.heard[stimulus.token], stimulus.clip.seconds)
                ],
            }
            for stimulus in lease.stimuli
        ],
    )
    connection.execute(update(schema.lease).where(schema.lease.c.id == lease.id).values(state="rated"))
    raters.show_life(connection, rater)
    return receipt


def check(study: Study, lease: Lease, submission: TrialSubmission, now: float) -> dict[str, float]:
    """Check a submission against its page.

    Args:
        study: the study.
        lease: the lease on the page.
        submission: the contents.
        now: seconds since 1970.

    Returns:
        Token -> share of the clip that was heard.

    Raises:
        RequestRefused: the contents do not match the page.
    """
    answers.check(study, lease, submission.answer)
    all_tokens = {stimulus.token for stimulus in lease.stimuli}
    if set(submission.heard) != all_tokens:
        raise RequestRefused(422, "foreign_stimulus", "the clips that were heard are not those of this page")
    return _check_listening(study, lease, submission, now)


def _check_listening(study: Study, lease: Lease, submission: TrialSubmission, now: float) -> dict[str, float]:
    shares, total = {}, 0.0
    for stimulus in lease.stimuli:
        spans = submission.heard[stimulus.token]
        length = stimulus.clip.seconds
        for start, end in spans:
            if not (math.isfinite(start) and math.isfinite(end) and 0 <= start <= end <= length + END_SLACK_SECONDS):
                raise RequestRefused(
                    422, "bad_listening", f"heard from {start} to {end} s, and the clip has {length:.2f} s"
                )
        heard = listening.union(spans, length)
        total += listening.seconds(heard)
        shares[stimulus.token] = listening.share(heard, length)
        if shares[stimulus.token] < study.settings.minimum_heard:
            name = stimulus.label or "the reference"
            raise RequestRefused(422, "unheard", f"{name}: {math.ceil(length - listening.seconds(heard))} s unheard")
    passed = now - lease.created_at
    # Below 0 the server's clock was set back: what it says of this page is nothing, and no rater can wait until it is right.
    if study.settings.clock and 0 <= passed < total - CLOCK_SLACK_SECONDS:
        raise RequestRefused(422, "too_fast", f"{total:.0f} s were heard within {passed:.0f} s: listen to every clip")
    return shares


def _preferred(lease: Lease, submission: TrialSubmission) -> int | None:
    return next((s.clip_id for s in lease.stimuli if s.token == submission.answer.preferred and s.slot > 0), None)


def _check_passed(lease: Lease, submission: TrialSubmission) -> bool | None:
    checked: list[Stimulus] = [s for s in lease.stimuli if s.slot > 0 and s.clip.answer is not None]
    if lease.page.kind != "attention":
        return None
    return all(abs(submission.answer.values[s.token] - (s.clip.answer or 0)) <= CHECK_TOLERANCE for s in checked)


def _body(submission: TrialSubmission) -> str:
    document: dict[str, Any] = {
        "values": dict(sorted(submission.answer.values.items())),
        "preferred": submission.answer.preferred,
        "heard": {token: [list(span) for span in spans] for token, spans in sorted(submission.heard.items())},
    }
    if submission.answer.confidence is not None:
        document["confidence"] = submission.answer.confidence
    return hashlib.sha256(to_json(document).encode()).hexdigest()
