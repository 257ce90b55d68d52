"""The text of an example: each choice with its probability (paper section 3.1)."""

import numpy as np
import pytest

from musicgen.training.lm.caption_augmentation import augment_caption, has_text, normalise, spoken_fields
from musicgen.training.lm.config import Text
from musicgen.training.lm.initialization import captions

METADATA = {
    "description": "A slow guitar piece with soft drums",
    "genre": "folk",
    "bpm": 90,
    "key": "E minor",
    "instrument": "guitar, drums",
    "keywords": ["calm", "warm"],
}
PLAIN = Text(merge=0.0, drop_words=0.0)


def many(text: Text, count: int = 4000) -> list[str]:
    random = np.random.default_rng(0)
    return [augment_caption(METADATA, text, random) for _ in range(count)]


def share(texts: list[str], test) -> float:
    return sum(map(test, texts)) / len(texts)


def test_nothing_is_changed_without_augmentation() -> None:
    assert set(many(PLAIN, 20)) == {METADATA["description"]}


def test_merging_and_the_descriptions_dropout_have_their_probabilities() -> None:
    texts = many(Text(merge=0.4, merge_field=0.5, drop_description=0.3, drop_words=0.0))
    merged = [text for text in texts if ": " in text]
    assert share(texts, lambda t: ": " in t) == pytest.approx(0.4 * (1 - 0.5**5), abs=0.03)
    assert share(merged, lambda t: "bpm: 90" in t) == pytest.approx(0.5 / (1 - 0.5**5), abs=0.04)
    assert share(merged, lambda t: "slow guitar" not in t) == pytest.approx(0.3, abs=0.04)
    assert share(texts, lambda t: not t) == 0
    assert any("keywords: calm, warm" in text for text in merged)


def test_word_dropout_removes_its_share() -> None:
    texts = many(Text(merge=0.0, drop_words=0.5, word_share=0.4))
    whole = len(METADATA["description"].split())
    kept = [len(text.split()) / whole for text in texts if len(text.split()) < whole]
    assert len(kept) / len(texts) == pytest.approx(0.5 * (1 - 0.6**whole), abs=0.03)
    assert np.mean(kept) == pytest.approx(0.6, abs=0.03)


def test_normalisation_drops_stop_words_and_lemmatises() -> None:
    assert normalise("The guitars were playing with some soft melodies!") == "guitar play soft melody"


def test_several_descriptions_take_turns_and_none_is_empty() -> None:
    random = np.random.default_rng(1)
    metadata = {"descriptions": ["one", "two", "three"], "description": "one"}
    assert {augment_caption(metadata, PLAIN, random) for _ in range(50)} == {"one", "two", "three"}
    assert augment_caption({}, PLAIN, random) == ""


@pytest.mark.parametrize(
    ("value", "spoken"),
    [
        (["calm", None, "slow"], "calm, slow"),
        ([None], None),
        (None, None),
        (float("nan"), None),
        (True, None),
        ({"top": "Rock"}, None),
        (84.5, "84.5"),
        ("", None),
    ],
)
def test_only_words_and_numbers_join_a_description(value, spoken) -> None:
    expected = [] if spoken is None else [f"moods: {spoken}"]
    assert spoken_fields({"moods": value}) == expected
    assert has_text({"moods": value}) is (spoken is not None)
    assert list(captions([{"moods": value, "description": "a"}])) == ["a", *(expected or [""])]
