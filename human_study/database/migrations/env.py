"""Run by Alembic for `study_database.migrate`, which passes the connection and the tables."""

from alembic import context

connection = context.config.attributes["connection"]
# SQLite cannot alter a column in place: batch mode copies the table.
context.configure(connection=connection, target_metadata=context.config.attributes["metadata"], render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
