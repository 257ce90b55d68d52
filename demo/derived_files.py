"""Files that the page derives from a clip: a video, and a ZIP for a DAW."""

from __future__ import annotations

from pathlib import Path

from musicgen import provenance
from musicgen.serving.clip_store import ClipStore


def video(store: ClipStore, clip: Path) -> Path:
    """A clip, its tags included, as a video with its waveform.

    Args:
        store: of the clip.
        clip: the clip's file.

    Returns:
        The video, beside the clip. An existing one is reused.

    Raises:
        InputError: for an expired clip, and a disk without space.
    """
    from musicgen import audio

    from . import video as video_file

    def write(target: Path) -> None:
        video_file.write(target, audio.read(clip), provenance.of_tags(audio.read_tags(clip)), store.signer)

    return store.derive(clip, f".{video_file.EXTENSION}", write)


def daw(store: ClipStore, clip: Path, transcriber: str) -> Path:
    """A clip as a ZIP for a DAW, with stems where Demucs' weights are on this machine.

    Args:
        store: of the clip.
        clip: the clip's file.
        transcriber: what hears the notes, of `musicgen.transcribers.installed()`.

    Returns:
        The ZIP, beside the clip. An existing one is reused.

    Raises:
        InputError: for an expired clip, a disk without space, and a transcriber that is not installed.
    """
    from musicgen import audio, transcribers
    from musicgen import daw as daw_files
    from musicgen.conditioners.separation import DemucsSeparator

    def write(target: Path) -> None:
        files, _ = daw_files.parts(
            audio.read(clip), audio.read_tags(clip), stems=DemucsSeparator.is_downloaded(), transcriber=transcriber
        )
        audio.write_bytes(target, daw_files.packed(files, clip.stem))

    transcribers.find(transcriber)  # before its name becomes a part of a file's
    own = "" if transcriber == transcribers.DEFAULT else f".{transcriber}"
    return store.derive(clip, f"{own}{daw_files.EXTENSION}", write)
