"""Names of the clips of a visit, as the page shows them."""

from __future__ import annotations

from musicgen.serving.stored_clip import StoredClip

from ..visits import Visit


def choices(visit: Visit) -> list[tuple[str, str]]:
    """(label, id) of each clip, favourites with a star."""
    return [
        (f"{'★ ' if clip.id in visit.favourites else ''}{number} · {title(clip)}", clip.id)
        for number, clip in enumerate(visit.clips, 1)
    ]


def favourite_label(visit: Visit, clip: StoredClip) -> str:
    """The label of the button that marks a clip."""
    return "★ Remove from favourites" if clip.id in visit.favourites else "☆ Favourite"


def title(clip: StoredClip) -> str:
    """Description, length and seed in one line."""
    prompt = clip.request.prompt or "no description"
    short = prompt if len(prompt) <= 32 else f"{prompt[:31].rstrip(' ,')}…"
    return f"{short} · {clip.seconds:.0f} s · seed {clip.seed}"
