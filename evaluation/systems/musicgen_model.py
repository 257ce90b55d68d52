"""A model of this project as a system.

Its settings are those of `GenerationOptions`, and

    precision, decoder      how it is loaded; the precision that "auto" selects is recorded
    lora                    LoRA adapters, as `FOLDER:WEIGHT` or a list of such texts
    chords, bpm, metre      a chord chart that every clip follows, in place of a melody
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from musicgen.audio import Audio
from musicgen.commands import lora
from musicgen.errors import InputError
from musicgen.options import GenerationOptions

from .base import Request, SystemOptions, default_label

_OWN = ("precision", "decoder", "lora", "chords", "bpm", "metre")
"""The settings that are no options of generation."""


class MusicGenSystem:
    """A model of this project.

    Args:
        label: in samples folders and tables; None for the last part of `name`.
        name: whatever `musicgen.load` takes.
        options: how it is loaded.

    Raises:
        CheckpointError: there is no such model.
        InputError: a setting is unknown or invalid.
    """

    def __init__(self, label: str | None, name: str, options: SystemOptions) -> None:
        # Here: loading PyTorch's models is slow, and most commands need none.
        from musicgen.checkpoint import load
        from musicgen.chords import chart_of

        settings = options.values()
        own = {key: settings.pop(key) for key in _OWN if key in settings}
        try:
            self._options = GenerationOptions(**settings)
        except TypeError as error:
            raise InputError(f"{name}: {error}") from error
        self._chart = chart_of(str(own["chords"]) if "chords" in own else None, own.get("bpm"), own.get("metre"))
        given = own.get("lora", [])
        adapters = lora.parse([str(one) for one in (given if isinstance(given, list) else [given])])
        decoder = str(own.get("decoder", "codec"))
        self.model = load(name, options.device, own.get("precision", "auto"), decoder=decoder, adapters=adapters)
        self.name = label or default_label(name)
        self.batch = options.batch
        self.settings = {"model": name, **settings, **own, "precision": self.model.precision}
        if adapters:
            self.settings["lora"] = [dataclasses.asdict(use) for use in lora.described(self.model, None)]

    def generate(self, requests: Sequence[Request]) -> list[Audio]:
        """One clip for each request; all have the first one's duration."""
        recordings = [request.read_melody() for request in requests]
        # What a suite gives to follow is the style's excerpt for a model that follows a style.
        follows = "style" if "style" in self.model.named_conditioners else "melody"
        conditions: dict[str, Any] = {}
        if any(one is not None for one in recordings):
            conditions[follows] = recordings
        if self._chart is not None:
            if "melody" in conditions:
                raise InputError("the setting chords takes the place of the references' melodies: leave --melody out")
            conditions["melody"] = self._chart
        waves = self.model.generate(
            [request.prompt for request in requests],
            requests[0].duration,
            seed=[request.seed for request in requests],
            # The whole mix, as on the other side of the chroma metric.
            conditions=conditions or None,
            separate=False,
            options=self._options,
        )
        return [Audio(wave.float().cpu(), self.model.sample_rate) for wave in waves]
