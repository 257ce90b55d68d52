"""The headphone check: six clips of three tones, in a random order for each rater; five correct answers pass.

Woods et al. 2017: over loudspeakers, the antiphase tone cancels and is mistaken for the quiet one. `design.stimuli` generates
the tones; the study's settings define the consequence of a failure.
"""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from ..database import queries, schema
from ..database.study_database import StudyDatabase
from ..design.manifest import Study, StudyClip
from . import assignment, leases, raters
from .errors import RequestRefused
from .raters import Rater

PASS_SCORE = 5
MAX_TRIES = 2


def is_finished(study: Study, rater: Rater) -> bool:
    """Whether the rater needs no (further) headphone check: it is passed, recorded or switched off."""
    check = study.settings.headphone_check
    if check == "off":
        return True
    if rater.headphone_score is None:
        return False
    return check == "record" or rater.headphone_score >= PASS_SCORE


def clip_order(study: Study, rater: Rater) -> list[StudyClip]:
    """The clips in this rater's order; the second try has another order."""
    clips = sorted((clip for clip in study.clips.values() if clip.role == "headphone"), key=lambda clip: clip.system)
    return assignment.presentation_order(
        clips, assignment.random_stream("headphones", rater.seed, rater.headphone_tries)
    )


def audio_tokens(connection: Connection, study: Study, rater: Rater) -> list[str]:
    """Audio tokens of the clips in order; made at the first call."""
    token = schema.token
    own = (token.c.rater_id == rater.id) & token.c.lease_id.is_(None)
    rows = connection.execute(select(token.c.token).where(own).order_by(token.c.slot)).all()
    if rows:
        return [row.token for row in rows]
    clips = clip_order(study, rater)
    ids = leases.clip_ids(connection, [clip.name for clip in clips])
    fresh = [secrets.token_hex(16) for _ in clips]
    connection.execute(
        insert(token),
        [
            {"token": name, "rater_id": rater.id, "lease_id": None, "clip_id": ids[clip.name], "slot": slot}
            for slot, (name, clip) in enumerate(zip(fresh, clips, strict=True), 1)
        ],
    )
    return fresh


def submit(connection: Connection, database: StudyDatabase, study: Study, rater: Rater, answers: list[int]) -> bool:
    """Store the answers of one try.

    Args:
        connection: a write transaction.
        database: of the study.
        study: the study.
        rater: who answered.
        answers: the tone chosen for each clip, 1 to 3.

    Returns:
        Whether the try is passed.

    Raises:
        RequestRefused: the check is finished, or the number of answers is wrong.
    """
    if is_finished(study, rater) or rater.headphone_tries >= MAX_TRIES:
        raise RequestRefused(409, "headphones_done", "the headphone check is over: reload the page")
    expected = [clip.answer for clip in clip_order(study, rater)]
    if len(answers) != len(expected):
        raise RequestRefused(422, "bad_answers", f"{len(answers)} answers came for {len(expected)} headphone clips")
    score = sum(given == right for given, right in zip(answers, expected, strict=True))
    tries = rater.headphone_tries + 1
    values: dict[str, Any] = {"headphone_score": score, "headphone_tries": tries}
    if study.settings.headphone_check == "require" and score < PASS_SCORE and tries >= MAX_TRIES:
        values["excluded_for"] = f"headphone check: {score} of {len(expected)} right"
    connection.execute(update(schema.rater).where(schema.rater.c.id == rater.id).values(**values))
    connection.execute(
        delete(schema.token).where(schema.token.c.rater_id == rater.id, schema.token.c.lease_id.is_(None))
    )
    queries.log_event(
        connection, database.study_id, "headphones", f"{score} of {len(expected)} right, try {tries}", rater.id
    )
    if score >= PASS_SCORE:
        raters.show_life(connection, rater)
    return score >= PASS_SCORE
