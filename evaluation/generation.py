"""A suite's captions to a system, its clips into a samples folder: resumable, in shards, clip by clip safely on disk.

The seed of an item is the suite's seed plus its place in the whole suite, so that neither shards nor `--limit` nor an
interruption change a clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from musicgen import samples
from musicgen.errors import InputError

from .data import Item
from .suites import Suite
from .systems import FolderSystem, Opener, Request


def requests(suite: Suite, items: Sequence[Item], melody: bool = False, shuffle: bool = False) -> list[Request]:
    """What a system is asked for. melody: with the reference as its melody; shuffle: with the next item's caption."""
    captions = [item.caption for item in items]
    if shuffle:
        captions = captions[1:] + captions[:1]
    return [
        Request(item.id, caption, suite.seed + place, suite.duration, item.file if melody else None)
        for place, (item, caption) in enumerate(zip(items, captions, strict=True))
    ]


def shard(wanted: Sequence[Request], part: str) -> list[Request]:
    """`2/4`: every fourth request from the second on."""
    try:
        number, _, count = part.partition("/")
        first, step = int(number) - 1, int(count)
    except ValueError as error:
        raise InputError(f"--shard {part}: must be such as 2/4, the second of four") from error
    if not 0 <= first < step:
        raise InputError(f"--shard {part}: the first number must lie between 1 and the second")
    return list(wanted[first::step])


def fill(folder: Path, wanted: Sequence[Request], opener: Opener, name: str, progress: bool = True) -> int:
    """Make what the folder still lacks; how many clips. The system is opened only where something is missing."""
    writer = samples.Writer(folder, name)
    missing = [request for request in wanted if request.id not in writer]
    if not missing:
        return 0
    system = opener()
    if isinstance(system, FolderSystem):
        missing = [request for request in missing if request.id in system]
        if not missing:
            raise InputError(f"{system.name}: no file is named after an item of the suite, such as {wanted[0].id}.wav")
    with tqdm(total=len(wanted), initial=len(wanted) - len(missing), desc=name, disable=not progress) as bar:
        for start in range(0, len(missing), system.batch):
            part = missing[start : start + system.batch]
            for request, clip in zip(part, system.generate(part), strict=True):
                settings = {**system.settings, "duration": request.duration}
                if request.melody is not None:
                    settings["melody"] = request.melody.name
                writer.add(request.id, clip, prompt=request.prompt, seed=request.seed, settings=settings)
                bar.update(1)
    return len(missing)
