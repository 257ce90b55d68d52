"""Conditioners: text and melody -> condition vectors for the language model, and the null conditions of guidance."""
