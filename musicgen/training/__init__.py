"""Training: the language model, the tokeniser, and the music that both learn from."""
