"""levels.html: loudness and true peak of every clip of a study, and which clip determined the common target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..html_templates import render
from .manifest import StudyClip
from .study_settings import StudySettings

TEMPLATE = Path(__file__).parent / "templates" / "levels.html"


def html(settings: StudySettings, clips: Sequence[StudyClip], target: float, limited_by: str | None) -> str:
    """Render the report.

    Args:
        settings: the study's.
        clips: all clips of the study; practice, headphone and attention clips are left out.
        target: loudness of every clip in LUFS.
        limited_by: system and item of the clip whose true peak lowered the target, None where none did.

    Returns:
        HTML.
    """
    rated = [clip for clip in clips if clip.role in {"system", "reference", "melody", "anchor"}]
    return render(TEMPLATE, settings=settings, clips=rated, target=target, limited_by=limited_by)
