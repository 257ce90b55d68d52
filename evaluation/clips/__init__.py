"""A clip on disk: decoding, the views that networks get, diagnostics."""
