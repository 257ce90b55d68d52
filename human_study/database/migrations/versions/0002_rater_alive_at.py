"""The time of a rater's first activity; until then their leases do not count."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rater", sa.Column("alive_at", sa.Float(), nullable=True))
    # Who has stored a page before this revision has shown it.
    op.execute(
        "UPDATE rater SET alive_at = (SELECT MIN(submitted_at) FROM trial WHERE trial.rater_id = rater.id) "
        "WHERE EXISTS (SELECT 1 FROM trial WHERE trial.rater_id = rater.id)"
    )


def downgrade() -> None:
    # Batch mode would copy the table and drop the old one, and SQLite would delete all ratings with it (ON DELETE CASCADE).
    op.execute("ALTER TABLE rater DROP COLUMN alive_at")
