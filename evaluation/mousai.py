"""Moûsai (Schneider et al. 2023): waveforms by diffusion from a text, with its authors' audio-diffusion-pytorch.

They published no weights of the paper's model, so a checkpoint is the user's own: a folder with `config.json` and
`model.pt`, the `state_dict` of their DiffusionModel.

    {"rate": 48000, "steps": 50, "embedding_scale": 5.0, "model": {"in_channels": 2, "channels": [8, 32, …], …}}

`model` holds the arguments of DiffusionModel(UNetV0, …). A clip is the next power of two of samples, cut.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from musicgen.audio import Audio
from musicgen.errors import InputError

from .embedders import weights

if TYPE_CHECKING:
    from .systems import Request

DEFAULTS = {"steps": 50, "embedding_scale": 5.0}


class MousaiSystem:
    """A text-conditional model of audio-diffusion-pytorch. settings: checkpoint, and steps and embedding_scale in place of
    the folder's."""

    batch = 1

    def __init__(self, called: str, device: str, settings: Mapping[str, Any]) -> None:
        chosen = dict(settings)
        if "checkpoint" not in chosen:
            raise InputError(
                "mousai: its authors published no weights of the paper's model: pass --setting checkpoint=FOLDER with one of "
                "your own (config.json, model.pt), or a folder of clips in place of the system"
            )
        folder = Path(str(chosen.pop("checkpoint")))
        try:
            facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            self._rate, self._channels = int(facts["rate"]), int(facts["model"]["in_channels"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder}/config.json: no rate and model of Moûsai ({error!r})") from error
        unknown = sorted(set(chosen) - set(DEFAULTS))
        if unknown:
            raise InputError(f"mousai: unknown setting {unknown[0]!r}: one of checkpoint, {', '.join(DEFAULTS)}")
        self._arguments = {name: chosen.get(name, facts.get(name, value)) for name, value in DEFAULTS.items()}
        self._device = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        self._model = _opened(folder, facts["model"]).to(self._device)
        self.name = called
        self.settings = {"checkpoint": weights.sha256(folder / "model.pt"), **self._arguments}

    def generate(self, requests: Sequence[Request]) -> list[Audio]:
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> Audio:
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


def _opened(folder: Path, arguments: Mapping[str, Any]) -> Any:
    try:
        package = importlib.import_module("audio_diffusion_pytorch")
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
        raise InputError(f"{folder}/config.json: audio-diffusion-pytorch does not build it ({error})") from error
    weights.fill(model, weights.read(folder / "model.pt"), folder / "model.pt")
    return model.eval()
