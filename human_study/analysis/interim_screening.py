"""Screening while a study runs: raters who fail the protocol are excluded, and their pages are assigned to others.

Raters are excluded with all of their ratings; single outliers are handled by the analysis.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from ..database import schema
from ..database.study_database import StudyDatabase
from ..design.manifest import Study
from ..sessions import raters
from . import ratings_reader, screening


def screen(connection: Connection, database: StudyDatabase, study: Study) -> list[dict[str, str]]:
    """Exclude the raters whom the study's protocol excludes now.

    Args:
        connection: a write transaction.
        database: of the study.
        study: the study.

    Returns:
        For each excluded rater: "rater", "step" and "reason".
    """
    rows = connection.execute(
        select(schema.rater.c.id, schema.rater.c.public_id, schema.rater.c.excluded_for).where(
            schema.rater.c.study_id == database.study_id
        )
    ).all()
    ids = {raters.export_id(database, row.public_id): row.id for row in rows if row.excluded_for is None}
    result = screening.screen(ratings_reader.read(connection, database, study), study.settings.screening)
    out = []
    for exclusion in result.exclusions:
        if exclusion.rating is None and exclusion.rater in ids:
            reason = f"{ratings_reader.SCREENED}{exclusion.step}: {exclusion.reason}"
            raters.exclude(connection, database, ids[exclusion.rater], reason)
            out.append({"rater": exclusion.rater, "step": exclusion.step, "reason": exclusion.reason})
    return out
