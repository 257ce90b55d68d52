"""Generators of codes: autoregressive, step by step, or masked, in passes over all frames (MAGNeT)."""

from musicgen.generators.autoregressive import AutoregressiveGenerator
from musicgen.generators.base import Generator
from musicgen.generators.masked import MaskedGenerator
from musicgen.generators.registry import build, of_kind, register

__all__ = ["AutoregressiveGenerator", "Generator", "MaskedGenerator", "build", "of_kind", "register"]
