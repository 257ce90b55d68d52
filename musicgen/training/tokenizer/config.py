"""The recipe of an audio tokeniser: every setting with its type, limits and documentation. Does not import PyTorch.

Defaults are the published 32 kHz EnCodec's where it has a counterpart (Copet et al. 2023, section 3.1; Défossez et al. 2022).
"""

from __future__ import annotations

import math
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from musicgen.errors import InputError
from musicgen.training.recipe import read
from musicgen.training.schema import (
    STRICT,
    Flag,
    NonNegativeInt,
    Number,
    PositiveInt,
    between,
    build,
    plain,
)

Beta = Annotated[Number, Field(ge=0, lt=1)]
Weight = Annotated[Number, between(0.0, 1e6)]
Windows = Annotated[tuple[Annotated[PositiveInt, Field(ge=64)], ...], Field(min_length=1)]


@dataclass(frozen=True, config=STRICT)
class Initialization:
    """Initial weights: new ones, or those of an EnCodec tokeniser to train further."""

    model: str = ""
    """A tokeniser, or a model whose tokeniser is used: embedded name, hub name or folder, with the shape of `shape`. Empty:
    new weights."""
    decoder_only: Flag = False
    """Train only the decoder: the codes of any audio stay the same, so language models trained on them can be used with the new
    decoder."""

    def __post_init__(self) -> None:
        if self.decoder_only and not self.model:
            raise InputError(
                "start.decoder_only trains the decoder for codes that exist: name their tokeniser in start.model"
            )


@dataclass(frozen=True, config=STRICT)
class Shape:
    """The network's shape."""

    sample_rate: PositiveInt = 32_000
    """Hz."""
    ratios: Annotated[tuple[Annotated[PositiveInt, Field(ge=2)], ...], Field(min_length=1)] = (8, 5, 4, 4)
    """The decoder's upsampling, in its order; their product is the hop (640 samples: 50 frames a second)."""
    filters: PositiveInt = 64
    """Channels at the full sample rate; doubled at every stride."""
    hidden_size: PositiveInt = 128
    """D, the width of the quantised vectors (EnCodec; DAC's is derived)."""
    codebooks: PositiveInt = 4
    """K."""
    codebook_size: PositiveInt = 2048
    """N, a power of 2."""
    lstm_layers: PositiveInt = 2
    """In the encoder and again in the decoder (EnCodec)."""
    residual_layers: PositiveInt = 1
    """Residual blocks a stride (EnCodec)."""
    decoder_filters: PositiveInt = 1536
    """Channels of the decoder's first layer; halved at every stride (DAC)."""
    codebook_dim: PositiveInt = 8
    """Width of the space in which codes are looked up (DAC)."""

    def __post_init__(self) -> None:
        if self.codebook_size & (self.codebook_size - 1):
            raise InputError(f"shape.codebook_size is {self.codebook_size}: transformers' EnCodec needs a power of 2")

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return math.prod(self.ratios)


@dataclass(frozen=True, config=STRICT)
class Data:
    """The audio and its crops."""

    path: str = ""
    """A folder of audio, or a manifest.jsonl with the field "path" on every line (relative to the manifest)."""
    crop_seconds: Annotated[Number, between(0.1, 60.0)] = 1.0
    """Length of a training example, rounded to whole frames."""
    max_gigabytes: Annotated[Number, between(1e-3, 1e4)] = 16.0
    """Limit of the audio in memory (int16). Files beyond it are skipped; their number is logged."""
    gain_db: Annotated[Number, between(0.0, 60.0)] = 6.0
    """Every crop is attenuated by a random gain from 0 to this many dB."""
    validation_files: PositiveInt = 8
    """Files held out, chosen by the seed; at most a quarter of all."""
    validation_seconds: Annotated[Number, between(1.0, 600.0)] = 10.0
    """From the middle of every file held out."""


@dataclass(frozen=True, config=STRICT)
class Quantisation:
    """How EnCodec's codebooks are updated (Défossez et al. 2022, section 3.2)."""

    decay: Annotated[Number, between(0.0, 0.99999)] = 0.99
    """Decay of the moving averages of the codebooks."""
    kmeans_iterations: NonNegativeInt = 20
    vectors_per_code: PositiveInt = 8
    """Vectors for the initial k-means, for each entry of a codebook."""
    dead_share: Annotated[Number, between(0.0, 0.99)] = 0.05
    """An entry used less often than this share of the mean is replaced by a vector of the batch."""
    commitment: Weight = 0.02
    """Weight of the commitment loss beside the balanced losses, whose gradients sum to length 1 a crop. EnCodec: from 0.1 on
    the latents shrink together and few codes remain in use. DAC: of both its quantiser losses; it wants 1, far below that
    the codebooks do not keep up with the latents."""
    start_step: NonNegativeInt = 0
    """The network is trained without quantisation up to this step; then k-means initialises the codebooks."""


@dataclass(frozen=True, config=STRICT)
class Losses:
    """Weights of the loss balancer: shares of the gradient at the waveform (Défossez et al. 2022, section 3.4)."""

    wave: Weight = 0.5
    """L1 between waveforms, the only loss that depends on phase. Five times EnCodec's share: pitch is learnt much sooner."""
    mel: Weight = 1.0
    """L1 between log-mel spectrograms, over all windows."""
    stft: Weight = 1.0
    """Spectral convergence and L1 of log magnitudes, over all windows (Yamamoto et al. 2020)."""
    adversarial: Weight = 3.0
    """Hinge loss, with a discriminator."""
    features: Weight = 3.0
    """L1 between the discriminator's activations (feature matching)."""
    windows: Windows = (128, 256, 512, 1024, 2048, 4096)
    """Samples; the hop is a quarter, and a mel spectrogram has one band for 16 samples."""

    def __post_init__(self) -> None:
        if self.wave + self.mel + self.stft == 0:
            raise InputError("losses.wave, mel and stft are all 0: nothing would be learnt")


@dataclass(frozen=True, config=STRICT)
class Adversarial:
    """The discriminator (Défossez et al. 2022, section 3.4). Without this section there is none."""

    start_step: NonNegativeInt = 0
    filters: PositiveInt = 32
    windows: Windows = (2048, 1024, 512, 256, 128)
    """Samples; one network each."""
    learning_rate: Annotated[Number, between(0.0, 1.0)] = 3e-4


@dataclass(frozen=True, config=STRICT)
class Optimisation:
    """Steps, time and the optimiser (AdamW)."""

    steps: PositiveInt = 100_000
    max_seconds: Annotated[Number, between(1.0, 1e8)] | None = None
    """Time limit, including loading and validation, after which the model is exported as if all steps were done. The learning
    rate schedule follows the larger share of steps or seconds, so a run that ends by time still ends at the low rate."""
    batch: PositiveInt = 64
    """Crops per step."""
    learning_rate: Annotated[Number, between(0.0, 1.0)] = 3e-4
    """The peak: reached after `warmup` steps, then a cosine down to a hundredth."""
    warmup: NonNegativeInt = 200
    """Steps."""
    betas: tuple[Beta, Beta] = (0.5, 0.9)
    weight_decay: Annotated[Number, between(0.0, 1.0)] = 0.0
    clip: Annotated[Number, between(0.0, 1e9)] = 1.0
    """Largest norm of the network's gradient; 0 for no clipping."""
    average: Annotated[Number, between(0.0, 0.999999)] = 0.999
    """Decay of the moving average of the weights (EMA), which is validated and exported; 0 disables it."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """float32, or bfloat16: autocast of the convolutions; losses, LSTM, codebooks and last layer stay float32."""
    compile: Flag = False
    """torch.compile for the convolutions: a minute at the start."""
    log_every: PositiveInt = 50
    """Steps between two readings of the losses, the only points where the host synchronises with the device."""
    validate_every: PositiveInt = 1000
    checkpoint_every: PositiveInt = 1000


@dataclass(frozen=True, config=STRICT)
class TokenizerRecipe:
    """All of a training run. The same recipe, audio and device give the same tokeniser."""

    family: Literal["encodec", "dac"] = "encodec"
    start: Initialization = field(default_factory=Initialization)
    shape: Shape = field(default_factory=Shape)
    data: Data = field(default_factory=Data)
    quantisation: Quantisation = field(default_factory=Quantisation)
    losses: Losses = field(default_factory=Losses)
    adversarial: Adversarial | None = None
    optimisation: Optimisation = field(default_factory=Optimisation)
    seed: NonNegativeInt = 0
    export: Literal["float32", "float16"] = "float32"
    """Type of the exported weights."""

    def __post_init__(self) -> None:
        if self.start.model and self.family != "encodec":
            raise InputError(
                f"start.model is for the encodec family: a tokeniser of family {self.family} starts from new weights"
            )
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
