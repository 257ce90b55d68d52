"""Results of a scoring run: result files, tables, plots, and scores from papers."""
