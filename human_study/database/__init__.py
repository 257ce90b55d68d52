"""The database of a study: tables, migrations, transactions."""
