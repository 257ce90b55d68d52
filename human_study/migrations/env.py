"""What Alembic runs: the migrations of `store.migrate`, over the connection that it hands in."""

from alembic import context

from human_study import schema

connection = context.config.attributes["connection"]
# SQLite cannot alter a column in place: a batch copies the table.
context.configure(connection=connection, target_metadata=schema.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
