"""Conversion of webMUSHRA configurations to studies: `read` makes a plan from the file, `write` writes STUDY.yaml and samples
folders."""
