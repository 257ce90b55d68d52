"""Evaluation of music generation: samples folders of any system in, scores and tables out.

    suites/      what is compared: captions, references, metrics
    systems/     what generates the clips; the only package that runs a model of this project
    clips/       a clip on disk, decoded, prepared for the networks, and its diagnostics
    embedders/   the networks behind the metrics, and the cache of their embeddings
    metrics/     the metrics and their registry
    reports/     results, tables, plots, numbers from papers
    pipeline/    generation and scoring of whole suites, here or on a Ray cluster

Metrics, embedders and systems of your own are registered from outside: `musicgen.plugins`.
"""
