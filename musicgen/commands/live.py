"""Live output of a clip during its generation: to the sound card (`--play`), or to a pipe (`--output -`)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from musicgen.errors import InputError

if TYPE_CHECKING:
    import torch

    from musicgen.model import MusicGen
    from musicgen.request import GenerationRequest

Sink = Callable[["torch.Tensor"], None]
"""Takes the parts of a clip, float32 [C, T], in order."""


@contextmanager
def sinks(rate: int, channels: int, *, play: bool, pipe: bool, tags: Mapping[str, str]) -> Iterator[list[Sink]]:
    """What a clip's sound is written to.

    Args:
        rate: Hz.
        channels: C.
        play: Whether to the sound card.
        pipe: Whether to standard output, as WAV.
        tags: Of the WAV file.
    """
    from musicgen.playback import Player
    from musicgen.wav_stream import WavStream

    try:
        with ExitStack() as stack:
            found: list[Sink] = []
            if play:
                found.append(stack.enter_context(Player(rate, channels)).write)
            if pipe:
                found.append(WavStream(sys.stdout.buffer, rate, channels, tags).write)
            yield found
    except BrokenPipeError as error:
        raise InputError("--output -: nobody reads the pipe any more: the clip was given up") from error


def generate(
    model: MusicGen, request: GenerationRequest, to: list[Sink], progress: Callable[[int, int], None]
) -> torch.Tensor:
    """Generate one clip and hand its parts on as they are decoded.

    Returns:
        The whole clip, float32 [C, T].
    """
    import torch

    parts = []
    for part in model.stream(request, progress=progress):
        for write in to:
            write(part)
        parts.append(part.cpu())
    return torch.cat(parts, dim=1)
