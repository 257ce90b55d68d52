"""Captions of a composition, in different styles.

A caption draws its style (tags, a few words, sentences, a request, a review), what it mentions and the words for it. All
of it is true of the composition; what it omits is random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from musicgen.errors import InputError
from musicgen.training.corpus.composition import LEAD, Composition, Part
from musicgen.training.corpus.genres import find_genre
from musicgen.training.corpus.instruments import INSTRUMENTS
from musicgen.training.corpus.randomness import chance, pick, pick_weighted, stream

_TEMPO_WORDS = (
    (80, ("slow", "slow-paced", "unhurried")),
    (108, ("mid-tempo", "moderate", "medium-tempo")),
    (134, ("upbeat", "brisk", "quick")),
    (1000, ("fast", "fast-paced", "up-tempo")),
)
"""Upper limit of perceived bpm -> adjectives."""

_METRE_WORDS = {
    "3/4": ("in 3/4 time", "in three-four time", "in triple metre"),
    "6/8": ("in 6/8 time", "in 6/8", "in compound time"),
    "4/4": ("in 4/4 time", "in 4/4"),
}
_NOUNS = (
    "concerto",
    "groove",
    "jig",
    "march",
    "quartet",
    "rag",
    "score",
    "song",
    "soundscape",
    "soundtrack",
    "track",
    "waltz",
)
"""Words for genres that end in one of these need no "track" or "piece" after them."""

_MAX_TRIES = 50
"""Draws for one more different caption before its style is given up."""


@dataclass(frozen=True)
class _Words:
    """The facts of one caption, in words; None or empty ones are omitted."""

    genre: str
    moods: tuple[str, ...]
    tempo: str | None
    bpm: int | None
    key: str | None
    metre: str | None
    lead: str | None
    backing: tuple[str, ...]


def describe(composition: Composition, seed: int = 0) -> str:
    """One caption; another seed, another caption."""
    rng = stream(composition.seed, "caption", str(seed))
    style = pick_weighted(rng, ((_tags, 0.2), (_few_words, 0.2), (_sentence, 0.25), (_review, 0.2), (_request, 0.15)))
    return style(_chosen(composition, rng), rng)


def descriptions(composition: Composition, count: int, seed: int = 0) -> tuple[str, ...]:
    """`count` different captions of one composition, the first being `describe(composition, seed)`."""
    if count < 1:
        raise InputError(f"{count} captions were asked for: it must be 1 or more")
    found = {describe(composition, seed): None}
    for attempt in range(count * _MAX_TRIES):
        if len(found) == count:
            break
        found[describe(composition, seed + 1 + attempt)] = None
    return tuple(found)[:count]


def _chosen(composition: Composition, rng: np.random.Generator) -> _Words:
    """What to mention, and in which words."""
    genre = find_genre(composition.genre)
    others = [part for part in composition.parts if part.role != LEAD]
    backing = [others[i] for i in rng.permutation(len(others))[: int(rng.integers(0, 4))]]
    moods = [composition.moods[i] for i in rng.permutation(len(composition.moods))]
    adjectives = next(words for limit, words in _TEMPO_WORDS if composition.bpm * genre.feel < limit)
    return _Words(
        genre=pick(rng, genre.words),
        moods=tuple(moods[: pick_weighted(rng, ((0, 0.3), (1, 0.4), (2, 0.3)))]),
        tempo=pick(rng, adjectives) if chance(rng, 0.45) else None,
        bpm=composition.bpm if chance(rng, 0.35) else None,
        key=_key_words(composition, rng) if chance(rng, 0.35) else None,
        metre=pick(rng, _METRE_WORDS[composition.metre]) if chance(rng, 0.15) else None,
        lead=_name(composition.lead, rng) if chance(rng, 0.8) else None,
        backing=tuple(part.words.format(_name(part, rng)) for part in backing),
    )


def _name(part: Part, rng: np.random.Generator) -> str:
    """The instrument, mostly by its usual name."""
    names = INSTRUMENTS[part.instrument].names
    return names[0] if chance(rng, 0.6) else pick(rng, names)


def _key_words(composition: Composition, rng: np.random.Generator) -> str:
    tonic, quality = composition.key.name.split()
    spoken = tonic[0] + {"": "", "#": " sharp", "b": " flat"}[tonic[1:]]
    return pick(rng, (f"{tonic} {quality}", f"{tonic} {quality}", f"{spoken} {quality}"))


def _tags(words: _Words, rng: np.random.Generator) -> str:
    """Such as "jazz, trumpet, swinging, 150 bpm"."""
    tags = [words.genre, *words.moods, *words.backing[:2]]
    tags += [tag for tag in (words.tempo, words.lead, words.key, words.metre) if tag]
    if words.bpm:
        tags.append(pick(rng, (f"{words.bpm} bpm", f"{words.bpm}bpm", f"{words.bpm} BPM")))
    first = tags[:1] if chance(rng, 0.6) else []
    rest = tags[len(first) :]
    return ", ".join(first + [rest[i] for i in rng.permutation(len(rest))])


def _few_words(words: _Words, rng: np.random.Generator) -> str:
    """Such as "slow dreamy ambient with piano"."""
    adjectives = [*([words.tempo] if words.tempo else []), *words.moods]
    text = " ".join([*adjectives, words.genre])
    if words.lead:
        text += pick(
            rng,
            (f" with {words.lead}", f" led by {_a(words.lead)}", f", {words.lead} melody", f" featuring {words.lead}"),
        )
    elif words.backing:
        text += f" with {words.backing[0]}"
    if words.key:
        text += f" in {words.key}"
    if words.bpm:
        text += pick(rng, (f" at {words.bpm} bpm", f", {words.bpm} bpm"))
    return text


def _sentence(words: _Words, rng: np.random.Generator) -> str:
    """Such as "A calm bossa nova tune with a flute melody over soft drums, in D major." """
    adjectives = _listed([*([words.tempo] if words.tempo else []), *words.moods], ", ")
    noun = pick(rng, ("track", "piece", "tune", "instrumental"))
    text = _a(f"{adjectives} {_with_noun(words.genre, noun)}".strip())
    features = []
    if words.lead:
        features.append(
            pick(
                rng,
                (
                    f"{_a(words.lead)} melody",
                    f"{_a(words.lead)} playing the melody",
                    f"{_a(words.lead)} in front",
                    f"{_a(words.lead)} carrying the tune",
                ),
            )
        )
    features += words.backing
    if features:
        text += pick(rng, (" with ", " featuring ", ", built on ")) + _listed(features)
    tail = _facts(words, rng)
    if tail:
        text += f", {tail}"
    return _capital(text) + "."


def _review(words: _Words, rng: np.random.Generator) -> str:
    """Several plain sentences, as hired listeners write them."""
    lines = [
        pick(
            rng,
            (
                f"This is {_a(_with_noun(words.genre, 'piece'))}",
                f"This is {_a(_with_noun(words.genre, 'instrumental'))}",
                f"An instrumental {_with_noun(words.genre, 'recording')}",
                f"What we hear is {_a(_with_noun(words.genre, 'tune'))}",
            ),
        )
    ]
    if words.lead and words.backing:
        lines.append(
            pick(
                rng,
                (
                    f"The {words.lead} melody runs over {_listed(words.backing)}",
                    f"On lead there is {_a(words.lead)}, backed by {_listed(words.backing)}",
                ),
            )
        )
    elif words.lead:
        lines.append(
            pick(rng, (f"The main melody is played by {_a(words.lead)}", f"The {words.lead} melody runs throughout"))
        )
    elif words.backing:
        lines.append(f"It features {_listed(words.backing)}")
    if words.tempo:
        lines.append(
            pick(rng, (f"It is {words.tempo}", f"It is {_a(words.tempo)} performance", f"The pace is {words.tempo}"))
        )
    if words.moods:
        lines.append(
            pick(
                rng,
                (
                    f"The mood is {_listed(words.moods)}",
                    f"It feels {_listed(words.moods)}",
                    f"The atmosphere is {_listed(words.moods)}",
                ),
            )
        )
    facts = _facts(words, rng)
    if facts:
        lines.append(f"It is {facts}")
    return ". ".join(_capital(line) for line in lines) + "."


def _request(words: _Words, rng: np.random.Generator) -> str:
    """Such as "make something festive, salsa with a trumpet lead, around the key of G minor"."""
    opening = pick(rng, ("I want", "give me", "make me", "looking for", "please play"))
    adjectives = [*words.moods, *([words.tempo] if words.tempo else [])]
    noun = _with_noun(words.genre, pick(rng, ("track", "tune", "piece")))
    text = f"{opening} {_a(' '.join([*adjectives, noun]))}"
    wishes = [*([f"{_a(words.lead)} on lead"] if words.lead else []), *words.backing[:2]]
    if wishes:
        text += f" with {_listed(wishes)}"
    facts = _facts(words, rng)
    return f"{text}, {facts}" if facts else text


def _with_noun(genre: str, noun: str) -> str:
    """Such as "jazz piece", but "rock song" and not "rock song piece"."""
    return genre if genre.split()[-1] in _NOUNS else f"{genre} {noun}"


def _facts(words: _Words, rng: np.random.Generator) -> str:
    """Key, tempo in numbers and metre, as far as they are mentioned."""
    facts = []
    if words.key:
        facts.append(pick(rng, (f"in {words.key}", f"in the key of {words.key}")))
    if words.bpm:
        facts.append(pick(rng, (f"at {words.bpm} bpm", f"at {words.bpm} beats per minute", f"at {words.bpm} BPM")))
    if words.metre:
        facts.append(words.metre)
    return " ".join(facts)


def _a(noun: str) -> str:
    """With the indefinite article, unless the noun is a plural."""
    plural = noun.endswith(("s", "brushes")) and not noun.endswith(("ss", "blues", "bass"))
    if plural:
        return noun
    return (
        f"an {noun}"
        if noun[:1].lower() in "aeio" or noun.startswith(("unh", "upb", "up-", "8-bit", "808", "80s"))
        else f"a {noun}"
    )


def _listed(items: list[str] | tuple[str, ...], last: str = " and ") -> str:
    """Such as "a, b and c"."""
    return ", ".join(items[:-1]) + last + items[-1] if len(items) > 1 else "".join(items)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
