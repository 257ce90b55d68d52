"""The networks behind the metrics, each in a file of its own, their registry, and the cache of their embeddings.

Heavy libraries are imported inside the functions that need them, not when this package is imported.
"""
