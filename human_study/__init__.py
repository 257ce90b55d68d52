"""Listening studies: samples folders in, rating pages, ratings, confidence intervals out.

    prepare → design → server → store → screening → analysis

Systems meet here as samples folders (musicgen/samples.py); no model is ever loaded.
"""
