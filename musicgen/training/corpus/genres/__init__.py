"""The genres by name, a module for each family."""

from musicgen.errors import InputError
from musicgen.training.corpus.genre import Genre
from musicgen.training.corpus.genres import classical, electronic, latin, popular, roots

GENRES: dict[str, Genre] = {
    genre.name: genre
    for family in (popular.GENRES, electronic.GENRES, roots.GENRES, latin.GENRES, classical.GENRES)
    for genre in family
}
"""Name -> genre. Which genre a seed draws depends on the order."""


def find_genre(name: str) -> Genre:
    """The genre called `name`; raises InputError if there is none."""
    if name not in GENRES:
        raise InputError(f"no genre {name!r}: one of {', '.join(GENRES)}")
    return GENRES[name]
