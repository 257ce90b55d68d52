"""The current state of a rater's session as JSON for the page: the stage, and the current trial."""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy import Connection

from ..database.study_database import StudyDatabase
from ..design.manifest import Study
from ..design.methods import BANDS, METHODS
from ..design.questionnaire import MAX_CHARACTERS
from ..sessions import answers, headphone_check, leases, prolific, questionnaires, raters
from ..sessions.raters import Rater


def current_stage(
    connection: Connection, database: StudyDatabase, study: Study, rater: Rater, paused: bool
) -> dict[str, Any]:
    """The stage of a rater's session. It follows from the database alone, so reloading the page changes nothing.

    Args:
        connection: a write transaction; the next page may be leased.
        database: of the study.
        study: the study.
        rater: whose session.
        paused: the study is paused.

    Returns:
        "stage", and what the page needs to show it.
    """
    if rater.consented_at is None:
        return {"stage": "consent"}
    if not headphone_check.is_finished(study, rater) and rater.excluded_for is None:
        return {
            "stage": "headphones",
            "clips": headphone_check.audio_tokens(connection, study, rater),
            "tries_left": headphone_check.MAX_TRIES - rater.headphone_tries,
        }
    if rater.excluded_for is None and not questionnaires.is_finished(connection, study, rater, "before"):
        return _questionnaire(study, "before")
    progress = leases.progress(connection, database, study, rater, paused)
    counts = {"done": progress.done, "total": progress.total}
    if progress.lease is not None:
        return {"stage": "trial", "trial": _trial(study, progress.lease)} | counts
    if rater.excluded_for is not None and progress.rated == 0:
        return {"stage": "not_eligible"}
    if not progress.complete:
        return {"stage": "paused"} | counts
    if progress.rated == 0:
        return {"stage": "full"}
    if rater.excluded_for is None and not questionnaires.is_finished(connection, study, rater, "after"):
        return _questionnaire(study, "after")
    completion = prolific.completion_url(study.settings) if rater.platform == "prolific" else None
    return {
        "stage": "done",
        "receipt": raters.export_id(database, rater.public_id),
        "completion_url": completion,
    } | counts


def _questionnaire(study: Study, place: str) -> dict[str, Any]:
    return {
        "stage": "questionnaire",
        "place": place,
        "fields": [
            {
                "name": field.name, "kind": field.kind, "required": field.required, "options": list(field.options),
                "range": list(field.range), "characters": MAX_CHARACTERS,
            }
            for field in questionnaires.fields(study, place)
        ],
    }  # fmt: skip


def _trial(study: Study, lease: leases.Lease) -> dict[str, Any]:
    page = lease.page
    show_prompt = page.kind == "rating" and study.question(page.question).show_prompt
    reference = next((stimulus for stimulus in lease.stimuli if stimulus.slot == 0), None)
    left = study.question(page.question).open_reference if page.kind == "rating" else "reference"
    return {
        "lease": lease.public_id,
        "kind": page.kind,
        "method": page.method,
        "answer": METHODS[page.method].answer,
        "question": page.question,
        "prompt": page.prompt if show_prompt else None,
        "reference": None if reference is None else {"token": reference.token, "seconds": reference.clip.seconds, "kind": left},
        "clips": [
            {"token": stimulus.token, "label": stimulus.label, "seconds": stimulus.clip.seconds}
            for stimulus in lease.stimuli
            if stimulus.slot > 0
        ],
        "scale": list(answers.scale(study, lease)),
        "bands": list(BANDS),
        "confidence": answers.asks_confidence(study, lease),
        "minimum_heard": study.settings.minimum_heard,
        "renew_seconds": max(5, math.floor(study.settings.lease_minutes * 60 / 3)),
    }  # fmt: skip
