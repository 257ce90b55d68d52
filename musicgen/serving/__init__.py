"""Serving of clips: requests, a job queue, engines, and files that expire.

The page (`demo/`) and the HTTP API (`web/`) are built on it. Nothing here depends on Gradio.
"""
