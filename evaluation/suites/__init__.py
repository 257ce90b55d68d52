"""Evaluation suites: YAML files in this folder, their schema, their references."""
