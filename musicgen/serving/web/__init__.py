"""The HTTP API of `musicgen serve`, described in docs/serving.md."""
