"""What a tokeniser is trained as: the recipe, frozen, checked once, free of torch.

Defaults are the published 32 kHz EnCodec's where it has a counterpart (Copet et al. 2023, section 3.1; Défossez et al. 2022).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musicgen.errors import InputError
from musicgen.training.recipe import build, number, plain, read, whole

FAMILIES = ("encodec", "dac")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Shape:
    """The network's shape."""

    sample_rate: int = 32_000
    """Hz."""
    ratios: tuple[int, ...] = (8, 5, 4, 4)
    """The decoder's upsampling, in its order; their product is the hop (640 samples: 50 frames a second)."""
    filters: int = 64
    """Channels at the full rate; they double with every stride."""
    hidden_size: int = 128
    """D, the width of the quantised vectors (EnCodec; DAC's is derived)."""
    codebooks: int = 4
    """K."""
    codebook_size: int = 2048
    """N, a power of 2."""
    lstm_layers: int = 2
    """In the encoder and again in the decoder (EnCodec)."""
    residual_layers: int = 1
    """Residual blocks a stride (EnCodec)."""
    decoder_filters: int = 1536
    """Channels of the decoder's first layer; they halve with every stride (DAC)."""
    codebook_dim: int = 8
    """Width of the space in which DAC looks its codes up (DAC)."""

    def __post_init__(self) -> None:
        for name in ("sample_rate", "filters", "hidden_size", "codebooks", "codebook_size"):
            whole(f"shape.{name}", getattr(self, name), low=1)
        for name in ("lstm_layers", "residual_layers", "decoder_filters", "codebook_dim"):
            whole(f"shape.{name}", getattr(self, name), low=1)
        if not self.ratios or any(not isinstance(ratio, int) or ratio < 2 for ratio in self.ratios):
            raise InputError(f"shape.ratios is {list(self.ratios)}: it must be whole numbers, each 2 or more")
        if self.codebook_size & (self.codebook_size - 1):
            raise InputError(f"shape.codebook_size is {self.codebook_size}: transformers' EnCodec needs a power of 2")

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return math.prod(self.ratios)


@dataclass(frozen=True)
class Data:
    """Which audio, and how it is cut."""

    path: str = ""
    """A folder of audio, or a manifest.jsonl whose lines hold the field "path" (relative to the manifest)."""
    crop_seconds: float = 1.0
    """Length of a training example, rounded to whole frames."""
    max_gigabytes: float = 16.0
    """Of audio held in memory (int16). Files beyond it are left out, and the log names their number."""
    gain_db: float = 6.0
    """Every crop is turned down by a random gain between 0 and this many dB."""
    validation_files: int = 8
    """Held out, drawn with the seed; at most a quarter of all files."""
    validation_seconds: float = 10.0
    """From the middle of every file held out."""

    def __post_init__(self) -> None:
        number("data.crop_seconds", self.crop_seconds, low=0.1, high=60.0)
        number("data.max_gigabytes", self.max_gigabytes, low=1e-3, high=1e4)
        number("data.gain_db", self.gain_db, low=0.0, high=60.0)
        whole("data.validation_files", self.validation_files, low=1)
        number("data.validation_seconds", self.validation_seconds, low=1.0, high=600.0)


@dataclass(frozen=True)
class Quantisation:
    """How EnCodec's codebooks are learnt (Défossez et al. 2022, section 3.2)."""

    decay: float = 0.99
    """Of the moving averages that are the codebooks."""
    kmeans_iterations: int = 20
    vectors_per_code: int = 8
    """Vectors gathered for the first k-means, for each entry of a codebook."""
    dead_share: float = 0.05
    """An entry chosen less often than this share of the mean is replaced by a vector of the batch."""
    commitment: float = 0.02
    """Weight of the commitment loss beside the balanced losses, whose gradients sum to length 1 a crop. EnCodec: from 0.1 on
    the latents shrink together and few codes remain in use. DAC: of both its quantiser losses; it wants 1, far below that
    the codebooks do not keep up with the latents."""
    start_step: int = 0
    """The network trains without quantisation until here; then k-means sets the codebooks on what it learnt."""

    def __post_init__(self) -> None:
        number("quantisation.decay", self.decay, low=0.0, high=0.99999)
        whole("quantisation.kmeans_iterations", self.kmeans_iterations, low=0)
        whole("quantisation.vectors_per_code", self.vectors_per_code, low=1)
        number("quantisation.dead_share", self.dead_share, low=0.0, high=0.99)
        number("quantisation.commitment", self.commitment, low=0.0, high=1e6)
        whole("quantisation.start_step", self.start_step, low=0)


@dataclass(frozen=True)
class Losses:
    """Shares of the gradient at the waveform (the balancer of Défossez et al. 2022, section 3.4)."""

    wave: float = 0.5
    """L1 between the waveforms: the only loss that hears phase. Five times EnCodec's share: pitches settle much sooner."""
    mel: float = 1.0
    """L1 between log-mel spectrograms, over all windows."""
    stft: float = 1.0
    """Spectral convergence and L1 of log magnitudes, over all windows (Yamamoto et al. 2020)."""
    adversarial: float = 3.0
    """Hinge loss, when a discriminator is on."""
    features: float = 3.0
    """L1 between the discriminator's activations, when it is on."""
    windows: tuple[int, ...] = (128, 256, 512, 1024, 2048, 4096)
    """Samples; the hop is a quarter, and a mel spectrogram has one band for 16 samples."""

    def __post_init__(self) -> None:
        for name in ("wave", "mel", "stft", "adversarial", "features"):
            number(f"losses.{name}", getattr(self, name), low=0.0, high=1e6)
        if self.wave + self.mel + self.stft == 0:
            raise InputError("losses.wave, mel and stft are all 0: nothing would be learnt")
        if not self.windows or any(not isinstance(window, int) or window < 64 for window in self.windows):
            raise InputError(f"losses.windows is {list(self.windows)}: it must be whole numbers, each 64 or more")


@dataclass(frozen=True)
class Adversarial:
    """The discriminator (Défossez et al. 2022, section 3.4). Leave the section out to train without."""

    start_step: int = 0
    filters: int = 32
    windows: tuple[int, ...] = (2048, 1024, 512, 256, 128)
    """Samples; one network each."""
    learning_rate: float = 3e-4

    def __post_init__(self) -> None:
        whole("adversarial.start_step", self.start_step, low=0)
        whole("adversarial.filters", self.filters, low=1)
        number("adversarial.learning_rate", self.learning_rate, low=0.0, high=1.0)
        if not self.windows or any(not isinstance(window, int) or window < 64 for window in self.windows):
            raise InputError(f"adversarial.windows is {list(self.windows)}: it must be whole numbers, each 64 or more")


@dataclass(frozen=True)
class Optimisation:
    """Steps, time and the optimiser (AdamW)."""

    steps: int = 100_000
    max_seconds: float | None = None
    """Training ends here at the latest, loading and validation counted in, and exports as if all steps were done. The
    learning rate then follows the larger share of steps or seconds, so a run cut by time still ends at the low rate."""
    batch: int = 64
    """Crops a step."""
    learning_rate: float = 3e-4
    """The peak: reached after `warmup` steps, then a cosine down to a hundredth."""
    warmup: int = 200
    """Steps."""
    betas: tuple[float, float] = (0.5, 0.9)
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of the network's gradient; 0 leaves it alone."""
    average: float = 0.999
    """Decay of the moving average of the weights, which is what is validated and exported; 0 takes the weights."""
    precision: str = "float32"
    """float32, or bfloat16: autocast of the convolutions; losses, LSTM, codebooks and last layer stay float32."""
    compile: bool = False
    """torch.compile for the convolutions: a minute at the start."""
    log_every: int = 50
    """Steps between two readings of the losses: the only points where the host waits for the device."""
    validate_every: int = 1000
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "log_every", "validate_every", "checkpoint_every"):
            whole(f"optimisation.{name}", getattr(self, name), low=1)
        whole("optimisation.warmup", self.warmup, low=0)
        if self.max_seconds is not None:
            number("optimisation.max_seconds", self.max_seconds, low=1.0, high=1e8)
        number("optimisation.learning_rate", self.learning_rate, low=0.0, high=1.0)
        number("optimisation.weight_decay", self.weight_decay, low=0.0, high=1.0)
        number("optimisation.clip", self.clip, low=0.0, high=1e9)
        number("optimisation.average", self.average, low=0.0, high=0.999999)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"optimisation.betas is {list(self.betas)}: it must be two numbers from 0 to below 1")
        if self.precision not in PRECISIONS:
            raise InputError(f"optimisation.precision is {self.precision!r}: one of {', '.join(PRECISIONS)}")


@dataclass(frozen=True)
class TokenizerRecipe:
    """All of a training run. The same recipe, audio and device give the same tokeniser."""

    family: str = "encodec"
    """encodec or dac."""
    shape: Shape = field(default_factory=Shape)
    data: Data = field(default_factory=Data)
    quantisation: Quantisation = field(default_factory=Quantisation)
    losses: Losses = field(default_factory=Losses)
    adversarial: Adversarial | None = None
    optimisation: Optimisation = field(default_factory=Optimisation)
    seed: int = 0
    export: str = "float32"
    """How the weights are stored in the end: float32 or float16."""

    def __post_init__(self) -> None:
        if self.export not in ("float32", "float16"):
            raise InputError(f"export is {self.export!r}: float32 or float16")
        if self.family not in FAMILIES:
            raise InputError(f"family is {self.family!r}: one of {', '.join(FAMILIES)}")
        whole("seed", self.seed, low=0)
        if self.quantisation.start_step >= self.optimisation.steps:
            raise InputError(
                f"quantisation.start_step is {self.quantisation.start_step} of {self.optimisation.steps} steps: "
                "the codebooks would never begin to learn"
            )
        if max(self.losses.windows) // 2 >= self.crop_samples:
            raise InputError(
                f"losses.windows goes up to {max(self.losses.windows)} samples: a crop of {self.crop_samples} is too short"
            )

    @property
    def crop_samples(self) -> int:
        """Samples of a training example: whole frames."""
        frames = max(1, round(self.data.crop_seconds * self.shape.sample_rate / self.shape.hop))
        return frames * self.shape.hop

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for YAML and checkpoints."""
        return {"kind": "tokenizer"} | plain(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TokenizerRecipe:
        """The inverse of `as_dict`; what is left out keeps its default. An unknown name is an error."""
        values = dict(values)
        if values.pop("kind", "tokenizer") != "tokenizer":
            raise InputError("this recipe is of another kind: a tokeniser's says `kind: tokenizer`")
        return build(cls, values)

    @classmethod
    def read(cls, path: Path) -> TokenizerRecipe:
        """From a YAML file."""
        return cls.from_dict(read(path))
