"""The metrics, one file each, and their registry.

Every file of a metric has the same parts: conventions, validation, the computation as pure functions on float64 arrays, and at
the end its entries for the registry (`METRICS`), which connect the functions with embeddings. Clips are the units of every
interval. `perplexity` and `memorisation` need a model instead of clips: `systems/language_model.py` computes them.
"""
