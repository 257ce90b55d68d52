"""The confidence of a rater in an ABX answer."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trial", sa.Column("confidence", sa.Integer(), nullable=True))


def downgrade() -> None:
    # As in revision 0002: batch mode would delete all ratings in SQLite.
    op.execute("ALTER TABLE trial DROP COLUMN confidence")
