"""MusicCaps' clips from where they were published, with yt-dlp: what is still there is fetched, what is not is written down.

`availability.jsonl` beside the clips has a line an item: id, there or not, and yt-dlp's reason. A second run tries only
what it has no line for.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from musicgen.errors import InputError

from .data import Item

MANIFEST = "availability.jsonl"
PATIENCE = 180
"""Seconds for one clip."""


def fetch(items: Sequence[Item], duration: float) -> tuple[int, int]:
    """(clips that are here, clips that cannot be had)."""
    if not items or not items[0].url:
        raise InputError("this suite's clips are not fetched: only MusicCaps' are")
    program = shutil.which("yt-dlp")
    if program is None:
        raise InputError('fetching needs yt-dlp (pip install "musicgen[evaluation]") and ffmpeg')
    folder = items[0].file.parent
    folder.mkdir(parents=True, exist_ok=True)
    known = _known(folder / MANIFEST)
    with (folder / MANIFEST).open("a", encoding="utf-8") as manifest:
        for item in tqdm(items, desc="fetching"):
            if item.file.is_file() or item.id in known:
                continue
            reason = _fetch(program, item, duration)
            line = {"id": item.id, "available": item.file.is_file(), "reason": reason}
            manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
            manifest.flush()
    here = sum(item.file.is_file() for item in items)
    return here, len(items) - here


def command(program: str, item: Item, duration: float, target: Path) -> list[str]:
    """yt-dlp's arguments: exactly the labelled seconds, as WAV."""
    section = f"*{item.start:g}-{item.start + duration:g}"
    return [
        program, "--quiet", "--no-warnings", "--no-playlist", "--force-keyframes-at-cuts", "--download-sections", section,
        "--extract-audio", "--audio-format", "wav", "--output", str(target.with_suffix(".%(ext)s")), item.url,
    ]  # fmt: skip


def _fetch(program: str, item: Item, duration: float) -> str:
    """ "" where it worked, else why not."""
    partial = item.file.with_name(f".{item.file.name}")
    try:
        done = subprocess.run(
            command(program, item, duration, partial), capture_output=True, timeout=PATIENCE, text=True
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PATIENCE} s"
    if done.returncode != 0 or not partial.is_file():
        lines = done.stderr.strip().splitlines()
        return lines[-1] if lines else f"yt-dlp ended with {done.returncode}"
    partial.replace(item.file)
    return ""


def _known(manifest: Path) -> set[str]:
    if not manifest.is_file():
        return set()
    known = set()
    for line in manifest.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a torn line: that clip is tried again
        if not entry.get("available"):
            known.add(str(entry["id"]))
    return known
