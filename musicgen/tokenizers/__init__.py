"""Audio tokenisers: waveform [B, C, samples] <-> codes [B, K, T frames].

EnCodec (the published models), DAC (paper table A.3), and the stereo pair of a mono tokeniser.
"""

from musicgen.tokenizers.base import StreamDecoder, Tokenizer, frame_rate, frames_of
from musicgen.tokenizers.dac import DacTokenizer
from musicgen.tokenizers.encodec import EncodecTokenizer
from musicgen.tokenizers.registry import find, register
from musicgen.tokenizers.stereo import StereoTokenizer

__all__ = [
    "DacTokenizer",
    "EncodecTokenizer",
    "StereoTokenizer",
    "StreamDecoder",
    "Tokenizer",
    "find",
    "frame_rate",
    "frames_of",
    "register",
]
