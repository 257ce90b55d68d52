"""Lists of prompts as files: one description per line, a table, or JSON Lines with any option of a clip.

    rock.txt     slow piano                        one description a line
    rock.csv     prompt,duration,seed              a column for each option; an empty cell means the value of the run
    rock.jsonl   {"prompt": "piano", "top_k": 50}  any key of the table; null means the default, not the value of the run

A line that is not valid gives a `LineError`; the other lines are still read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicgen import audio, decoding, midi, textfiles
from musicgen.audio import TARGET_LUFS
from musicgen.batch.clip import BatchClip
from musicgen.chords import chart_of
from musicgen.conditioners.melody import MAX_CHANNELS
from musicgen.errors import InputError
from musicgen.file_names import words
from musicgen.folders import is_file
from musicgen.options import MAX_DURATION, GenerationOptions, check_duration, check_number, check_text
from musicgen.samples import MAX_ID_LENGTH
from musicgen.sampling import check_seed
from musicgen.settings import Settings, SourceFile, check_loudness
from musicgen.suggestions import did_you_mean
from musicgen.timeline import timeline_of

TABLES = (".csv", ".tsv")
JSON_LINES = (".jsonl", ".ndjson", ".json")
NONE = "none"
"""The cell of a table that is what null is in JSON."""
_TRUE, _FALSE = ("yes", "true", "1"), ("no", "false", "0")


@dataclass(frozen=True)
class LineError:
    """A line that gives no clip. where: its place; reason: why, in a line."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


def _number(text: str) -> float:
    return float(text)


def _whole(text: str) -> int:
    return int(text)


def _switch(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered not in (*_TRUE, *_FALSE):
        raise ValueError
    return lowered in _TRUE


def _wholes(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in text.replace(",", " ").split())


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(one) for one in text.replace(",", " ").split())


def _pairs(text: str) -> dict[str, str]:
    """ "energy=0.5|mood=calm" as a dict."""
    pairs = [one.partition("=") for one in text.split("|") if one.strip()]
    if not all(name.strip() and equals for name, equals, _ in pairs):
        raise ValueError
    return {name.strip(): value.strip() for name, _, value in pairs}


def _scales(text: str) -> dict[str, float]:
    return {name: float(scale) for name, scale in _pairs(text).items()}


_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "id": (str, "text"), "prompt": (str, "text"), "melody": (str, "a file"), "chords": (str, "text"), "metre": (str, "text"),
    "style": (str, "a file"), "continue_from": (str, "a file"), "timeline": (str, "text"),
    "duration": (_number, "a number of seconds"), "bpm": (_number, "a number"), "loudness": (_number, "a number of LUFS"),
    "seed": (_whole, "a whole number"), "loop": (_switch, "yes or no"), "separate": (_switch, "yes or no"),
    "conditions": (_pairs, "NAME=VALUE, several with | between them"),
}  # fmt: skip
"""Key of a clip -> what reads a cell of a table, and what it must be."""
_OPTION_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "do_sample": (_switch, "yes or no"), "negative_prompt": (str, "text"), "top_k": (_whole, "a whole number"),
    "style_codebooks": (_whole, "a whole number"), "decoding_steps": (_wholes, "whole numbers"),
    "masked_guidance": (_numbers, "two numbers"), "condition_guidance": (_scales, "NAME=SCALE"),
}  # fmt: skip
"""The same for options of generation that are no number."""
_DEFAULTS = GenerationOptions().as_dict()
KEYS = (*_READERS, *_DEFAULTS)
"""The keys that a line may have."""
_OF_THE_RUN = ("model", "device", "precision", "decoder", "lora", "adapters", "batch_size", "output")
"""Settings that are the same for all clips of a run."""
_CHANNELS = {"melody": MAX_CHANNELS, "style": decoding.MAX_CHANNELS, "continue_from": decoding.MAX_CHANNELS}
"""Key of a recording -> the most channels that it may have."""
_TEXTS = ("id", "prompt", "chords", "metre", "melody", "style", "continue_from")


def read(
    path: Path, run: Settings, defaults: Mapping[str, Any] | None = None, *, seed: int = 0
) -> tuple[list[BatchClip], list[LineError]]:
    """Read a list of prompts.

    Args:
        path: `.csv` and `.tsv` are tables by their header; `.jsonl`, `.ndjson` and `.json` have an object of JSON a line; any
            other file has a description a line. Files that a line names lie beside the list unless their path is absolute.
        run: The settings of the run: its model and what the lines leave open (duration, options, loudness …).
        defaults: The same for what settings keep as a description alone: key of a line -> its value.
        seed: Line i has seed + i unless it says another one.

    Returns:
        The clips in the order of their lines, and the faulty lines.

    Raises:
        InputError: The file cannot be read, lists nothing, or is a table with a column that is no key.
    """
    clips: list[BatchClip] = []
    errors: list[LineError] = []
    places: dict[str, str] = {}
    sources = _Sources(path.parent)
    index = -1
    for index, (where, values) in enumerate(_lines(path)):
        try:
            given = _merged(defaults or {}, _checked(values))
            if given.get("id") is None:
                given["id"] = f"{index + 1:04d}-{words(given.get('prompt'))}"
            clip = _clip(where, sources, run, given, seed + index)
            if clip.id in places:
                raise InputError(f"id {clip.id!r} is also that of {places[clip.id]}: each clip needs its own")
        except InputError as error:
            errors.append(LineError(where, str(error)))
            continue
        places[clip.id] = where
        clips.append(clip)
    if index < 0:
        raise InputError(f"{path}: lists no prompt: it is empty")
    return clips, errors


def _lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any] | InputError]]:
    """The place of each line, and what it says."""
    suffix = path.suffix.lower()
    if suffix in TABLES:
        for index, (where, cells, surplus) in enumerate(textfiles.rows(path)):
            if index == 0:
                _check_header(path, cells)
            yield where, _guarded(_of_row, cells, surplus)
    elif suffix in JSON_LINES:
        for where, line in textfiles.lines(path):
            yield where, _guarded(_of_json, line)
    else:
        for where, line in textfiles.lines(path):
            yield where, {"prompt": line.strip()}


def _guarded(work: Callable[..., Mapping[str, Any]], *arguments: Any) -> Mapping[str, Any] | InputError:
    """The lines with their errors: a generator that raises would lose the lines after it."""
    try:
        return work(*arguments)
    except InputError as error:
        return error


def _check_header(path: Path, columns: Iterable[str]) -> None:
    """A column that cannot be is one fault of the table, not one of each row."""
    for column in columns:
        try:
            _check_key(column)
        except InputError as error:
            raise InputError(f"{path}:1: {error}") from error


def _of_row(cells: Mapping[str, str], surplus: list[str]) -> dict[str, Any]:
    if any(surplus):
        raise InputError(
            f'there are more cells than columns, the last {surplus[-1][:40]!r}: a text with a comma stands in "quotation marks"'
        )
    found: dict[str, Any] = {}
    for key, cell in cells.items():
        if not cell.strip():
            continue
        reader, kind = (_READERS | _OPTION_READERS).get(key, (_number, "a number"))
        if reader is not str and cell.strip().lower() == NONE:
            found[key] = None
            continue
        try:
            found[key] = reader(cell.strip())
        except ValueError:
            raise InputError(f"{key} is {cell[:40]!r}: it must be {kind}") from None
    return found


def _of_json(line: str) -> dict[str, Any]:
    try:
        values = textfiles.parsed(line, "")
    except InputError as error:
        raise InputError(str(error).removeprefix(": ")) from error
    if not isinstance(values, dict):
        raise InputError(f'a line must be a JSON object such as {{"prompt": "piano"}}, not {type(values).__name__}')
    return values


def _check_key(key: str) -> None:
    if key in _OF_THE_RUN:
        raise InputError(f"{key} is of the whole run and not of one line: pass --{key.replace('_', '-')}")
    if key not in KEYS:
        raise InputError(f"unknown key {key[:40]!r}: {did_you_mean(key, KEYS)}")


def _checked(values: Mapping[str, Any] | InputError) -> Mapping[str, Any]:
    """The values of a line, if each has the type of its key."""
    if isinstance(values, InputError):
        raise values
    for key, value in values.items():
        _check_key(key)
        if value is None:
            continue
        if key in _TEXTS:
            check_text(key, value)
        elif key in ("loop", "separate") and not isinstance(value, bool):
            raise InputError(f"{key} is {value!r}: it must be true or false")
        elif key == "timeline" and not isinstance(value, (str, list)):
            raise InputError(f"timeline is {value!r}: it must be text or a list of [seconds, prompt]")
        elif key == "conditions" and not isinstance(value, dict):
            raise InputError(f"conditions is {value!r}: it must be an object with a value for each name")
    return values


def _merged(defaults: Mapping[str, Any], line: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the run, overridden by those of a line. A line's melody replaces the run's chords, and vice versa."""
    merged = dict(defaults)
    if line.get("melody") is not None:
        merged = {key: value for key, value in merged.items() if key not in ("chords", "bpm", "metre")}
    if line.get("chords") is not None:
        merged.pop("melody", None)
    return merged | dict(line)


class _Sources:
    """The files that lines name, each read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[str, Path], SourceFile] = {}

    def path(self, key: str, name: str) -> Path:
        path = self._folder / name
        if not is_file(path):
            raise InputError(f"{key} is {name[:80]!r}: no such file in {self._folder}")
        return path

    def further(self, value: str) -> Path | None:
        """The file that a further condition is read from, None for a text."""
        path = self._folder / value
        return path if value and is_file(path) else None

    def described(self, key: str, path: Path) -> SourceFile:
        """A file's name and hash, if it can be what `key` says."""
        if (key, path) not in self._known:
            if key == "melody" and midi.is_midi(path):
                midi.notes(path)
            elif key in _CHANNELS:
                audio.measure(path, MAX_DURATION, most_channels=_CHANNELS[key])
            self._known[key, path] = SourceFile.of(path)
        return self._known[key, path]


def _clip(where: str, sources: _Sources, run: Settings, given: Mapping[str, Any], seed: int) -> BatchClip:
    """The clip of a line."""
    if not given["id"] or len(given["id"]) > MAX_ID_LENGTH:
        raise InputError(f"id has {len(given['id'])} characters: 1 to {MAX_ID_LENGTH} are allowed")
    if given.get("chords") is not None and given.get("melody") is not None:
        raise InputError("chords take the place of a melody: give one of them")
    files = {key: sources.path(key, given[key]) for key in ("melody", "continue_from") if given.get(key) is not None}
    described = {key: sources.described(key, path) for key, path in files.items()}
    conditions: dict[str, str | SourceFile] = {}
    further = {name: str(value) for name, value in (given.get("conditions") or {}).items()}
    if given.get("style") is not None:
        further["style"] = str(sources.path("style", given["style"]))
    for name, value in further.items():
        path = sources.further(value)
        if path is None:
            conditions[name] = check_text(f"the condition {name}", value)
        else:
            files[name], conditions[name] = path, sources.described(name, path)
    options = {key: _DEFAULTS[key] if given[key] is None else given[key] for key in _DEFAULTS if key in given}
    loudness = given.get("loudness", TARGET_LUFS)
    settings = dataclasses.replace(
        run,
        prompt=given.get("prompt"),
        duration=run.duration if given.get("duration") is None else check_duration(given["duration"]),
        seed=check_seed(seed if given.get("seed") is None else given["seed"]),
        options=GenerationOptions.from_dict({**run.options.as_dict(), **options}),
        loudness=None if loudness is None else check_loudness(check_number("loudness", loudness, low=-1e3, high=1e3)),
        melody=described.get("melody"),
        chords=chart_of(given.get("chords"), given.get("bpm"), given.get("metre")),
        separate=given.get("separate"),
        continue_from=described.get("continue_from"),
        conditions=conditions,
        timeline=timeline_of(given.get("timeline")),
        loop=bool(given.get("loop")),
    )
    return BatchClip(given["id"], where, settings, files)
