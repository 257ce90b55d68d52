"""The tokeniser of a text encoder: text -> token ids, by the `tokenizers` library.

transformers' AutoTokenizer is not used, because importing it takes longer than generating a short clip.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from musicgen.errors import CheckpointError
from musicgen.safe_unpickle import check_kind, first_line

TOKENIZER = "tokenizer.json"
SENTENCEPIECE = "spiece.model"
CONFIG = "tokenizer_config.json"
FILES = (TOKENIZER, CONFIG, "special_tokens_map.json", "added_tokens.json", SENTENCEPIECE)
"""Files of a text tokeniser that a folder may contain, by transformers' names."""
_WORD = "\u2581"
"""Begins a word in T5's vocabularies; by itself it says nothing."""
_DEFAULTS = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


class TextTokenizer:
    """A text tokeniser.

    Args:
        backend: Of the `tokenizers` library; it appends the token that ends a text.
        files: Further files of its folder by name, which `save` writes again.
    """

    def __init__(self, backend: Tokenizer, files: Mapping[str, bytes]) -> None:
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self._files = dict(files)
        self.unk_token = _special(self._files.get(CONFIG), "unk_token")

    @classmethod
    def new(cls, backend: Tokenizer, max_tokens: int) -> TextTokenizer:
        """A tokeniser that no file has described yet, with T5's special tokens."""
        settings = _DEFAULTS | {"model_max_length": max_tokens, "tokenizer_class": "PreTrainedTokenizerFast"}
        return cls(backend, {CONFIG: (json.dumps(settings, indent=2, sort_keys=True) + "\n").encode()})

    @classmethod
    def load(cls, folder: Path) -> TextTokenizer:
        """Read the tokeniser whose files lie in a folder.

        Raises:
            CheckpointError: There is none, or its files are damaged.
        """
        present = [name for name in FILES if (folder / name).is_file()]
        if TOKENIZER not in present and SENTENCEPIECE not in present:
            raise CheckpointError(f"{folder}: no {TOKENIZER} and no {SENTENCEPIECE}: the checkpoint is incomplete")
        for name in present:
            check_kind(folder / name)
        try:
            backend = (
                Tokenizer.from_file(str(folder / TOKENIZER)) if TOKENIZER in present else _from_sentencepiece(folder)
            )
            return cls(backend, {name: (folder / name).read_bytes() for name in present if name != TOKENIZER})
        except CheckpointError:
            raise
        except Exception as error:  # the library raises Exception itself
            raise CheckpointError(f"{folder}: the text tokeniser's files are damaged ({first_line(error)})") from error

    def save(self, folder: Path) -> None:
        """Write its files into a folder."""
        for name, content in self._files.items():
            (folder / name).write_bytes(content)
        self.backend.save(str(folder / TOKENIZER))

    def __len__(self) -> int:
        return self.backend.get_vocab_size()

    @property
    def vocabulary(self) -> dict[str, int]:
        """Token -> id."""
        return self.backend.get_vocab()

    def encode(
        self, texts: Sequence[str], padding: int, max_tokens: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokenise texts.

        Args:
            texts: B texts.
            padding: The id that fills the rows of shorter texts.
            max_tokens: Longer texts are truncated, before the token that ends them; None truncates nothing.

        Returns:
            Token ids, int64 [B, L], and bool [B, L], False at padding; on the CPU.
        """
        rows = [encoding.ids for encoding in self.backend.encode_batch(list(texts))]
        if max_tokens is not None:
            rows = [row if len(row) <= max_tokens else [*row[: max_tokens - 1], row[-1]] for row in rows]
        lengths = torch.tensor([len(row) for row in rows])
        length = int(lengths.max())
        ids = torch.tensor([row + [padding] * (length - len(row)) for row in rows], dtype=torch.long)
        return ids, torch.arange(length)[None] < lengths[:, None]

    def unknown(self, text: str) -> float:
        """The share of a text's tokens that the vocabulary lacks, 0 to 1. All of them are one token: two texts of nothing else
        are the same to the model, if they are as long."""
        unknown = self.backend.token_to_id(self.unk_token)
        ids = self.backend.encode(text, add_special_tokens=False).ids
        # By their numbers: the library may show an unknown token as the text that it stands for.
        told = [token for token in ids if (self.backend.id_to_token(token) or "").strip(_WORD)]
        return sum(token == unknown for token in told) / max(1, len(told))


def _special(config: bytes | None, name: str) -> str:
    """A special token as a configuration names it, T5's where it does not."""
    values = json.loads(config) if config else {}
    if not isinstance(values, dict):
        raise TypeError(f"{CONFIG} holds no settings")
    token: Any = values.get(name)
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else _DEFAULTS[name]


def _from_sentencepiece(folder: Path) -> Tokenizer:
    """The tokeniser of a folder that has SentencePiece's file alone, which transformers converts."""
    if importlib.util.find_spec("sentencepiece") is None:
        raise CheckpointError(
            f"{folder}: {SENTENCEPIECE} without {TOKENIZER} is read by the package sentencepiece, which is not installed "
            "(pip install sentencepiece)"
        )
    from transformers import AutoTokenizer, T5Config

    # With a configuration of its own, transformers does not read the model's, which it warns of wrongly.
    return AutoTokenizer.from_pretrained(folder, config=T5Config(), local_files_only=True).backend_tokenizer
