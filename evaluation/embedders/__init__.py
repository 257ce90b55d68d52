"""Sound (and text) in, arrays out: the networks behind the metrics, each in its own file, and the cache of what they
said.

A heavy library is imported inside the function that needs it; importing this package loads none.
"""
