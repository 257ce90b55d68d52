"""The engine as a service by itself: the HTTP API that `musicgen serve` serves, described in docs/serving.md."""
