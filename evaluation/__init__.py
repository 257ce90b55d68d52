"""Evaluation of music generation: samples folders of any system -> scores and tables.

    suites/      test sets: captions, references, metrics
    systems/     systems that generate clips; the only package that runs a model of this project
    clips/       reading a clip from disk, its preparation for the networks, and its diagnostics
    embedders/   the networks behind the metrics, and the cache of their embeddings
    metrics/     the metrics and their registry
    reports/     results, tables, plots, numbers from papers
    pipeline/    generation and scoring of whole suites, on this machine or on a Ray cluster

Other packages can register metrics, embedders and systems: see `musicgen.plugins`.
"""
