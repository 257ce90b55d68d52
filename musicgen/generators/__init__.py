"""How codes are generated from a language model: step by step (`autoregressive`) or all frames in passes (`masked`)."""

from musicgen.generators.autoregressive import AutoregressiveGenerator
from musicgen.generators.base import Generator
from musicgen.generators.masked import MaskedGenerator
from musicgen.generators.registry import build, of_kind, register

__all__ = ["AutoregressiveGenerator", "Generator", "MaskedGenerator", "build", "of_kind", "register"]
