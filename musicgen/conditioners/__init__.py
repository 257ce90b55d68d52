"""Prompts -> vectors that the language model attends: text, melody, how they are joined, and the null condition."""
