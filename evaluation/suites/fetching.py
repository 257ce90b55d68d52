"""Download MusicCaps' clips with yt-dlp, as far as they are still available.

`availability.jsonl` beside the clips has a line per item: id, whether it is available, and yt-dlp's reason. A second run tries
only the clips without a line.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from musicgen.errors import InputError

from .items import Item

MANIFEST = "availability.jsonl"
TIMEOUT = 180
"""Seconds for one clip."""


def fetch(items: Sequence[Item], duration: float) -> tuple[int, int]:
    """Download the clips that are not here yet.

    Args:
        items: with their addresses.
        duration: seconds of each.

    Returns:
        (clips on this machine, unavailable clips).

    Raises:
        InputError: the items have no addresses, or yt-dlp is not installed.
    """
    if not items or not items[0].url:
        raise InputError("this suite's clips cannot be fetched: only MusicCaps' can")
    program = shutil.which("yt-dlp")
    if program is None:
        raise InputError('fetching needs yt-dlp (pip install "musicgen[evaluation]") and ffmpeg')
    folder = items[0].file.parent
    folder.mkdir(parents=True, exist_ok=True)
    unavailable = _unavailable(folder / MANIFEST)
    with (folder / MANIFEST).open("a", encoding="utf-8") as manifest:
        if manifest.tell():
            manifest.write("\n")  # behind a line that an interrupted run left without its end
        for item in tqdm(items, desc="fetching"):
            if item.file.is_file() or item.id in unavailable:
                continue
            reason = _fetch(program, item, duration)
            line = {"id": item.id, "available": item.file.is_file(), "reason": reason}
            manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
            manifest.flush()
    available = sum(item.file.is_file() for item in items)
    return available, len(items) - available


def command(program: str, item: Item, duration: float, target: Path) -> list[str]:
    """The command line of yt-dlp: exactly the labelled seconds, as WAV.

    Args:
        program: yt-dlp's path.
        item: with address and start.
        duration: seconds.
        target: the file to write.
    """
    section = f"*{item.start:g}-{item.start + duration:g}"
    return [
        program, "--quiet", "--no-warnings", "--no-playlist", "--force-keyframes-at-cuts", "--download-sections", section,
        "--extract-audio", "--audio-format", "wav", "--output", str(target.with_suffix(".%(ext)s")), item.url,
    ]  # fmt: skip


def _fetch(program: str, item: Item, duration: float) -> str:
    """The reason why the clip is not available, "" if it was downloaded."""
    partial = item.file.with_name(f".{item.file.name}")
    try:
        process = subprocess.run(
            command(program, item, duration, partial),
            capture_output=True,
            timeout=TIMEOUT,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT} s"
    if process.returncode != 0 or not partial.is_file():
        lines = process.stderr.strip().splitlines()
        return lines[-1] if lines else f"yt-dlp ended with {process.returncode}"
    partial.replace(item.file)
    return ""


def _unavailable(manifest: Path) -> set[str]:
    if not manifest.is_file():
        return set()
    ids = set()
    for line in manifest.read_bytes().split(b"\n"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a truncated line: that clip is tried again
        if isinstance(entry, dict) and not entry.get("available"):
            ids.add(str(entry.get("id")))
    return ids
