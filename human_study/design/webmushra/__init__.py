"""Configurations of webMUSHRA as studies: `read` makes a plan from the file, `write` makes STUDY.yaml and samples folders."""
