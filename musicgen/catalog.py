"""The models that can be named: the published ones and the embedded ones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from musicgen.suggestions import closest

PRETRAINED = Path(__file__).parent / "pretrained"
"""The embedded checkpoints, a folder each in the transformers layout."""

WEIGHTS_LICENCE = "CC-BY-NC 4.0"
"""Of the published weights: no commercial use."""

_SIZES = {"small": (1024, 24, 16), "medium": (1536, 48, 24), "large": (2048, 48, 32)}
"""Width, layers, heads (paper section 3.1)."""
_T5_BASE_PARAMETERS = 109_628_544
_ENCODEC_32KHZ_PARAMETERS = 58_826_177
BESIDE_BYTES = 4 * (_T5_BASE_PARAMETERS + _ENCODEC_32KHZ_PARAMETERS)
"""Of a published model's text encoder and tokeniser in float32."""
_T5_WIDTH = 768
_NUM_CHROMA = 12
_CODEBOOK_SIZE = 2048
_STEPS = 1503
"""Of the delay pattern for a training segment of 30 s, 1500 frames; in stereo left and right share theirs."""
_MELODY_FRAMES = 235
"""Chroma frames of the same."""


_REPOSITORY = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")


@dataclass(frozen=True)
class Entry:
    """A published model."""

    name: str
    size: str
    stereo: bool
    melody: bool

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
    def lm_parameters(self) -> int:
        """Weights of the language model and its projections."""
        dim = self.dim
        attention = 4 * dim * dim * (1 if self.melody else 2)
        norms = 2 * dim * (2 if self.melody else 3)
        tables = self.num_codebooks * (_CODEBOOK_SIZE + 1) * dim + self.num_codebooks * _CODEBOOK_SIZE * dim
        projections = (_T5_WIDTH + 1) * dim + ((_NUM_CHROMA + 1) * dim if self.melody else 0)
        return self.num_layers * (attention + 8 * dim * dim + norms) + 2 * dim + tables + projections

    @property
    def download_bytes(self) -> int:
        """Of the transformers layout in float32: language model, T5 and EnCodec."""
        return 4 * self.lm_parameters + BESIDE_BYTES

    def positions(self, max_tokens: int) -> tuple[int, int]:
        """(positions of a clip of 30 s with the longest text, vectors of that text): what a cache holds for it."""
        prefix = _MELODY_FRAMES + max_tokens if self.melody else 0
        return prefix + _STEPS, max_tokens

    @property
    def follows(self) -> str:
        return "text + melody" if self.melody else "text"

    @property
    def channels(self) -> str:
        return "stereo" if self.stereo else "mono"


def _entry(name: str) -> Entry:
    melody = "melody" in name
    size = "large" if name.endswith("large") else ("medium" if melody else name.rsplit("-", 1)[1])
    return Entry(name, size, "stereo" in name, melody)


PUBLISHED = tuple(
    _entry(f"facebook/musicgen-{channels}{kind}")
    for channels in ("", "stereo-")
    for kind in ("small", "medium", "large", "melody", "melody-large")
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
    """ " - did you mean X?" for a name that is close to a known one, else a list of all."""
    known = names()
    short = {one.rsplit("/", 1)[-1]: one for one in known} | {
        one.removeprefix("facebook/musicgen-"): one for one in known
    }
    close = closest(name, known, cutoff=0.75)
    if close is None:
        close = short.get(closest(name.rsplit("/", 1)[-1], short) or "")
    return f"did you mean {close!r}?" if close else f"known models: {', '.join(known)}"
