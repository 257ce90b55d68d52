"""The genres, by name."""

from musicgen.training.corpus.styles import classical, electronic, latin, popular, roots

GENRES = {
    genre.name: genre
    for family in (popular.GENRES, electronic.GENRES, roots.GENRES, latin.GENRES, classical.GENRES)
    for genre in family
}
"""Name -> genre. The order is part of what a seed means."""
