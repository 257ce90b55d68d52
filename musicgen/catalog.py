"""The models that can be named: the published ones and the embedded ones."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from musicgen.errors import InputError
from musicgen.suggestions import closest, first_few

PRETRAINED = Path(__file__).parent / "pretrained"
"""The embedded checkpoints, a folder each in the transformers layout."""

WEIGHTS_LICENCE = "CC-BY-NC 4.0"
"""Of the published weights: no commercial use."""

_SIZES = {"small": (1024, 24, 16), "medium": (1536, 48, 24), "large": (2048, 48, 32)}
"""Width, layers, heads (paper section 3.1)."""
_T5 = {"t5-base": (768, 109_628_544), "t5-large": (1024, 334_939_648)}
"""Text encoder -> its width and parameters."""
_ENCODEC = {32_000: 58_826_177, 16_000: 58_760_641}
"""Sample rate of a published EnCodec with four codebooks -> its parameters."""
_NUM_CHROMA = 12
_CODEBOOK_SIZE = 2048
_FRAME_RATE = 50
"""Hz, of all published models."""
_MERT_PARAMETERS = 94_371_712
_STYLE_WIDTH = 512
_STYLE_PARAMETERS = (768 + 1) * 512 + 8 * (12 * 512**2 + 4 * 512) + 6 * 1024 * 512
"""Of the layers between MERT and the projection to the language model."""
_STYLE_VECTORS = 23
"""Of the longest excerpt, 4.5 s."""
_MELODY_FRAMES = 235
"""Chroma frames of 30 s."""


_REPOSITORY = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")


class _Capabilities:
    """A description of a model for lists of models."""

    seconds: float
    stereo: bool
    melody: bool
    style: bool
    sounds: bool

    @property
    def follows(self) -> str:
        return "text + melody" if self.melody else ("text + style" if self.style else "text")

    @property
    def makes(self) -> str:
        """Music or sounds, and how much of it in one window."""
        return f"{'sounds' if self.sounds else 'music'}, {self.seconds:g} s"

    @property
    def channels(self) -> str:
        return "stereo" if self.stereo else "mono"


@dataclass(frozen=True)
class Entry(_Capabilities):
    """A published model.

    Attributes:
        name: On the hub.
        size: small, medium or large: that of the language model.
        stereo: Whether it generates two channels.
        melody: Whether it follows a melody.
        style: Whether it follows the style of an excerpt.
        sounds: Whether it generates sounds in place of music: at 16 kHz, described through T5-large.
        masked: Whether it generates in passes over all frames (MAGNeT), which need no cache of keys and values.
        seconds: Context, which is the length of a training segment.
        file: One of its files, by which the cache is searched.
    """

    name: str
    size: str
    stereo: bool = False
    melody: bool = False
    style: bool = False
    sounds: bool = False
    masked: bool = False
    seconds: float = 30.0
    file: str = "config.json"

    @property
    def dim(self) -> int:
        return _SIZES[self.size][0]

    @property
    def num_layers(self) -> int:
        return _SIZES[self.size][1]

    @property
    def num_heads(self) -> int:
        return _SIZES[self.size][2]

    @property
    def num_codebooks(self) -> int:
        return 8 if self.stereo else 4

    @property
    def cross_attention(self) -> bool:
        """Whether the text reaches the language model by cross-attention; a prefix otherwise."""
        return not (self.melody or self.style)

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return 16_000 if self.sounds else 32_000

    @property
    def text_encoder(self) -> str:
        return "t5-large" if self.sounds else "t5-base"

    @property
    def lm_parameters(self) -> int:
        """Weights of the language model and its projections."""
        dim = self.dim
        attention = 4 * dim * dim * (2 if self.cross_attention else 1)
        norms = 2 * dim * (3 if self.cross_attention else 2)
        tables = self.num_codebooks * (_CODEBOOK_SIZE + 1) * dim + self.num_codebooks * _CODEBOOK_SIZE * dim
        projections = (_T5[self.text_encoder][0] + 1) * dim + ((_NUM_CHROMA + 1) * dim if self.melody else 0)
        projections += (_STYLE_WIDTH + 1) * dim if self.style else 0
        return self.num_layers * (attention + 8 * dim * dim + norms) + 2 * dim + tables + projections

    @property
    def beside_bytes(self) -> int:
        """Of the text encoder, the tokeniser and the style's network in float32."""
        style = _MERT_PARAMETERS + _STYLE_PARAMETERS if self.style else 0
        return 4 * (_T5[self.text_encoder][1] + _ENCODEC[self.sample_rate] + style)

    @property
    def download_bytes(self) -> int:
        """In float32: language model, text encoder and tokeniser."""
        return 4 * self.lm_parameters + self.beside_bytes

    def positions(self, max_tokens: int) -> tuple[int, int]:
        """(positions of a clip as long as the context with the longest text, vectors of that text): what a cache holds."""
        prefix = (_MELODY_FRAMES if self.melody else 0) + (_STYLE_VECTORS if self.style else 0) + max_tokens
        steps = round(self.seconds * _FRAME_RATE) + 3  # of the delay pattern; in stereo left and right share theirs
        return steps + (0 if self.cross_attention else prefix), max_tokens


def _entry(name: str) -> Entry:
    melody = "melody" in name
    size = "large" if name.endswith("large") else ("medium" if melody else name.rsplit("-", 1)[1])
    return Entry(name, size, "stereo" in name, melody)


PUBLISHED = (
    *(
        _entry(f"facebook/musicgen-{channels}{kind}")
        for channels in ("", "stereo-")
        for kind in ("small", "medium", "large", "melody", "melody-large")
    ),
    Entry("facebook/musicgen-style", "medium", style=True, file="state_dict.bin"),
    Entry("facebook/audiogen-medium", "medium", sounds=True, seconds=10.0, file="state_dict.bin"),
    *(
        Entry(f"facebook/magnet-{size}-{seconds}secs", size, masked=True, seconds=seconds, file="state_dict.bin")
        for seconds in (10, 30)
        for size in ("small", "medium")
    ),
    *(
        Entry(f"facebook/audio-magnet-{size}", size, sounds=True, masked=True, seconds=10.0, file="state_dict.bin")
        for size in ("small", "medium")
    ),
)


@dataclass(frozen=True)
class Part:
    """A published network that models use and that is no model of its own.

    Attributes:
        name: On the hub.
        file: One of its files, by which the cache is searched.
        use: What it is for.
        licence: Of its weights.
        parameters: Numbers of its weights, None where only the file tells.
    """

    name: str
    file: str
    use: str
    licence: str
    parameters: int | None = None


MERT = Part("m-a-p/MERT-v1-95M", "config.json", "style of facebook/musicgen-style", WEIGHTS_LICENCE, _MERT_PARAMETERS)
MULTI_BAND = Part("facebook/multiband-diffusion", "mbd_musicgen_32khz.th", "decoder mbd", WEIGHTS_LICENCE)
"""Multi-band diffusion for EnCodec at 32 kHz."""
AUDIOSEAL = Part("facebook/audioseal", "generator_base.pth", "--watermark", "MIT")
"""The inaudible mark."""
PARTS = (
    *(
        Part(name, "config.json", "text encoder of models in audiocraft's layout", "Apache 2.0", parameters)
        for name, (_, parameters) in _T5.items()
    ),
    MERT,
    MULTI_BAND,
    AUDIOSEAL,
)
DECODERS = ("codec", "mbd")
"""The decoders of codes to waveforms: the tokeniser's decoder, and multi-band diffusion."""


def check_decoder(name: str) -> str:
    """`name`, if it is a decoder's; raises InputError."""
    if name not in DECODERS:
        raise InputError(f"unknown decoder {name[:20]!r}: one of {', '.join(DECODERS)}")
    return name


@dataclass(frozen=True)
class Embedded(_Capabilities):
    """A model that comes with the package; attributes as of `Entry`.

    Attributes:
        name: Of its folder.
        melody: Whether it follows a melody.
        stereo: Whether it generates two channels.
        seconds: Context.
        lm_parameters: Weights of the language model and its projections.
        bytes: Of its files.
    """

    name: str
    melody: bool
    stereo: bool
    seconds: float
    lm_parameters: int
    bytes: int

    style = sounds = False

    @classmethod
    def of(cls, name: str) -> Embedded:
        """What its files say."""
        from safetensors import safe_open

        folder = PRETRAINED / name
        values = json.loads((folder / "config.json").read_bytes())
        with safe_open(folder / "model.safetensors", "np") as weights:
            sizes = {key: math.prod(weights.get_slice(key).get_shape()) for key in weights.keys()}  # noqa: SIM118
        return cls(
            name,
            melody=values["model_type"] == "musicgen_melody",
            stereo=values["decoder"]["audio_channels"] == 2,
            seconds=values["musicgen"]["max_duration"],
            lm_parameters=sum(
                size for key, size in sizes.items() if not key.startswith(("audio_encoder.", "text_encoder."))
            ),
            bytes=sum(file.stat().st_size for file in folder.iterdir()),
        )


def embedded() -> list[str]:
    """Names of the checkpoints that come with the package."""
    return sorted(folder.parent.name for folder in PRETRAINED.glob("*/config.json"))


def names() -> list[str]:
    """Everything that can be loaded by name."""
    return [*embedded(), *(entry.name for entry in PUBLISHED)]


def is_name(name: str) -> bool:
    """Whether `name` is an embedded model's or can be a hub repository's, OWNER/NAME: what no path is mistaken for."""
    return name in embedded() or (name.count("/") == 1 and is_repository(name))


def is_repository(name: str) -> bool:
    """Whether `name` can be a hub repository's."""
    return _REPOSITORY.fullmatch(name) is not None and ".." not in name


def did_you_mean(name: str) -> str:
    """ " - did you mean X?" for a name that is close to a known one, else the first ones."""
    known = names()
    short = {one.rsplit("/", 1)[-1]: one for one in known} | {
        one.removeprefix("facebook/musicgen-"): one for one in known
    }
    close = closest(name, known, cutoff=0.75)
    if close is None:
        close = short.get(closest(name.rsplit("/", 1)[-1], short) or "")
    return f"did you mean {close!r}?" if close else f"known models: {first_few(known)}"
