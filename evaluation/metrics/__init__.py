"""The metrics, one file each, and their registry.

Each metric's file has the same parts: conventions, validation, the computation as pure functions on float64 arrays, and at the
end its registry entries (`METRICS`), which connect the functions with embeddings. The clip is the unit of every interval.
`perplexity` and `memorisation` need a model instead of clips: `systems/language_model.py` computes them.
"""
