"""Generation of a suite's clips by a system into a samples folder: resumable, in shards, each clip written atomically.

The seed of an item is the suite's seed plus the item's index in the whole suite, so that neither shards nor `--limit` nor an
interruption change a clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from musicgen import samples
from musicgen.errors import InputError

from ..suites.items import Item
from ..suites.suite import Suite
from ..systems.base import Request, SystemFactory
from ..systems.folder import FolderSystem


def make_requests(
    suite: Suite, items: Sequence[Item], melody: bool | None = None, shuffle: bool = False
) -> list[Request]:
    """The requests to a system.

    Args:
        suite: gives the seed and the duration.
        items: of the suite, from its first on.
        melody: whether the reference is the melody; None as the suite says.
        shuffle: whether each request has the caption of the next item.
    """
    melody = suite.melody if melody is None else melody
    captions = [item.caption for item in items]
    if shuffle:
        captions = captions[1:] + captions[:1]
    return [
        Request(item.id, caption, suite.seed + index, suite.duration, item.file if melody else None, suite.window)
        for index, (item, caption) in enumerate(zip(items, captions, strict=True))
    ]


def shard(requests: Sequence[Request], part: str) -> list[Request]:
    """A part of the requests.

    Args:
        requests: all.
        part: `2/4` for every fourth request from the second on.

    Raises:
        InputError: `part` is not such a text.
    """
    try:
        number, _, count = part.partition("/")
        first, step = int(number) - 1, int(count)
    except ValueError as error:
        raise InputError(f"--shard {part}: must be such as 2/4, the second of four") from error
    if not 0 <= first < step:
        raise InputError(f"--shard {part}: the first number must lie between 1 and the second")
    return list(requests[first::step])


def generate(folder: Path, requests: Sequence[Request], load: SystemFactory, name: str, progress: bool = True) -> int:
    """Generate the clips that a samples folder does not have yet.

    Args:
        folder: the samples folder.
        requests: all clips that it shall have.
        load: loads the system, if a clip is missing.
        name: of the system in the samples folder.
        progress: whether to show a progress bar.

    Returns:
        The number of new clips.

    Raises:
        InputError: the system refuses a request, or is a folder without any of the clips.
    """
    writer = samples.Writer(folder, name)
    missing = [request for request in requests if request.id not in writer]
    if not missing:
        return 0
    system = load()
    if isinstance(system, FolderSystem):
        missing = [request for request in missing if request.id in system]
        if not missing:
            raise InputError(
                f"{system.name}: no file is named after an item of the suite, such as {requests[0].id}.wav"
            )
    with tqdm(total=len(requests), initial=len(requests) - len(missing), desc=name, disable=not progress) as bar:
        for start in range(0, len(missing), system.batch):
            part = missing[start : start + system.batch]
            for request, clip in zip(part, system.generate(part), strict=True):
                settings = {**system.settings, "duration": request.duration}
                if request.melody is not None:
                    settings["melody"] = request.melody.name
                writer.add(request.id, clip, prompt=request.prompt, seed=request.seed, settings=settings)
                bar.update(1)
    return len(missing)
