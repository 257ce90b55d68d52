"""Rater sessions: admission, headphone check, page assignment, leases, submitted trials."""
