"""The accepted generations of each client: listed with the newest first, and looked up by idempotency key.

This is an index of the records (`records.py`), which contain the metadata of generations.
"""

from __future__ import annotations

from musicgen.serving.index import Index

_SCHEMA = """
CREATE TABLE IF NOT EXISTS generations (
    identifier TEXT PRIMARY KEY, owner TEXT NOT NULL, created REAL NOT NULL, key TEXT
);
CREATE INDEX IF NOT EXISTS generations_of_owner ON generations (owner, created);
CREATE UNIQUE INDEX IF NOT EXISTS generations_by_key ON generations (owner, key)
"""


class GenerationIndex:
    """The generations of all clients. Thread-safe.

    Args:
        index: where they are kept.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        index.create(_SCHEMA)

    def add(self, identifier: str, owner: str, created: float, key: str | None = None) -> None:
        """Add a generation, unless it is there.

        Args:
            identifier: of the generation.
            owner: whose it is.
            created: when it was accepted, seconds since the epoch.
            key: that its client has given it; None for none.
        """
        with self._index.transaction() as database:
            database.execute("INSERT OR IGNORE INTO generations VALUES (?, ?, ?, ?)", (identifier, owner, created, key))

    def by_key(self, owner: str, key: str) -> str | None:
        """The generation to which an owner has given a key, None for none."""
        rows = self._index.read("SELECT identifier FROM generations WHERE owner = ? AND key = ?", (owner, key))
        return str(rows[0][0]) if rows else None

    def of(self, owner: str, count: int, before: str | None) -> list[str]:
        """An owner's generations, the newest first.

        Args:
            owner: whose.
            count: how many at most.
            before: the generation after which the list begins; None for its beginning.
        """
        rows = self._index.read(
            "SELECT identifier FROM generations WHERE owner = :owner AND (:before IS NULL OR (created, identifier) < "
            "(SELECT created, identifier FROM generations WHERE identifier = :before AND owner = :owner)) "
            "ORDER BY created DESC, identifier DESC LIMIT :count",
            {"owner": owner, "before": before, "count": count},
        )
        return [str(row[0]) for row in rows]

    def remove(self, identifier: str) -> None:
        """Remove a generation; nothing happens where it is not there."""
        with self._index.transaction() as database:
            database.execute("DELETE FROM generations WHERE identifier = ?", (identifier,))
