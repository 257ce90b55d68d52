"""Conditioners: text and melody -> vectors that the language model attends, and the null conditions of guidance."""
