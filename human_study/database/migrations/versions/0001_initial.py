"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "study",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study")),
        sa.UniqueConstraint("name", name=op.f("uq_study_name")),
    )
    op.create_table(
        "clip",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_clip_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clip")),
        sa.UniqueConstraint("name", name=op.f("uq_clip_name")),
    )
    op.create_table(
        "invitation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("code_hmac", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=120), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_invitation_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitation")),
        sa.UniqueConstraint("code_hmac", name=op.f("uq_invitation_code_hmac")),
    )
    op.create_table(
        "page",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=300), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("question", sa.String(length=60), nullable=False),
        sa.Column("item", sa.String(length=120), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_page_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_page")),
        sa.UniqueConstraint("study_id", "key", name=op.f("uq_page_study_id_key")),
    )
    op.create_table(
        "rater",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("session_sha256", sa.String(length=64), nullable=False),
        sa.Column("platform", sa.String(length=12), nullable=False),
        sa.Column("worker_hmac", sa.String(length=64), nullable=True),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("consented_at", sa.Float(), nullable=True),
        sa.Column("headphone_score", sa.Integer(), nullable=True),
        sa.Column("headphone_tries", sa.Integer(), nullable=False),
        sa.Column("excluded_for", sa.String(length=300), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_rater_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rater")),
        sa.UniqueConstraint("public_id", name=op.f("uq_rater_public_id")),
        sa.UniqueConstraint("session_sha256", name=op.f("uq_rater_session_sha256")),
        sa.UniqueConstraint("study_id", "worker_hmac", name=op.f("uq_rater_study_id_worker_hmac")),
    )
    op.create_table(
        "event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("rater_id", sa.Integer(), nullable=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("detail", sa.String(length=300), nullable=False),
        sa.ForeignKeyConstraint(["rater_id"], ["rater.id"], name=op.f("fk_event_rater_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_event_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
    )
    op.create_table(
        "lease",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("rater_id", sa.Integer(), nullable=False),
        sa.Column("page_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.CheckConstraint("state IN ('open', 'rated', 'lost')", name=op.f("ck_lease_state")),
        sa.ForeignKeyConstraint(["page_id"], ["page.id"], name=op.f("fk_lease_page_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["rater_id"], ["rater.id"], name=op.f("fk_lease_rater_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lease")),
        sa.UniqueConstraint("public_id", name=op.f("uq_lease_public_id")),
        sa.UniqueConstraint("rater_id", "page_id", name=op.f("uq_lease_rater_id_page_id")),
    )
    with op.batch_alter_table("lease", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_lease_page_id_state"), ["page_id", "state"], unique=False)

    op.create_table(
        "payment",
        sa.Column("rater_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("worker_id", sa.String(length=120), nullable=False),
        sa.Column("submission_id", sa.String(length=120), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["rater_id"], ["rater.id"], name=op.f("fk_payment_rater_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("rater_id", name=op.f("pk_payment")),
    )
    op.create_table(
        "trial",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("rater_id", sa.Integer(), nullable=False),
        sa.Column("page_id", sa.Integer(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("body_sha256", sa.String(length=64), nullable=False),
        sa.Column("receipt", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("submitted_at", sa.Float(), nullable=False),
        sa.Column("preferred_clip_id", sa.Integer(), nullable=True),
        sa.Column("check_passed", sa.Boolean(), nullable=True),
        sa.ForeignKeyConstraint(["page_id"], ["page.id"], name=op.f("fk_trial_page_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["preferred_clip_id"], ["clip.id"], name=op.f("fk_trial_preferred_clip_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["rater_id"], ["rater.id"], name=op.f("fk_trial_rater_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_trial_study_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trial")),
        sa.UniqueConstraint("rater_id", "idempotency_key", name=op.f("uq_trial_rater_id_idempotency_key")),
        sa.UniqueConstraint("receipt", name=op.f("uq_trial_receipt")),
        sa.UniqueConstraint("study_id", "rater_id", "page_id", name=op.f("uq_trial_study_id_rater_id_page_id")),
    )
    with op.batch_alter_table("trial", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_trial_page_id"), ["page_id"], unique=False)

    op.create_table(
        "listening",
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("clip_id", sa.Integer(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=True),
        sa.Column("heard_share", sa.Float(), nullable=False),
        sa.Column("intervals", sa.JSON(), nullable=False),
        sa.CheckConstraint("value IS NULL OR (value BETWEEN 1 AND 100)", name=op.f("ck_listening_value")),
        sa.ForeignKeyConstraint(["clip_id"], ["clip.id"], name=op.f("fk_listening_clip_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name=op.f("fk_listening_trial_id"), ondelete="CASCADE"),
        sa.UniqueConstraint("trial_id", "slot", name=op.f("uq_listening_trial_id_slot")),
    )
    op.create_table(
        "token",
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("rater_id", sa.Integer(), nullable=False),
        sa.Column("lease_id", sa.Integer(), nullable=True),
        sa.Column("clip_id", sa.Integer(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["clip_id"], ["clip.id"], name=op.f("fk_token_clip_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["lease_id"], ["lease.id"], name=op.f("fk_token_lease_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["rater_id"], ["rater.id"], name=op.f("fk_token_rater_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token", name=op.f("pk_token")),
        sa.UniqueConstraint("rater_id", "lease_id", "slot", name=op.f("uq_token_rater_id_lease_id_slot")),
    )


def downgrade() -> None:
    op.drop_table("token")
    op.drop_table("listening")
    with op.batch_alter_table("trial", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_trial_page_id"))

    op.drop_table("trial")
    op.drop_table("payment")
    with op.batch_alter_table("lease", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_lease_page_id_state"))

    op.drop_table("lease")
    op.drop_table("event")
    op.drop_table("rater")
    op.drop_table("page")
    op.drop_table("invitation")
    op.drop_table("clip")
    op.drop_table("study")
