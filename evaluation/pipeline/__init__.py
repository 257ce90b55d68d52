"""Generation and scoring of whole suites, also on a Ray cluster, and a check of what is installed."""
