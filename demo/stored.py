"""A request as text: inside a clip's file, and in a link.

The file's comment is `musicgen.settings`' own, which the command line reads too, with what only the page knows beside it.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from pathlib import Path
from typing import Any

from musicgen import __version__
from musicgen.errors import InputError
from musicgen.options import GenerationOptions

from .request import NUM_CHROMA, Request, Section

KEY = "demo"
MAX_LINK = 8_000
"""Characters of a link's settings; browsers and proxies take no more for sure."""
_DIGITS = "0123456789ab"


def comment(request: Request, seed: int) -> str:
    """What goes into a file: enough to make the clip again."""
    from musicgen.settings import Settings, SourceFile

    settings = Settings(
        version=__version__,
        model=request.model,
        prompt=request.prompt,
        duration=request.duration,
        seed=seed,
        options=request.options,
        melody=SourceFile.of(request.melody) if request.melody else None,
        separate=request.separate,
        continue_from=SourceFile.of(request.continue_from) if request.continue_from else None,
    )
    return json.dumps(json.loads(settings.comment()) | {KEY: _extras(request)})


def of_file(path: Path, name: str) -> tuple[Request, list[str]]:
    """The request in a file, and the names of the files that it needs besides. `name`: the visitor's own, for errors."""
    from musicgen import audio
    from musicgen.settings import Settings

    try:
        text = audio.read_comment(path)
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from error
    settings = Settings.from_comment(text, name)
    extras = json.loads(text).get(KEY, {})
    needed = [one.name for one in (settings.melody, settings.continue_from) if one is not None]
    if extras.get("frames"):
        needed = needed[1:] if settings.melody is not None else needed
    request = Request(
        prompt=settings.prompt or "",
        model=settings.model,
        duration=settings.duration,
        seed=settings.seed,
        options=settings.options,
        separate=settings.separate,
    )
    return _with_extras(request, extras, name), needed


def link(request: Request, seed: int) -> str:
    """The value of ?s= that opens the page with these settings; "" where it would be too long."""
    values = {
        "prompt": request.prompt,
        "model": request.model,
        "duration": request.duration,
        "seed": seed,
        "options": request.options.as_dict(),
        "separate": request.separate,
        KEY: _extras(request),
    }
    text = base64.urlsafe_b64encode(zlib.compress(json.dumps(values).encode(), 9)).decode().rstrip("=")
    return text if len(text) <= MAX_LINK else ""


def of_link(text: str) -> Request:
    """The inverse of `link`. Raises InputError for what it did not make."""
    try:
        if len(text) > MAX_LINK:
            raise ValueError
        packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        decompressor = zlib.decompressobj()
        plain = decompressor.decompress(packed, 200_000)  # a bomb is cut, and is no JSON then
        if not decompressor.eof:
            raise ValueError
        values: dict[str, Any] = json.loads(plain)
        request = Request(
            prompt=str(values["prompt"]),
            model=str(values["model"]),
            duration=float(values["duration"]),
            seed=int(values["seed"]),
            options=GenerationOptions.from_dict(values["options"]),
            separate=bool(values["separate"]),
        )
        return _with_extras(request, values[KEY], "the link")
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, zlib.error) as error:
        raise InputError("the link holds no settings of this page (was it cut?)") from error


def _extras(request: Request) -> dict[str, Any]:
    extras: dict[str, Any] = {"precision": request.precision, "loop": request.loop}
    if request.frames is not None:
        extras["frames"] = "".join(_DIGITS[frame] for frame in request.frames)
    if request.timeline:
        extras["timeline"] = [[section.start, section.prompt] for section in request.timeline]
    return extras


def _with_extras(request: Request, extras: dict[str, Any], source: str) -> Request:
    try:
        frames = extras.get("frames")
        return dataclasses.replace(
            request,
            precision=str(extras.get("precision", "float32")),
            loop=bool(extras.get("loop", False)),
            frames=None if frames is None else tuple(int(digit, NUM_CHROMA) for digit in frames),
            timeline=tuple(Section(float(start), str(prompt)) for start, prompt in extras.get("timeline", [])),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{source}: its settings are damaged") from error
