"""Caption augmentation: metadata -> the text of one training example (paper section 3.1, table A.2).

    description --normalise--> --merge other fields--> --drop the description--> --drop words--> text

All random choices use the generator that is passed in.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np

from musicgen.training.lm.config import Text

MERGED_FIELDS = ("genre", "bpm", "key", "instrument", "moods", "keywords")
"""The fields that join a description, in audiocraft's names."""
_WORD = re.compile(r"[\w'#&-]+")


def augment_caption(metadata: dict[str, Any], text: Text, random: np.random.Generator) -> str:
    """The text of a clip for one training example.

    Args:
        metadata: Of the clip: "description" or "descriptions", and the fields of MERGED_FIELDS.
        text: The recipe's probabilities.
        random: The example's own generator.

    Returns:
        The text; "" if the clip has none or all of it was dropped.
    """
    description = pick_description(metadata, random)
    if text.normalise:
        description = normalise(description)
    merged = []
    if random.random() < text.merge:
        merged = spoken_fields(metadata)
        merged = [field for field in merged if random.random() < text.merge_field]
        merged = [merged[i] for i in random.permutation(len(merged))]
        # The merged fields must not be empty, so that some text is left.
        if merged and random.random() < text.drop_description:
            description = ""
    if description and random.random() < text.drop_words:
        words = description.split(" ")
        description = " ".join(word for word in words if random.random() >= text.word_share)
    parts = [part.rstrip(". ") for part in (description, *merged)]
    return ". ".join(part for part in parts if part)


def pick_description(metadata: dict[str, Any], random: np.random.Generator) -> str:
    """The clip's description, or a random one of several."""
    several = metadata.get("descriptions")
    if isinstance(several, list) and several:
        return str(several[int(random.integers(len(several)))])
    return str(metadata.get("description") or "")


def normalise(description: str) -> str:
    """Text normalisation: stop words removed, the other words lemmatised, punctuation dropped.

    The paper used spaCy's English model; here stop words are scikit-learn's and lemmas lemminflect's, which need no download. A
    word that can be several parts of speech is lemmatised as the first of noun, verb, adjective and adverb.
    """
    words = [word.lower() for word in _WORD.findall(description)]
    return " ".join(_lemma(word) for word in words if word not in _stop_words())


@lru_cache(maxsize=100_000)
def _lemma(word: str) -> str:
    from lemminflect import getAllLemmas  # here: its tables take time to load

    lemmas = getAllLemmas(word)
    return next((lemmas[part][0] for part in ("NOUN", "VERB", "ADJ", "ADV") if part in lemmas), word)


@lru_cache(maxsize=1)
def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return ENGLISH_STOP_WORDS


def spoken_fields(metadata: dict[str, Any]) -> list[str]:
    """The fields that join a description, each as text: "bpm: 84"."""
    return [f"{name}: {text}" for name in MERGED_FIELDS if (text := _spoken(metadata.get(name)))]


def has_text(metadata: dict[str, Any]) -> bool:
    """Whether a clip has anything that its text can be made of."""
    return bool(metadata.get("descriptions") or metadata.get("description") or spoken_fields(metadata))


def _spoken(value: Any) -> str:
    items = value if isinstance(value, (list, tuple)) else [value]
    return ", ".join(str(item) for item in items if _is_spoken(item))


def _is_spoken(item: Any) -> bool:
    """Whether it is text or a number: neither null, nor true, nor a table's empty cell (NaN), nor something nested."""
    return isinstance(item, (str, int, float)) and not isinstance(item, bool) and item == item
