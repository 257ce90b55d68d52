"""Decoders: codes -> waveforms. The tokeniser's own, and multi-band diffusion beside it."""

from musicgen.decoders.base import CodecDecoder, Decoder, NoAudio
from musicgen.decoders.multiband import MultiBandDiffusion

__all__ = ["CodecDecoder", "Decoder", "MultiBandDiffusion", "NoAudio"]
