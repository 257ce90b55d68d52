"""The metrics, one file each: pure functions on arrays, float64, that know nothing of files, models or prompts.

Every file has the same shape: conventions → validate → compute. Clips are the units of every interval.
"""
