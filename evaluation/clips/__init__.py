"""Clips on disk: decoding, the views that the networks get, diagnostics."""
