"""Queries that several modules share."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, func, insert, select

from . import schema


def log_event(connection: Connection, study_id: int, kind: str, detail: str, rater_id: int | None = None) -> None:
    """Add a row to the event log.

    Args:
        connection: a write transaction.
        study_id: of the study.
        kind: what happened, such as "excluded".
        detail: why; at most 300 characters are kept.
        rater_id: the rater concerned, if any.
    """
    connection.execute(
        insert(schema.event).values(
            study_id=study_id, rater_id=rater_id, at=time.time(), kind=kind, detail=detail[:300]
        )
    )


def count_rows(connection: Connection, query: sqlalchemy.Select[Any]) -> int:
    """Number of rows that a query returns."""
    return int(connection.execute(select(func.count()).select_from(query.subquery())).scalar_one())


def insert_row(connection: Connection, table: sqlalchemy.Table, **values: Any) -> int:
    """Insert one row.

    Args:
        connection: a write transaction.
        table: the table.
        **values: column -> value.

    Returns:
        Its id.
    """
    return inserted_id(connection.execute(insert(table).values(**values)))


def inserted_id(result: sqlalchemy.CursorResult[Any]) -> int:
    """The id of the row that a statement inserted."""
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])
