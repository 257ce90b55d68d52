"""Analysis: post-screening, statistics of the ratings, tables, plots, the report; CSV import and export."""
