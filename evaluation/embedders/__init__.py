"""The networks behind the metrics, each in its own file, their registry, and the cache of their embeddings.

A heavy library is imported inside the function that needs it; importing this package loads none.
"""
