"""Whole suites: generation, scoring, both on a Ray cluster, and what is installed."""
