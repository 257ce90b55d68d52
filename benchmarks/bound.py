"""A lower bound of the time for a clip: the time to read all bytes that it needs, at the memory bandwidth of a plain read.

Each step reads the weights of the language model, the KV cache of both rows up to that position, and the keys and values of the
text. Each frame reads the recurrent weights of EnCodec's LSTM. The rest of EnCodec's decoder and the text encoder are read
once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from benchmarks.systems import FRAME_RATE, PROMPT, encodec_config, t5_config
from musicgen.conditioners.t5 import T5Config, T5Encoder
from musicgen.engine import memory
from musicgen.lm import LMConfig
from musicgen.tokenizers.encodec_network import EncodecConfig, EncodecNetwork

TEXT_LENGTH = len(PROMPT.split()) + 1
"""Vectors of the prompt, that of its end included (`systems.write_tokenizer`)."""
DELAY_STEPS = 3
"""Steps after those of the frames, of four delayed codebooks; in stereo left and right share theirs."""


@dataclass(frozen=True)
class Reads:
    """Bytes that one clip needs read.

    Attributes:
        weights: Of the language model.
        cache: Keys and values of self-attention.
        text: Keys and values of the text, of the row that has it.
        decoder: Weights of EnCodec's decoder.
        text_encoder: Weights of T5.
    """

    weights: int
    cache: int
    text: int
    decoder: int
    text_encoder: int

    @property
    def total(self) -> int:
        return sum(asdict(self).values())

    def compare(self, seconds: float, bandwidth_gb_s: float) -> dict[str, float | dict[str, float]]:
        """The fields that a result stores for a measured time, besides the bandwidth of a plain read."""
        bound = self.total / (bandwidth_gb_s * 1e9)
        return {
            "bound_seconds": round(bound, 3),
            "times_the_bound": round(seconds / bound, 2),
            "gb_read": {name: round(size / 1e9, 3) for name, size in asdict(self).items()},
        }


def reads(config: LMConfig, precision: str, device: str, duration: float, prefix: int = 0) -> Reads:
    """What a clip with guidance needs read.

    Args:
        config: Shape of the language model.
        precision: Its precision; the other parts are float32.
        device: "cpu", "cuda" or "mps".
        duration: Seconds of music.
        prefix: Positions before the first step.
    """
    place, frames = torch.device(device), round(duration * FRAME_RATE)
    steps, rows = frames + DELAY_STEPS, memory.ROWS_PER_SLOT
    cache = (memory.cache_bytes_read(config, precision, rows, prefix + step + 1, place) for step in range(steps))
    return Reads(
        weights=steps * memory.weight_bytes_read(config, precision, place),
        cache=sum(cache),
        text=steps * memory.text_bytes_read(config, precision, 1, TEXT_LENGTH, place),
        decoder=_decoder_bytes(frames),
        text_encoder=_text_encoder_bytes(),
    )


def _decoder_bytes(frames: int) -> int:
    with torch.device("meta"):
        decoder = EncodecNetwork(EncodecConfig.model_validate(encodec_config().to_dict())).decoder
    sizes = {name: tensor.numel() * 4 for name, tensor in decoder.named_parameters()}
    recurrent = sum(size for name, size in sizes.items() if "weight_hh" in name)
    return sum(sizes.values()) + (frames - 1) * recurrent


def _text_encoder_bytes() -> int:
    with torch.device("meta"):
        encoder = T5Encoder(T5Config.model_validate(t5_config().to_dict()))
    return sum(tensor.numel() * 4 for name, tensor in encoder.named_parameters() if "shared" not in name)
