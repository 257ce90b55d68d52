"""The same result, fast."""
