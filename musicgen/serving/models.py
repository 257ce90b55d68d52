"""The catalog of models that the page offers: embedded models, published models, and those in the operator's folder.

Visitors select a model by its name, which is looked up in the catalog and never used as a path. The module does not import
PyTorch.
"""

from __future__ import annotations

import fnmatch
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from musicgen import catalog, textfiles
from musicgen.errors import InputError
from musicgen.serving.adapters import AdapterCatalog
from musicgen.suggestions import first_few

log = logging.getLogger(__name__)

DEFAULT_PUBLISHED = "facebook/musicgen-small"
"""The default where only published models are offered."""
_CONFIG = "config.json"
_CHECKPOINT_FILES = (_CONFIG, "state_dict.bin")
"""A folder with one of these files is a checkpoint."""
CONDITIONS_WITH_INPUTS = ("text", "melody", "style")
"""Conditions that have inputs of their own on the page."""
_AUTOREGRESSIVE, _MASKED = "autoregressive", "masked"
"""Kinds of generators."""
_WINDOW_SECONDS = 30.0
"""Where a configuration does not say it."""
MULTI_BAND_RATE = 32_000
"""Hz, of the tokeniser that multi-band diffusion was trained on."""
_MODEL_TYPES = ("musicgen", "musicgen_melody")


@dataclass(frozen=True)
class ModelInfo:
    """What is known about a model before it is loaded.

    Attributes:
        name: the name in the catalog.
        source: the argument of `musicgen.load`.
        licence: the licence of the weights.
        size: bytes of the weights.
        stereo: whether the model generates stereo, None where only loading the model tells.
        melody: whether the model is conditioned on melodies, None where only loading the model tells.
        origin: "embedded", "published" or "folder".
        separated: whether drums and bass were removed from the melodies in training.
        style: whether the model is conditioned on a recording's style, None where only loading the model tells.
        conditions: names of its further conditioners, None where only loading the model tells.
        sounds: whether it makes sounds in place of music.
        longest: seconds of its longest clip, None where clips may be longer than its window.
        generator: the kind of its generator (`musicgen.generators`), None where only loading the model tells.
        multi_band: whether its tokeniser is of the kind that multi-band diffusion decodes, None where only loading the model
            tells.
    """

    name: str
    source: str
    licence: str
    size: int
    stereo: bool | None
    melody: bool | None
    origin: str
    separated: bool = True
    style: bool | None = False
    conditions: tuple[str, ...] | None = ()
    sounds: bool = False
    longest: float | None = None
    generator: str | None = None
    multi_band: bool | None = None

    @property
    def takes_conditions(self) -> bool:
        """Whether the model has, or may have, conditioners beside those of text, melody and style."""
        return self.conditions is None or bool(self.conditions)

    @property
    def label(self) -> str:
        """A one-line description for a drop-down list."""
        size = f"{self.size / 1e9:.1f} GB" if self.size >= 1e9 else f"{self.size / 1e6:.0f} MB"
        followed = [
            "text",
            *(["melody"] if self.melody else []),
            *(["style"] if self.style else []),
            *(self.conditions or ()),
        ]
        conditioning = "custom" if self.melody is None else " + ".join(followed)
        channels = {True: ", stereo", False: "", None: ""}
        makes = " → sounds" if self.sounds else ""
        return f"{self.name} · {conditioning}{makes}{channels[self.stereo]} · {size} · {self.licence}"


class ModelCatalog:
    """The models that the page offers, in the order in which it lists them.

    Args:
        folder: the operator's folder of models, each in a folder of its own.
        allowed: patterns (`fnmatch`) of the names to offer; all models if empty.
        adapter_folder: the operator's folder of LoRA adapters.

    Raises:
        InputError: when no model matches the patterns.
    """

    def __init__(
        self, folder: Path | None = None, allowed: Sequence[str] = (), adapter_folder: Path | None = None
    ) -> None:
        self.adapters = AdapterCatalog(adapter_folder)
        infos = [_inspect(catalog.PRETRAINED / name, name, "embedded", "MIT") for name in catalog.embedded()]
        if folder is not None:
            infos += _scan(folder)
        infos += [
            ModelInfo(
                name=entry.name,
                source=entry.name,
                licence=catalog.WEIGHTS_LICENCE,
                size=entry.download_bytes,
                stereo=entry.stereo,
                melody=entry.melody,
                origin="published",
                style=entry.style,
                sounds=entry.sounds,
                longest=entry.seconds if entry.masked else None,
                generator=_MASKED if entry.masked else _AUTOREGRESSIVE,
                multi_band=entry.sample_rate == MULTI_BAND_RATE,
            )
            for entry in catalog.PUBLISHED
        ]
        self._models = {
            info.name: info
            for info in infos
            if not allowed or any(fnmatch.fnmatch(info.name, pattern) for pattern in allowed)
        }
        if not self._models:
            raise InputError(
                f"no model's name matches {', '.join(allowed)}: the models are {first_few(catalog.names())}"
            )

    @classmethod
    def of(cls, infos: Iterable[ModelInfo], adapters: AdapterCatalog) -> Self:
        """The catalog of models that are elsewhere, in this order.

        Args:
            infos: the models.
            adapters: the LoRA adapters there.
        """
        made = cls.__new__(cls)
        made.adapters = adapters
        made._models = {info.name: info for info in infos}
        return made

    def __iter__(self) -> Iterator[ModelInfo]:
        return iter(self._models.values())

    def choices(self) -> list[tuple[str, str]]:
        """(label, name) of each model, as `gr.Dropdown` takes them."""
        return [(info.label, info.name) for info in self._models.values()]

    def default(self) -> str:
        """The name of the model that is selected first: the first local model, else a small published one."""
        first = next(iter(self._models.values()))
        return DEFAULT_PUBLISHED if first.origin == "published" and DEFAULT_PUBLISHED in self._models else first.name

    def warm_up_model(self) -> str | None:
        """The model that is loaded before the first request: the default one, None where it would have to be downloaded."""
        name = self.default()
        return None if self.get(name).origin == "published" else name

    def melody_model(self, name: str) -> ModelInfo | None:
        """The model to use with a melody when `name` is selected.

        Returns:
            The selected model itself unless it is conditioned on text only; then the first melody model, None without one.
        """
        selected = self.get(name)
        return selected if selected.melody is not False else next((info for info in self if info.melody), None)

    def get(self, name: str) -> ModelInfo:
        """The model of that name.

        Raises:
            InputError: for an unknown name.
        """
        info = self._models.get(name) if isinstance(name, str) else None
        if info is None:
            shown = str(name)[:100]
            raise InputError(f"unknown model {shown!r}: {_suggestion(shown, list(self._models))}")
        return info


def _suggestion(name: str, names: list[str]) -> str:
    suggestion = catalog.did_you_mean(name)
    return suggestion if suggestion.startswith("did you mean") else f"the models here are {first_few(names)}"


def _scan(folder: Path) -> Iterator[ModelInfo]:
    """The models in the operator's folder. Unreadable ones are skipped with a warning."""
    for path in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        try:
            if any(file.name in _CHECKPOINT_FILES for file in path.iterdir()):
                yield _inspect(path, f"{folder.name}/{path.name}", "folder", "see its owner")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning("%s is left out, it cannot be read as a model: %s", path, _reason(error))


def _inspect(path: Path, name: str, origin: str, licence: str) -> ModelInfo:
    """Read a checkpoint's size and configuration without loading the weights."""
    weights = [file for file in path.iterdir() if file.suffix in (".safetensors", ".bin", ".th", ".pt")]
    size = sum(file.stat().st_size for file in weights)
    if not size:
        raise ValueError("there are no weights in it")
    stereo = melody = style = conditions = longest = generator = multi_band = None
    separated = True
    if any(file.name == _CONFIG for file in path.iterdir()):  # other checkpoint formats are known once loaded
        values = json.loads(textfiles.contents(path / _CONFIG))
        if values["model_type"] not in _MODEL_TYPES:
            raise ValueError(f"it is a checkpoint of the type {values['model_type']!r}")
        melody = values["model_type"] == "musicgen_melody"
        stereo = values["decoder"].get("audio_channels", 1) == 2
        own = values.get("musicgen", {})
        separated = bool(own.get("melody_separated", True))
        names = [str(one) for one in own.get("conditioners", {})]
        melody, style = melody or "melody" in names, "style" in names
        conditions = tuple(one for one in names if one not in CONDITIONS_WITH_INPUTS)
        generator = str(own.get("generator", {}).get("kind", _AUTOREGRESSIVE))
        longest = float(own.get("max_duration", _WINDOW_SECONDS)) if generator == _MASKED else None
        multi_band = _is_multi_band(values["audio_encoder"])
    return ModelInfo(
        name, str(path), licence, size, stereo, melody, origin, separated, style, conditions, longest=longest,
        generator=generator, multi_band=multi_band,
    )  # fmt: skip


def _is_multi_band(tokenizer: dict[str, Any]) -> bool:
    """Whether the codes of a tokeniser, as a configuration describes it, may be those that multi-band diffusion was trained on:
    the width of their vectors is in its file alone."""
    shape = (tokenizer.get("audio_channels", 1), tokenizer.get("sampling_rate"))
    return tokenizer.get("model_type") == "encodec" and shape == (1, MULTI_BAND_RATE)


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError):
        return f"{_CONFIG} is not JSON"
    if isinstance(error, KeyError | TypeError | AttributeError):
        return f"{_CONFIG} is not a MusicGen model's"
    return str(error)
