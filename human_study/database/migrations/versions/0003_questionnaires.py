"""Raters' answers to questionnaires about themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "questionnaire",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("rater_id", sa.Integer(), nullable=False),
        sa.Column("place", sa.String(length=8), nullable=False),
        sa.Column("answers", sa.JSON(), nullable=False),
        sa.Column("submitted_at", sa.Float(), nullable=False),
        sa.CheckConstraint("place IN ('before', 'after')", name=op.f("ck_questionnaire_place")),
        sa.ForeignKeyConstraint(["rater_id"], ["rater.id"], name=op.f("fk_questionnaire_rater_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_questionnaire")),
        sa.UniqueConstraint("rater_id", "place", name=op.f("uq_questionnaire_rater_id_place")),
    )


def downgrade() -> None:
    op.drop_table("questionnaire")
