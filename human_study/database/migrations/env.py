"""What Alembic runs: the migrations of `store.migrate`, over the connection and the tables that it hands in."""

from alembic import context

connection = context.config.attributes["connection"]
# SQLite cannot alter a column in place: a batch copies the table.
context.configure(connection=connection, target_metadata=context.config.attributes["metadata"], render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
