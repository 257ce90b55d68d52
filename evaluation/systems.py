"""Who makes the samples: each system turns a caption and a seed into a clip, and everything else meets it as a folder
of files.

    NAME                    whatever `musicgen.load` takes: an embedded name, a name on the hub, a folder
    riffusion, audioldm2, musicldm, stable-audio-open
                            published diffusers pipelines, through one adapter
    mousai                  a checkpoint of audio-diffusion-pytorch that the user names (`mousai.py`; none is public)
    FOLDER of audio         clips that somebody made anywhere: files named after the suite's ids

Heavy libraries are imported when a system is opened. Systems that cannot be run stand in tables as published rows.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from musicgen import audio, extras
from musicgen.audio import Audio
from musicgen.decoding import EXTENSIONS
from musicgen.errors import InputError
from musicgen.folders import is_folder

from .mousai import MousaiSystem


@dataclass(frozen=True)
class Request:
    """One clip to make. duration: seconds; melody: a file to follow, None for none."""

    id: str
    prompt: str
    seed: int
    duration: float
    melody: Path | None = None


class System(Protocol):
    """name: in samples folders; settings: whatever decides the sound, for the manifest; batch: clips made at once."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    @property
    def batch(self) -> int: ...

    def generate(self, requests: Sequence[Request]) -> list[Audio]:
        """A clip for each request, in order. A clip hangs on its own request alone."""
        ...


@dataclass(frozen=True)
class Pipeline:
    """A published diffusers pipeline. kind: its class there; arguments: of its call, as its authors use it; length: the
    argument that takes seconds; rate: Hz."""

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
"""Short name → pipeline."""


def open_system(
    name: str,
    device: str = "auto",
    batch: int = 4,
    called: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> System:
    """A system by its name. called: under which its samples appear; settings: passed on to it (guidance, top_k, …)."""
    extra = dict(settings or {})
    if name in PIPELINES:
        return DiffusersSystem(called or name, PIPELINES[name], device, extra)
    if name == "mousai":
        return MousaiSystem(called or name, device, extra)
    folder = Path(name)
    if is_folder(folder) and any(file.suffix.lower() in EXTENSIONS for file in folder.iterdir()):
        return FolderSystem(called or folder.name, folder)
    return MusicGenSystem(called, name, device, batch, extra)


def label(name: str) -> str:
    """What a system is called in samples and tables where nobody names it: the last part of its name or path."""
    return name.rstrip("/").rsplit("/", 1)[-1] or name


class MusicGenSystem:
    """A model of this project. settings: `GenerationOptions`, and precision: what "auto" became is recorded."""

    def __init__(self, called: str | None, name: str, device: str, batch: int, settings: Mapping[str, Any]) -> None:
        musicgen = importlib.import_module("musicgen")
        sampling = {key: value for key, value in settings.items() if key != "precision"}
        try:
            self._options = musicgen.GenerationOptions(**sampling)
        except TypeError as error:
            raise InputError(f"{name}: {error}") from error
        try:
            self.model = musicgen.load(name, device, settings.get("precision", "auto"))
        except musicgen.CheckpointError as error:
            near = difflib.get_close_matches(name, [*PIPELINES, "mousai"], 1)
            raise InputError(f"{error}{f', or {near[0]}?' if near else ''}") from error
        self.name = called or label(name)
        self.batch = batch
        self.settings = {"model": name, **settings, "precision": self.model.precision}

    def generate(self, requests: Sequence[Request]) -> list[Audio]:
        melodies = [request.melody for request in requests]
        waves = self.model.generate(
            [request.prompt for request in requests],
            requests[0].duration,
            seed=[request.seed for request in requests],
            # The whole mix, as on the other side of the chroma metric.
            melody=melodies if any(melodies) else None,
            separate=False,
            options=self._options,
        )
        return [Audio(wave.float().cpu(), self.model.sample_rate) for wave in waves]


class DiffusersSystem:
    """A text-to-audio pipeline of diffusers; Riffusion's draws a spectrogram, which is made to sound as its authors do."""

    batch = 1

    def __init__(self, name: str, pipeline: Pipeline, device: str, settings: Mapping[str, Any]) -> None:
        diffusers: Any = extras.load("diffusers", "evaluation", name)
        self.name, self._pipeline = name, pipeline
        self._device = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        self._arguments = {**pipeline.arguments, **settings}
        self.settings = {"repository": pipeline.repository, "diffusers": diffusers.__version__, **self._arguments}
        try:
            self._model = getattr(diffusers, pipeline.kind).from_pretrained(pipeline.repository).to(self._device)
        except (OSError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise InputError(f"{name}: {pipeline.repository} cannot be loaded ({first})") from error
        self._model.set_progress_bar_config(disable=True)

    def generate(self, requests: Sequence[Request]) -> list[Audio]:
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> Audio:
        if request.melody is not None:
            raise InputError(f"{self.name} takes no melody")
        if request.duration > self._pipeline.longest:
            raise InputError(f"{self.name} makes at most {self._pipeline.longest:g} s, not {request.duration:g}")
        generator = torch.Generator("cpu").manual_seed(request.seed)
        if self._pipeline.kind == "StableDiffusionPipeline":
            return _riffused(self._model, request, generator, self._arguments)
        length = {self._pipeline.length: request.duration}
        wave = self._model(request.prompt, generator=generator, **length, **self._arguments).audios[0]
        return Audio(_channels_first(wave), self._pipeline.rate)


class FolderSystem:
    """Clips that lie in a folder, ID.wav (or .flac, .m4a …) for the suite's item ID."""

    batch = 1

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.settings = name, {"folder": folder.name}
        self._files: dict[str, Path] = {}
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in EXTENSIONS:
                if file.stem in self._files:
                    raise InputError(
                        f"{folder}: {self._files[file.stem].name} and {file.name} are both clip {file.stem}"
                    )
                self._files[file.stem] = file

    def __contains__(self, sample_id: str) -> bool:
        return sample_id in self._files

    def generate(self, requests: Sequence[Request]) -> list[Audio]:
        return [audio.read(self._files[request.id]) for request in requests]


RIFFUSION_WIDTH = 512
"""Columns of a spectrogram, 5.11 s."""
RIFFUSION_RATE, RIFFUSION_FFT, RIFFUSION_WINDOW, RIFFUSION_HOP = 44_100, 17_640, 4410, 441
"""Riffusion's spectrogram: 400-ms transform, 100-ms window, 10-ms hop."""
RIFFUSION_BANDS, RIFFUSION_LOW, RIFFUSION_HIGH = 512, 0.0, 10_000.0
RIFFUSION_LOUDEST, RIFFUSION_POWER = 3e7, 0.25


def _riffused(model: Any, request: Request, generator: torch.Generator, arguments: Mapping[str, Any]) -> Audio:
    """Enough spectrograms for the duration, each 5.11 s, put one behind the other; then the sound."""
    columns = int(np.ceil(request.duration * RIFFUSION_RATE / RIFFUSION_HOP))
    width = -(-columns // 8) * 8
    image = model(request.prompt, generator=generator, height=RIFFUSION_WIDTH, width=width, **arguments).images[0]
    wave = spectrogram_to_audio(np.asarray(image.convert("L")), generator)
    return Audio(wave[:, : round(request.duration * RIFFUSION_RATE)], RIFFUSION_RATE)


def spectrogram_to_audio(image: np.ndarray, generator: torch.Generator) -> torch.Tensor:
    """Grey values [512 bands, columns], high bands on top, dark is loud -> [1, samples] at 44.1 kHz: mel magnitudes to linear
    by least squares, phases by Griffin and Lim (32 rounds), as riffusion.spectrogram_converter does."""
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


Opener = Callable[[], System]
"""Opens a system where it is needed: in this process, or in a worker."""
