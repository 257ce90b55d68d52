"""What tokenisers have in common whose network is a model of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from torch import nn
from transformers import PreTrainedModel

from musicgen.tokenizers.base import Tokenizer


class TransformersTokenizer(Tokenizer):
    """A tokeniser around `model`, which its constructor takes.

    Attributes:
        model_class: The class of `model`.
        model: The network.
    """

    model_class: ClassVar[Any]
    model: PreTrainedModel

    @property
    def network(self) -> nn.Module:
        return self.model

    def config(self) -> dict[str, Any]:
        return self.model.config.to_dict()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(cls.model_class(cls.model_class.config_class(**config)))

    @classmethod
    def tensor_name(cls, stored: str) -> str:
        """Older files name weight norm's two parts differently."""
        return stored.replace(".weight_g", ".parametrizations.weight.original0").replace(
            ".weight_v", ".parametrizations.weight.original1"
        )
