"""Moûsai (Schneider et al. 2023): text-conditional diffusion of waveforms, with its authors' audio-diffusion-pytorch.

The weights of the paper's model are not published, so users supply a checkpoint: a folder with `config.json` and `model.pt`,
the `state_dict` of the package's DiffusionModel.

    {"rate": 48000, "steps": 50, "embedding_scale": 5.0, "model": {"in_channels": 2, "channels": [8, 32, …], …}}

`model` holds the arguments of DiffusionModel(UNetV0, …). A clip is generated with the next power of two of samples, then cut.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from musicgen.audio import Audio
from musicgen.errors import InputError
from musicgen.suggestions import did_you_mean

from ..embedders import weights
from .base import Request, SystemLoader, SystemOptions, resolve_device

DEFAULTS = {"steps": 50, "embedding_scale": 5.0}


class MousaiSystem:
    """A text-conditional model of audio-diffusion-pytorch.

    Args:
        label: in samples folders and tables.
        options: its device; the settings are `checkpoint`, the folder, and `steps` and `embedding_scale` in place of the
            folder's.

    Raises:
        InputError: there is no checkpoint, a setting is unknown, or the package is not installed.
        CheckpointError: the weights are not those of the configuration.
    """

    batch = 1

    def __init__(self, label: str, options: SystemOptions) -> None:
        settings = options.values()
        if "checkpoint" not in settings:
            raise InputError(
                "mousai: its authors published no weights of the paper's model: pass --setting checkpoint=FOLDER with your own "
                "(config.json, model.pt), or a folder of clips in place of the system"
            )
        folder = Path(str(settings.pop("checkpoint")))
        try:
            configuration = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            self._rate, self._channels = int(configuration["rate"]), int(configuration["model"]["in_channels"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder}/config.json: no rate and model of Moûsai ({error!r})") from error
        unknown = sorted(set(settings) - set(DEFAULTS))
        if unknown:
            raise InputError(
                f"mousai: unknown setting {unknown[0]!r}: {did_you_mean(unknown[0], ['checkpoint', *DEFAULTS])}"
            )
        self._arguments = {name: settings.get(name, configuration.get(name, value)) for name, value in DEFAULTS.items()}
        self._device = resolve_device(options.device)
        self._model = _load_model(folder, configuration["model"]).to(self._device)
        self.name = label
        self.settings = {"checkpoint": weights.sha256(folder / "model.pt"), **self._arguments}

    def generate(self, requests: Sequence[Request]) -> list[Audio]:
        """One clip for each request. Raises InputError for a melody."""
        return [self._generate_one(request) for request in requests]

    def _generate_one(self, request: Request) -> Audio:
        if request.melody is not None:
            raise InputError(f"{self.name} takes no melody")
        samples = round(request.duration * self._rate)
        generator = torch.Generator().manual_seed(request.seed)
        noise = torch.randn(1, self._channels, 1 << (samples - 1).bit_length(), generator=generator)
        wave = self._model.sample(
            noise.to(self._device),
            text=[request.prompt],
            num_steps=self._arguments["steps"],
            embedding_scale=self._arguments["embedding_scale"],
        )
        return Audio(wave[0, :, :samples].float().cpu(), self._rate)


def _load_model(folder: Path, arguments: Mapping[str, Any]) -> Any:
    try:
        import audio_diffusion_pytorch as package  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(
            "mousai needs audio-diffusion-pytorch: pip install --no-deps audio-diffusion-pytorch a-unet"
        ) from error
    try:
        with torch.random.fork_rng():
            model = package.DiffusionModel(
                net_t=package.UNetV0, diffusion_t=package.VDiffusion, sampler_t=package.VSampler, **arguments
            )
    except (TypeError, AssertionError, OSError) as error:
        raise InputError(f"{folder}/config.json: audio-diffusion-pytorch cannot build this model ({error})") from error
    weights.load_state(model, weights.read_state_dict(folder / "model.pt"), folder / "model.pt")
    return model.eval()


SYSTEMS: dict[str, SystemLoader] = {"mousai": MousaiSystem}
