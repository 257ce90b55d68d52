"""Captions vary, and whatever they mention is true of the composition."""

import re
from collections import Counter

import pytest

from musicgen.errors import InputError
from musicgen.training.corpus import GENRES, INSTRUMENTS, compose, describe, descriptions

COMPOSITIONS = [compose(seed, duration=12) for seed in range(150)]
CAPTIONS = [(composition, describe(composition, seed)) for composition in COMPOSITIONS for seed in range(4)]

GENRE_OF = {word.lower(): name for name, genre in GENRES.items() for word in genre.words}
PLAYERS_OF: dict[str, set[str]] = {}
for _name, _instrument in INSTRUMENTS.items():
    for _word in _instrument.names:
        PLAYERS_OF.setdefault(_word.lower(), set()).add(_name)


def words_found(vocabulary, text: str) -> list[str]:
    """The longest words and phrases of `vocabulary` in `text`: "bass guitar" is not also a guitar."""
    pattern = "|".join(re.escape(word) for word in sorted(vocabulary, key=lambda word: (-len(word), word)))
    return re.findall(rf"(?<![\w-])(?:{pattern})(?![\w-])", text.lower())


def test_same_seed_same_caption() -> None:
    assert all(describe(composition, 7) == describe(composition, 7) for composition in COMPOSITIONS)


def test_every_mention_is_true() -> None:
    all_moods = {mood for genre in GENRES.values() for mood in (*genre.bright_moods, *genre.dark_moods)}
    for composition, text in CAPTIONS:
        for bpm in re.findall(r"(\d+) ?(?:bpm|beats per minute)", text, re.IGNORECASE):
            assert int(bpm) == composition.bpm, text
        for tonic, accidental, quality in re.findall(r"\b([A-G])(#|b| sharp| flat)? (major|minor)\b", text):
            spelled = tonic + {"": "", "#": "#", "b": "b", " sharp": "#", " flat": "b"}[accidental]
            assert f"{spelled} {quality}" == composition.key.name, text
        genres = {GENRE_OF[word] for word in words_found(GENRE_OF, without_instruments(text))}
        assert genres <= {composition.genre}, text
        for word in words_found(PLAYERS_OF, without_genre(text, composition.genre)):
            assert PLAYERS_OF[word] & set(composition.instruments), (word, text)
        for metre in re.findall(r"\d/\d", text):
            assert metre == composition.metre, text
        own = {*composition.moods, *(word.lower() for word in GENRES[composition.genre].words)}
        moods = set(words_found(all_moods, without_genre(text, composition.genre)))
        assert moods - layer_words(composition) <= own, text


def without_instruments(text: str) -> str:
    """The text with instruments' names taken out: a classical guitar does not make a composition classical."""
    for word in sorted(PLAYERS_OF, key=len, reverse=True):
        text = re.sub(rf"\b{re.escape(word)}\b", "", text, flags=re.IGNORECASE)
    # Accompaniments are named after what they come from.
    return re.sub(
        r"(blues shuffle|rock beat|pop beat|bossa rim-click|calypso beat|soca beat|funk groove|jig rhythm|"
        r"waltzing|marching|string quartet texture|marching snare)",
        "",
        text,
        flags=re.IGNORECASE,
    )


def without_genre(text: str, genre: str) -> str:
    """The text with its genre's names taken out: ragtime piano may be played on anything, "brass band" on drums alone."""
    for word in sorted(GENRES[genre].words, key=len, reverse=True):
        text = re.sub(rf"\b{re.escape(word)}\b", "", text, flags=re.IGNORECASE)
    return text


def layer_words(composition) -> set[str]:
    """Adjectives that describe how parts are played."""
    return {word for part in composition.parts for word in re.findall(r"[\w-]+", part.words)}


def test_each_attribute_is_in_a_good_share() -> None:
    share = Counter()
    for composition, text in CAPTIONS:
        low = text.lower()
        share["genre"] += any(word.lower() in low for word in GENRES[composition.genre].words)
        share["lead"] += any(name.lower() in low for name in INSTRUMENTS[composition.lead.instrument].names)
        share["bpm"] += str(composition.bpm) in text
        share["key"] += " major" in text or " minor" in text
        share["mood"] += any(mood in text for mood in composition.moods)
    counts = {name: count / len(CAPTIONS) for name, count in share.items()}
    assert counts["genre"] > 0.95
    assert 0.7 < counts["lead"] < 0.99
    assert 0.2 < counts["bpm"] < 0.6
    assert 0.2 < counts["key"] < 0.6
    assert 0.5 < counts["mood"] < 0.95


def test_captions_vary() -> None:
    texts = [text for _, text in CAPTIONS]
    assert len(set(texts)) > 0.97 * len(texts)
    assert len({text.split()[0] for text in texts}) > 40
    lengths = [len(text.split()) for text in texts]
    assert min(lengths) <= 4
    assert max(lengths) >= 30
    assert not any("  " in text or "{" in text or "None" in text for text in texts)


def test_several_captions_of_one_piece_differ() -> None:
    for composition in COMPOSITIONS[:20]:
        texts = descriptions(composition, 8)
        assert len(texts) == len(set(texts)) == 8
        assert texts[0] == describe(composition, 0)
    with pytest.raises(InputError, match="0 captions"):
        descriptions(COMPOSITIONS[0], 0)
