"""Published text-to-audio pipelines of diffusers as systems, through one adapter; Riffusion's spectrograms to audio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from musicgen import extras
from musicgen.audio import Audio
from musicgen.errors import InputError

from .base import Request, SystemLoader, SystemOptions, resolve_device


@dataclass(frozen=True)
class Pipeline:
    """A published diffusers pipeline.

    Attributes:
        repository: on the hub.
        kind: its class in diffusers.
        rate: Hz of its output.
        arguments: of its call, as its authors use it.
        length: the argument that takes seconds.
        longest: seconds that it can generate.
    """

    repository: str
    kind: str
    rate: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    length: str = "audio_length_in_s"
    longest: float = 30.0


PIPELINES = {
    "riffusion": Pipeline(
        "riffusion/riffusion-model-v1", "StableDiffusionPipeline", 44_100, {"num_inference_steps": 50}
    ),
    "audioldm2": Pipeline("cvssp/audioldm2-music", "AudioLDM2Pipeline", 16_000, {"num_inference_steps": 200}),
    "musicldm": Pipeline("ucsd-reach/musicldm", "MusicLDMPipeline", 16_000, {"num_inference_steps": 200}),
    "stable-audio-open": Pipeline(
        "stabilityai/stable-audio-open-1.0",
        "StableAudioPipeline",
        44_100,
        {"num_inference_steps": 200},
        "audio_end_in_s",
        47.0,
    ),
}
"""Name of a system → pipeline."""


class DiffusersSystem:
    """A text-to-audio pipeline of diffusers, or Riffusion's, whose images are spectrograms.

    Args:
        name: in samples folders and tables.
        pipeline: which one.
        options: its device; settings are further arguments of the pipeline's call.

    Raises:
        InputError: diffusers is not installed, or the pipeline cannot be loaded.
    """

    batch = 1

    def __init__(self, name: str, pipeline: Pipeline, options: SystemOptions) -> None:
        diffusers: Any = extras.load("diffusers", "evaluation", name)
        self.name, self._pipeline = name, pipeline
        self._device = resolve_device(options.device)
        self._arguments = {**pipeline.arguments, **options.values()}
        self.settings = {"repository": pipeline.repository, "diffusers": diffusers.__version__, **self._arguments}
        try:
            self._model = getattr(diffusers, pipeline.kind).from_pretrained(pipeline.repository).to(self._device)
        except (OSError, ValueError) as error:
            line = str(error).strip().splitlines()[0]
            raise InputError(f"{name}: {pipeline.repository} cannot be loaded ({line})") from error
        self._model.set_progress_bar_config(disable=True)

    def generate(self, requests: Sequence[Request]) -> list[Audio]:
        """One clip for each request. Raises InputError for a melody, and for clips that are too long."""
        return [self._generate_one(request) for request in requests]

    def _generate_one(self, request: Request) -> Audio:
        if request.melody is not None:
            raise InputError(f"{self.name} takes no melody")
        if request.duration > self._pipeline.longest:
            raise InputError(f"{self.name} generates at most {self._pipeline.longest:g} s, not {request.duration:g}")
        generator = torch.Generator("cpu").manual_seed(request.seed)
        if self._pipeline.kind == "StableDiffusionPipeline":
            return _riffusion(self._model, request, generator, self._arguments)
        length = {self._pipeline.length: request.duration}
        wave = self._model(request.prompt, generator=generator, **length, **self._arguments).audios[0]
        return Audio(_channels_first(wave), self._pipeline.rate)


RIFFUSION_WIDTH = 512
"""Columns of a spectrogram of 5.11 s."""
RIFFUSION_RATE, RIFFUSION_FFT, RIFFUSION_WINDOW, RIFFUSION_HOP = 44_100, 17_640, 4410, 441
"""Riffusion's spectrogram: 400-ms transform, 100-ms window, 10-ms hop."""
RIFFUSION_BANDS, RIFFUSION_LOW, RIFFUSION_HIGH = 512, 0.0, 10_000.0
RIFFUSION_LOUDEST, RIFFUSION_POWER = 3e7, 0.25


def _riffusion(model: Any, request: Request, generator: torch.Generator, arguments: Mapping[str, Any]) -> Audio:
    """One spectrogram image of the whole duration, then its audio."""
    columns = int(np.ceil(request.duration * RIFFUSION_RATE / RIFFUSION_HOP))
    width = -(-columns // 8) * 8
    image = model(request.prompt, generator=generator, height=RIFFUSION_WIDTH, width=width, **arguments).images[0]
    wave = spectrogram_to_audio(np.asarray(image.convert("L")), generator)
    return Audio(wave[:, : round(request.duration * RIFFUSION_RATE)], RIFFUSION_RATE)


def spectrogram_to_audio(image: np.ndarray, generator: torch.Generator) -> torch.Tensor:
    """Audio of a spectrogram image, as riffusion.spectrogram_converter computes it: mel magnitudes to linear ones by least
    squares, phases by Griffin and Lim (32 iterations).

    Args:
        image: grey values [512 bands, columns], high bands on top, dark is loud.
        generator: of the initial phases.

    Returns:
        [1, samples] at 44.1 kHz.
    """
    import torchaudio

    magnitudes = (255.0 - image[::-1].astype(np.float32)) / 255.0
    mel = torch.from_numpy((magnitudes ** (1 / RIFFUSION_POWER)) * RIFFUSION_LOUDEST)
    filters = torchaudio.functional.melscale_fbanks(
        RIFFUSION_FFT // 2 + 1, RIFFUSION_LOW, RIFFUSION_HIGH, RIFFUSION_BANDS, RIFFUSION_RATE, None, "htk"
    )
    linear = torch.linalg.lstsq(filters.T, mel, driver="gelsd").solution.clamp(min=0)
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        wave = torchaudio.functional.griffinlim(
            linear,
            torch.hann_window(RIFFUSION_WINDOW),
            RIFFUSION_FFT,
            RIFFUSION_HOP,
            RIFFUSION_WINDOW,
            power=1.0,
            n_iter=32,
            momentum=0.99,
            length=None,
            rand_init=True,
        )
    return (wave / wave.abs().max().clamp(min=1e-9))[None]


def _channels_first(wave: Any) -> torch.Tensor:
    tensor = torch.as_tensor(np.asarray(wave.cpu() if isinstance(wave, torch.Tensor) else wave)).float()
    return tensor[None] if tensor.dim() == 1 else tensor


def _load(pipeline: Pipeline, label: str, options: SystemOptions) -> DiffusersSystem:
    return DiffusersSystem(label, pipeline, options)


SYSTEMS: dict[str, SystemLoader] = {name: partial(_load, pipeline) for name, pipeline in PIPELINES.items()}
