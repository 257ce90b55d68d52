"""A model of this project as a system."""

from __future__ import annotations

from collections.abc import Sequence

from musicgen.audio import Audio
from musicgen.errors import InputError
from musicgen.options import GenerationOptions

from .base import Request, SystemOptions, default_label


class MusicGenSystem:
    """A model of this project. Its settings are those of `GenerationOptions`, `precision` and `decoder`; what precision "auto"
    became is recorded.

    Args:
        label: in samples folders and tables; None for the last part of `name`.
        name: whatever `musicgen.load` takes.
        options: how it is loaded.

    Raises:
        CheckpointError: there is no such model.
        InputError: a setting is unknown or invalid.
    """

    def __init__(self, label: str | None, name: str, options: SystemOptions) -> None:
        from musicgen.checkpoint import load  # here: loading PyTorch's models is slow, and most commands need none

        settings = options.values()
        precision, decoder = settings.pop("precision", "auto"), str(settings.pop("decoder", "codec"))
        try:
            self._options = GenerationOptions(**settings)
        except TypeError as error:
            raise InputError(f"{name}: {error}") from error
        self.model = load(name, options.device, precision, decoder=decoder)
        self.name = label or default_label(name)
        self.batch = options.batch
        self.settings = {"model": name, **settings, "precision": self.model.precision}
        if decoder != "codec":
            self.settings["decoder"] = decoder

    def generate(self, requests: Sequence[Request]) -> list[Audio]:
        """One clip for each request; all have the first one's duration."""
        recordings = [request.read_melody() for request in requests]
        # What a suite gives to follow is the style's excerpt for a model that follows a style.
        follows = "style" if "style" in self.model.named_conditioners else "melody"
        waves = self.model.generate(
            [request.prompt for request in requests],
            requests[0].duration,
            seed=[request.seed for request in requests],
            # The whole mix, as on the other side of the chroma metric.
            conditions={follows: recordings} if any(one is not None for one in recordings) else None,
            separate=False,
            options=self._options,
        )
        return [Audio(wave.float().cpu(), self.model.sample_rate) for wave in waves]
