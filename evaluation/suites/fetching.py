"""Downloading the clips of MusicCaps that are still available, with yt-dlp.

`availability.jsonl` beside the clips has one line per attempt: id, whether the clip is available, and yt-dlp's reason. Clips
with a permanent reason (PERMANENT: removed, private, blocked …) are not requested again. Other failures are retried after a
pause, and in the next run. A failure that affects all clips, such as a bot check, ends the run at once, and so do OUTAGE
temporary failures in a row.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from musicgen import textfiles
from musicgen.errors import InputError

from .items import Item

MANIFEST = "availability.jsonl"
TIMEOUT = 180
"""Seconds for one clip."""
PAUSES = (2.0, 8.0, 30.0)
"""Seconds before each further attempt at a clip."""
OUTAGE = 3
"""Clips in a row that fail for passing reasons, from which the run ends."""

PERMANENT = re.compile(
    r"private video|video is private|has been removed|been terminated|account .*(?:closed|terminated|suspended)|"
    r"no longer available|video unavailable|video is (?:not available|unavailable)|not made this video available|"
    r"not available in your (?:country|location)|blocked it|copyright|violat|members[- ]only|join this channel|"
    r"confirm your age|age[- ]restricted|inappropriate|does not exist|removed by the (?:uploader|user)|"
    r"live stream recording is not available|requires payment",
    re.IGNORECASE,
)
"""yt-dlp's reasons that do not pass."""
STOPPING = re.compile(
    r"not a bot|HTTP Error 429|too many requests|rate[- ]limit|ffmpeg|ffprobe|no space left|permission denied|"
    r"current session has been",
    re.IGNORECASE,
)
"""yt-dlp's reasons that every other clip would meet, too."""


def fetch(items: Sequence[Item], duration: float, pauses: Sequence[float] = PAUSES) -> tuple[int, int]:
    """Download the clips that are not here yet.

    Args:
        items: with their addresses.
        duration: seconds of each.
        pauses: seconds before each further attempt at a clip that failed for a passing reason.

    Returns:
        (clips on this machine, unavailable clips).

    Raises:
        InputError: the items have no addresses, yt-dlp is not installed, or the run was ended by a bot check or an outage; what
            was downloaded stays, and the same command goes on.
    """
    if not items or not items[0].url:
        raise InputError("this suite's clips cannot be fetched: only MusicCaps' can")
    program = shutil.which("yt-dlp")
    if program is None:
        raise InputError('fetching needs yt-dlp (pip install "musicgen[evaluation]") and ffmpeg')
    folder = items[0].file.parent
    folder.mkdir(parents=True, exist_ok=True)
    unavailable = _unavailable(folder / MANIFEST)
    failures = 0
    with (folder / MANIFEST).open("a", encoding="utf-8") as manifest:
        if manifest.tell():
            manifest.write("\n")  # behind a line that an interrupted run left without its end
        for item in tqdm(items, desc="fetching"):
            if item.file.is_file() or item.id in unavailable:
                continue
            reason = _attempts(program, item, duration, pauses)
            line = {"id": item.id, "available": item.file.is_file(), "reason": reason}
            manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
            manifest.flush()
            failures = failures + 1 if reason and not is_permanent(reason) else 0
            if reason and STOPPING.search(reason):
                raise InputError(f"fetching stopped at {item.id}: {reason} (the same command goes on from here)")
            if failures == OUTAGE:
                raise InputError(
                    f"fetching stopped: {OUTAGE} clips in a row failed, the last, {item.id}: {reason} (is this machine "
                    "offline? the same command goes on from here)"
                )
    available = sum(item.file.is_file() for item in items)
    return available, len(items) - available


def is_permanent(reason: str) -> bool:
    """Whether a clip that failed for this reason of yt-dlp's will fail again."""
    return STOPPING.search(reason) is None and PERMANENT.search(reason) is not None


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


def _attempts(program: str, item: Item, duration: float, pauses: Sequence[float]) -> str:
    """The reason why the clip is not available, "" if it was downloaded; after a pause a passing reason is met again or not."""
    reason = _fetch(program, item, duration)
    for pause in pauses:
        if not reason or is_permanent(reason) or STOPPING.search(reason):
            break
        time.sleep(pause)
        reason = _fetch(program, item, duration)
    return reason


def _fetch(program: str, item: Item, duration: float) -> str:
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
    """Clips whose last attempt failed for a reason that does not pass."""
    if not manifest.is_file():
        return set()
    last: dict[str, str] = {}
    for line in textfiles.contents(manifest).split(b"\n"):
        try:
            entry = json.loads(line)
            last[str(entry["id"])] = "" if entry.get("available") else str(entry.get("reason", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # a truncated line: that clip is tried again
    return {name for name, reason in last.items() if is_permanent(reason)}
