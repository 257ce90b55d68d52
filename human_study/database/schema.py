"""The tables. Times are seconds since 1970 (UTC); the JSON of `listening` holds lists of [start, end] in
seconds of a clip.

Every row belongs to a study. The identity of a rater is stored only in `payment`: deleting that row makes the ratings
anonymous. The migrations in migrations/ create exactly these tables (tests/human_study/test_database.py compares them).
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _reference(column: str, target: str, nullable: bool = False) -> Column[int]:
    return Column(column, Integer, ForeignKey(target, ondelete="CASCADE"), nullable=nullable)


study = Table(
    "study",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(60), nullable=False, unique=True),
    Column("manifest_sha256", String(64), nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
)

clip = Table(
    "clip",
    metadata,
    Column("id", Integer, primary_key=True),
    _reference("study_id", "study.id"),
    Column("name", String(32), nullable=False, unique=True),
)

page = Table(
    "page",
    metadata,
    Column("id", Integer, primary_key=True),
    _reference("study_id", "study.id"),
    Column("key", String(300), nullable=False),
    Column("kind", String(12), nullable=False),
    Column("question", String(60), nullable=False),
    Column("item", String(120), nullable=False),
    UniqueConstraint("study_id", "key"),
)

rater = Table(
    "rater",
    metadata,
    Column("id", Integer, primary_key=True),
    _reference("study_id", "study.id"),
    Column("public_id", String(32), nullable=False, unique=True),
    Column("session_sha256", String(64), nullable=False, unique=True),
    Column("platform", String(12), nullable=False),
    # HMAC of the platform and the worker id or the invitation code: one person, one row.
    Column("worker_hmac", String(64)),
    Column("language", String(8), nullable=False),
    Column("seed", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("consented_at", Float),
    Column("headphone_score", Integer),
    Column("headphone_tries", Integer, nullable=False),
    Column("excluded_for", String(300)),
    # First heartbeat, stored page or passed headphone check: leases of raters without it take no place.
    Column("alive_at", Float),
    UniqueConstraint("study_id", "worker_hmac"),
)

payment = Table(
    "payment",
    metadata,
    Column("rater_id", Integer, ForeignKey("rater.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("worker_id", String(120), nullable=False),
    Column("submission_id", String(120), nullable=False),
    Column("created_at", Float, nullable=False),
)

invitation = Table(
    "invitation",
    metadata,
    Column("id", Integer, primary_key=True),
    _reference("study_id", "study.id"),
    Column("code_hmac", String(64), nullable=False, unique=True),
    Column("label", String(120), nullable=False),
)

lease = Table(
    "lease",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("public_id", String(32), nullable=False, unique=True),
    _reference("rater_id", "rater.id"),
    _reference("page_id", "page.id"),
    # open: the rater may submit until expires_at; rated: a trial exists; lost: others rated the page meanwhile.
    Column("state", String(8), nullable=False),
    Column("position", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    UniqueConstraint("rater_id", "page_id"),
    CheckConstraint("state IN ('open', 'rated', 'lost')", name="state"),
    Index(None, "page_id", "state"),
)

token = Table(
    "token",
    metadata,
    Column("token", String(32), primary_key=True),
    _reference("rater_id", "rater.id"),
    _reference("lease_id", "lease.id", nullable=True),
    _reference("clip_id", "clip.id"),
    # 0: the open reference; from 1: the columns of the page from the left, or the clips of the headphone check.
    Column("slot", Integer, nullable=False),
    UniqueConstraint("rater_id", "lease_id", "slot"),
)

questionnaire = Table(
    "questionnaire",
    metadata,
    Column("id", Integer, primary_key=True),
    _reference("rater_id", "rater.id"),
    Column("place", String(8), nullable=False),
    # Field -> answer; fields without one are left out.
    Column("answers", JSON, nullable=False),
    Column("submitted_at", Float, nullable=False),
    UniqueConstraint("rater_id", "place"),
    CheckConstraint("place IN ('before', 'after')", name="place"),
)

trial = Table(
    "trial",
    metadata,
    Column("id", Integer, primary_key=True),
    _reference("study_id", "study.id"),
    _reference("rater_id", "rater.id"),
    _reference("page_id", "page.id"),
    Column("idempotency_key", String(64), nullable=False),
    Column("body_sha256", String(64), nullable=False),
    Column("receipt", String(32), nullable=False, unique=True),
    Column("position", Integer, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("submitted_at", Float, nullable=False),
    # A/B: the better clip, none where the rater heard no difference. ABX: the clip that the rater took X for.
    _reference("preferred_clip_id", "clip.id", nullable=True),
    Column("check_passed", Boolean),
    # ABX: how sure the rater was, where the question asks.
    Column("confidence", Integer),
    UniqueConstraint("study_id", "rater_id", "page_id"),
    UniqueConstraint("rater_id", "idempotency_key"),
    Index(None, "page_id"),
)

listening = Table(
    "listening",
    metadata,
    _reference("trial_id", "trial.id"),
    Column("slot", Integer, nullable=False),
    _reference("clip_id", "clip.id"),
    Column("value", Integer),
    Column("heard_share", Float, nullable=False),
    Column("intervals", JSON, nullable=False),
    UniqueConstraint("trial_id", "slot"),
    CheckConstraint("value IS NULL OR (value BETWEEN 1 AND 100)", name="value"),
)

event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True),
    _reference("study_id", "study.id"),
    _reference("rater_id", "rater.id", nullable=True),
    Column("at", Float, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("detail", String(300), nullable=False),
)
