"""Systems that generate clips, from models of this project to folders of audio, and their registry.

The only package of the evaluation that imports a model of this project (contracts in pyproject.toml).
"""
