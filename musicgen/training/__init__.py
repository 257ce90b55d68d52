"""Training of language models and tokenisers, and the synthetic corpus."""
