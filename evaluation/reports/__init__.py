"""Results of a scoring run: their file, tables, plots, and numbers that papers reported."""
