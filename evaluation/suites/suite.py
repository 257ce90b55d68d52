"""Suites: YAML files that define a test set and its metrics.

    name: synth
    version: 1
    description: …          # optional, for `python -m evaluation suites`
    data: {kind: manifest, manifest: synth/manifest.jsonl}
    duration: 10            # seconds that systems generate
    melody: false           # optional: whether systems get the reference as a melody, as with `generate --melody`
    seed: 0                 # optional: of the first item's generation; item i has seed + i
    metrics: [fad_mini, kl_mini, …]
    reference_window: start # optional: which `duration` seconds of longer references are scored: start, middle; or all: sets
                            # (FAD, KAD, KID, MAD) are compared with all of each reference, pairs with its start

Kinds of data and their keys (the files are described in items.py):

    manifest        manifest: a file of JSON lines, its path from the suite's folder
    folder          none: `--data` names the folder
    musiccaps       repository: of the data set on the hub; file: its table there
    song_describer  csv, audio: the table and the folder of audio, under the folder that `--data` names

A suite of the user's own is a .yaml file beside its data; other names are the suites of this folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field
from pydantic.dataclasses import dataclass

from musicgen import textfiles, yaml_text
from musicgen.errors import InputError
from musicgen.suggestions import did_you_mean

from ..clips.window import Window
from .schema import STRICT, validate

FOLDER = Path(__file__).parent


@dataclass(frozen=True, config=STRICT)
class ManifestData:
    """References in a manifest: a path relative to the suite's file."""

    kind: Literal["manifest"]
    manifest: str


@dataclass(frozen=True, config=STRICT)
class FolderData:
    """References in a folder of captioned audio, which the user names."""

    kind: Literal["folder"]


@dataclass(frozen=True, config=STRICT)
class MusicCapsData:
    """MusicCaps: a data set on the hub, and its table there."""

    kind: Literal["musiccaps"]
    repository: str
    file: str


@dataclass(frozen=True, config=STRICT)
class SongDescriberData:
    """Song Describer: its table and its folder of audio, under a folder that the user names."""

    kind: Literal["song_describer"]
    csv: str
    audio: str


Data = ManifestData | FolderData | MusicCapsData | SongDescriberData
KINDS: dict[str, type[Data]] = {
    "manifest": ManifestData,
    "folder": FolderData,
    "musiccaps": MusicCapsData,
    "song_describer": SongDescriberData,
}


@dataclass(frozen=True, config=STRICT)
class Suite:
    """An evaluation suite.

    Attributes:
        name: in results and tables.
        version: a new one for other items, another duration or another seed.
        data: where its references are.
        duration: seconds that systems are asked for.
        metrics: names of metrics.
        file: where it was read; a manifest's path is relative to its folder.
        description: for people.
        seed: of the first item's generation.
        melody: whether systems get the reference as a melody.
        reference_window: which part of references that are longer than `duration` is scored.
    """

    name: str
    version: int
    data: Data
    duration: Annotated[float, Field(gt=0)]
    metrics: Annotated[tuple[str, ...], Field(strict=False)]
    file: Path
    description: str = ""
    seed: int = 0
    melody: bool = False
    reference_window: Literal["start", "middle", "all"] = "start"

    @property
    def window(self) -> Window:
        """The part of every reference that its generation is compared with."""
        return Window("middle" if self.reference_window == "middle" else "start", self.duration)

    @property
    def label(self) -> str:
        """Name and version: "synth v1"."""
        return f"{self.name} v{self.version}"


def suite_names() -> list[str]:
    """The suites of this folder."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def load_suite(name: str) -> Suite:
    """A suite by its name or its file.

    Args:
        name: one of `suite_names`, or the path of a .yaml file.

    Raises:
        InputError: there is none, or the file is faulty.
    """
    if name in suite_names():
        return read_suite(FOLDER / f"{name}.yaml")
    if name.endswith((".yaml", ".yml")):
        return read_suite(Path(name))
    raise InputError(f"unknown suite {name!r}: {did_you_mean(name, suite_names())} (or a .yaml file)")


def read_suite(file: Path) -> Suite:
    """Read and validate a suite's file.

    Raises:
        InputError: it cannot be read, is no YAML, or a key, a value, the data's kind or a metric is unknown.
    """
    from ..metrics.registry import check_metrics  # here: it needs SciPy, and naming the suites does not

    try:
        values = yaml_text.parse(textfiles.read(file))
    except yaml.YAMLError as error:
        raise InputError(f"{file}: not YAML ({' '.join(str(error).split())})") from error
    # The data is validated first, because its kind decides its keys; what is no mapping is refused below.
    if isinstance(values, dict) and isinstance(values.get("data"), dict):
        values["data"] = _read_data(values["data"], str(file))
    suite = validate(Suite, values, str(file), file=file)
    check_metrics(suite.metrics, str(file))
    return suite


def _read_data(values: dict[str, object], where: str) -> Data:
    kind = values.get("kind")
    if kind not in KINDS:
        raise InputError(f"{where}: data kind is {kind!r}: {did_you_mean(kind, KINDS)}")
    return validate(KINDS[str(kind)], values, f"{where}: data")
