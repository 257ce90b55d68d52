"""A trainable EnCodec: the network with a quantiser that learns (Défossez et al. 2022, section 3).

    waves [B, 1, T] --encoder--> latents [B, D, T / hop] --codebooks--> the same shape --decoder--> waves [B, 1, T]

The LSTMs and the last convolutions run in float32 under autocast.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from musicgen.checkpoint.components import audio_tokenizer
from musicgen.checkpoint.tokenizers import save_tokenizer
from musicgen.errors import InputError
from musicgen.tokenizers import EncodecTokenizer
from musicgen.tokenizers.encodec_network import EncodecConfig, EncodecNetwork
from musicgen.training.tokenizer.config import Quantisation, Shape
from musicgen.training.tokenizer.quantiser import ResidualCodebooks
from musicgen.training.tokenizer.weight_initialization import variance_preserving_init


def config_of(shape: Shape) -> EncodecConfig:
    """The network's settings. Not causal and without shortcut convolutions, like MusicGen's own tokeniser."""
    bits = int(math.log2(shape.codebook_size))
    frame_rate = math.ceil(shape.sample_rate / shape.hop)
    config = EncodecConfig(
        sampling_rate=shape.sample_rate,
        audio_channels=1,
        upsampling_ratios=list(shape.ratios),
        num_filters=shape.filters,
        num_residual_layers=shape.residual_layers,
        num_lstm_layers=shape.lstm_layers,
        hidden_size=shape.hidden_size,
        codebook_size=shape.codebook_size,
        codebook_dim=shape.hidden_size,
        target_bandwidths=[shape.codebooks * frame_rate * bits / 1000],  # kbit/s
        use_causal_conv=False,
        use_conv_shortcut=False,
    )
    # The configuration finds K by dividing the bandwidth again, rounding down.
    if config.num_quantizers != shape.codebooks:
        config.target_bandwidths = [math.nextafter(config.target_bandwidths[0], math.inf)]
    return config


class EncodecTrainer(nn.Module):
    """A trainable EnCodec. Its parameters are the network's; the codebooks are buffers."""

    decoder_only = False
    """Encoder and codebooks stay as they are."""
    _initialised = False

    def __init__(self, shape: Shape, quantisation: Quantisation) -> None:
        super().__init__()
        self.quantisation = quantisation
        self.network = EncodecNetwork(config_of(shape))
        variance_preserving_init(self.network)
        self.codebooks = ResidualCodebooks(
            shape.codebooks,
            shape.codebook_size,
            shape.hidden_size,
            decay=quantisation.decay,
            dead_share=quantisation.dead_share,
        )
        self._convolutions = _run

    def start_from(self, model: str, *, decoder_only: bool) -> None:
        """Take the weights and codebooks of a tokeniser.

        Args:
            model: As in the recipe's `start.model`.
            decoder_only: Train the decoder alone.

        Raises:
            CheckpointError: There is no such tokeniser.
            InputError: It is no EnCodec, or of another shape than this network.
        """
        given = audio_tokenizer(model)
        if not isinstance(given, EncodecTokenizer):
            raise InputError(
                f"start.model is {model}, whose tokeniser is not an EnCodec: only those can be trained further"
            )
        theirs, ours = _compared(given.network.config), _compared(self.network.config)
        if differences := [
            f"{name} {theirs[name]}, not {value}" for name, value in ours.items() if theirs[name] != value
        ]:
            raise InputError(f"start.model is {model}, whose tokeniser has {', '.join(differences)}: change shape")
        self.network.load_state_dict(given.network.float().state_dict())
        for k, codebook in enumerate(self.network.quantizer.codebooks):
            self.codebooks.embed[k] = codebook.embed
            self.codebooks.embed_sum[k] = codebook.embed_avg
            self.codebooks.counts[k] = codebook.cluster_size
        self._initialised, self.decoder_only = True, decoder_only
        self.network.encoder.requires_grad_(not decoder_only)

    def compile(self, *args: Any, **options: Any) -> None:
        """torch.compile the convolutions before and after the LSTMs. Takes torch.compile's arguments."""
        self._convolutions = torch.compile(_run, *args, fullgraph=True, dynamic=False, **options)

    def encode(self, waves: torch.Tensor) -> torch.Tensor:
        """[B, 1, T], T whole frames -> float32 latents [B, D, T / hop]."""
        *convolutions, lstm, activation, last = self.network.encoder.layers
        return _last(last, activation(_recur(lstm, self._convolutions(convolutions, waves))))

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents -> float32 waves [B, 1, T]."""
        first, lstm, *convolutions, last = self.network.decoder.layers
        return _last(last, self._convolutions(convolutions, _recur(lstm, first(latents))))

    def forward(
        self, waves: torch.Tensor, generator: torch.Generator, *, quantise: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Waves [B, 1, T] -> reconstruction [B, 1, T], and the weighted commitment loss."""
        if self.decoder_only:
            with torch.no_grad():
                latents = self.encode(waves)
                with torch.autocast(waves.device.type, enabled=False):
                    quantised = self.codebooks(latents)
            return self.decode(quantised.vectors), latents.new_zeros(())
        latents = self.encode(waves)
        if not quantise:
            return self.decode(latents), latents.new_zeros(())
        with torch.autocast(waves.device.type, enabled=False):
            quantised = self.codebooks(latents, generator)
        return self.decode(quantised.vectors), self.quantisation.commitment * quantised.commitment

    @property
    def num_init_vectors(self) -> int:
        """How many latent vectors `initialize_codebooks` needs."""
        return 0 if self._initialised else self.codebooks.embed.shape[1] * self.quantisation.vectors_per_code

    def initialize_codebooks(self, latents: torch.Tensor, generator: torch.Generator) -> None:
        """Initialise the codebooks from latents [M, D]."""
        self.codebooks.initialise(latents, self.quantisation.kmeans_iterations, generator)

    def exported(self) -> EncodecNetwork:
        """A copy with the codebooks in the network's own buffers, on the CPU in float32."""
        model = copy.deepcopy(self.network).cpu().eval()
        for codebook, embed, total, counts in zip(
            model.quantizer.codebooks,
            self.codebooks.embed,
            self.codebooks.embed_sum,
            self.codebooks.counts,
            strict=True,
        ):
            codebook.embed.copy_(embed)
            codebook.embed_avg.copy_(total)
            codebook.cluster_size.copy_(counts)
            codebook.inited.fill_(True)
        return model

    def tokenizer(self) -> EncodecTokenizer:
        """The tokeniser that loading `save`'s folder gives."""
        return EncodecTokenizer(self.exported())

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write the folder that `components.audio_tokenizer` and transformers' `EncodecModel.from_pretrained` load."""
        save_tokenizer(EncodecTokenizer(self.exported().to(dtype)), folder)


def _compared(config: EncodecConfig) -> dict[str, Any]:
    """The settings that two networks must share; of the bandwidths only the resulting number of codebooks."""
    return config.model_dump(exclude={"target_bandwidths"}) | {"num_quantizers": config.num_quantizers}


def _recur(layer: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    with torch.autocast(hidden.device.type, enabled=False):
        return layer(hidden.float())


def _last(layer: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    # Its output is the wave or the latents: bfloat16 would add noise at -50 dB.
    with torch.autocast(hidden.device.type, enabled=False):
        return layer(hidden.float())


def _run(layers: list[nn.Module], hidden: torch.Tensor) -> torch.Tensor:
    """Any layers but LSTMs, in turn."""
    for layer in layers:
        hidden = layer(hidden)
    return hidden
