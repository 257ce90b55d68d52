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
from musicgen.options import GenerationOptions, check_text

from .models import Shelf
from .request import NUM_CHROMA, Request, Section

KEY = "demo"
MAX_LINK = 8_000
"""Characters of a link's settings; browsers and proxies take no more for sure."""
_DIGITS = "0123456789ab"


def comment(request: Request, seed: int, *, own_model: bool = False, complete: bool = True) -> str:
    """What goes into a file: enough to make the clip again.

    Args:
        request: with a precision that is not "auto".
        seed: the clip's own.
        own_model: whether the model is one of the operator's folder.
        complete: whether the clip was made to its end.
    """
    from musicgen.settings import Settings, SourceFile

    settings = Settings(
        version=__version__,
        model=request.model,
        prompt=request.prompt,
        duration=request.duration,
        seed=seed,
        options=request.options,
        melody=SourceFile.of(request.melody) if request.melody else None,
        separate=request.separate if request.melody else None,
        continue_from=SourceFile.of(request.continue_from) if request.continue_from else None,
        precision=request.precision,
        model_folder=own_model,
        beyond=_beyond(request, complete),
    )
    return json.dumps(json.loads(settings.comment()) | {KEY: _extras(request)})


def of_file(path: Path, name: str, shelf: Shelf) -> tuple[Request, list[str]]:
    """The request in a file, and the names of the files that it needs besides.

    Args:
        path: where the server keeps it.
        name: the visitor's own, for errors.
        shelf: the models on offer.

    Raises:
        InputError: for a file without settings, and one whose model is not on offer.
    """
    from musicgen import audio
    from musicgen.settings import Settings

    try:
        text = audio.read_comment(path)
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from error
    settings = Settings.from_comment(text, name)
    # A folder of its maker's machine may have the name of a model that is here.
    if settings.model_folder != (shelf.find(settings.model).origin == "folder"):
        raise InputError(f"{name}: was made with another model of the name {settings.model!r} than the one here")
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
        precision=settings.precision,
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
        "precision": request.precision,
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
            prompt=check_text("the description", values["prompt"]),
            model=str(values["model"]),
            duration=float(values["duration"]),
            seed=int(values["seed"]),
            options=GenerationOptions.from_dict(values["options"]),
            separate=None if values["separate"] is None else bool(values["separate"]),
            precision=str(values.get("precision", "float32")),
        )
        return _with_extras(request, values[KEY], "the link")
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, zlib.error) as error:
        raise InputError("the link holds no settings of this page (was it cut?)") from error


def _extras(request: Request) -> dict[str, Any]:
    extras: dict[str, Any] = {"loop": request.loop}
    if request.frames is not None:
        extras["frames"] = "".join(_DIGITS[frame] for frame in request.frames)
    if request.timeline:
        extras["timeline"] = [[section.start, section.prompt] for section in request.timeline]
    return extras


def _beyond(request: Request, complete: bool) -> tuple[str, ...]:
    """What decided a clip that the command line does not have."""
    told = {
        "a timeline": bool(request.timeline),
        "a seamless loop": request.loop,
        "the melody as the page's editor had it": request.frames is not None,
        "an early stop": not complete,
    }
    return tuple(name for name, there in told.items() if there)


def _with_extras(request: Request, extras: dict[str, Any], source: str) -> Request:
    try:
        frames = extras.get("frames")
        return dataclasses.replace(
            request,
            precision=str(extras.get("precision", request.precision)),  # where it stood before
            loop=bool(extras.get("loop", False)),
            frames=None if frames is None else tuple(int(digit, NUM_CHROMA) for digit in frames),
            timeline=tuple(
                Section(float(start), check_text("the timeline", prompt))
                for start, prompt in extras.get("timeline", [])
            ),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{source}: its settings are damaged") from error
