"""Registry of audio tokenisers by the `model_type` of their configuration.

@register("my_codec")
class MyTokenizer(Tokenizer): ...
"""

from __future__ import annotations

from musicgen.registry import KindRegistry
from musicgen.tokenizers.base import Tokenizer

_REGISTRY: KindRegistry[type[Tokenizer]] = KindRegistry("audio encoder", "musicgen.tokenizers")
register = _REGISTRY.register
find = _REGISTRY.of
