"""Listening studies: samples folders in, rating pages, ratings, confidence intervals out.

    prepare → design → server → store → screening → analysis

Systems meet here as samples folders (evaluation/samples.py); no model is ever loaded.
"""
