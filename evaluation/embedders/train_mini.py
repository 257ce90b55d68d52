"""python -m evaluation.embedders.train_mini CORPUS…: train the network of the `*_mini` metrics on composed corpora.

CORPUS: folders written by `python -m musicgen.training.corpus`, with NAME.flac beside NAME.json. Every composition gives two
crops of 10 s; a tenth of the compositions is held out. The loss is the tagger's cross-entropy (genre, lead instrument) plus
CLAP's symmetric contrastive loss (Radford et al. 2021) between a crop and a random description of its composition. Training
takes about ten minutes on one core.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn
from tqdm import tqdm

from musicgen import audio, commandline
from musicgen.errors import InputError
from musicgen.folders import check_writable_file

from . import mini_network as network

SECONDS = 10
CROPS = 2
BATCH = 64
HELD_OUT = 10
"""Every tenth piece is held out."""
MIN_COUNT = 4
"""Occurrences from which a word is in the vocabulary."""
MAX_WORDS = 6000
"""Size of the vocabulary: the most frequent words."""


@dataclass(frozen=True)
class Crops:
    """n crops.

    Attributes:
        mel: log-mel [n, 80, T], float16.
        genre, lead: class indices [n].
        piece: index of the piece [n].
    """

    mel: torch.Tensor
    genre: torch.Tensor
    lead: torch.Tensor
    piece: torch.Tensor


@dataclass(frozen=True)
class Piece:
    """One piece of a corpus: its audio file, its labels, its captions."""

    file: Path
    genre: str
    lead: str
    descriptions: tuple[str, ...]


def read_pieces(folders: Sequence[Path], limit: int | None) -> list[Piece]:
    """The pieces of corpora, sorted by name, at most `limit` of each folder.

    Raises:
        InputError: there are too few to hold some out.
    """
    pieces = []
    for folder in folders:
        sidecars = sorted(folder.glob("*.json"))[:limit]
        for sidecar in sidecars:
            entry = json.loads(sidecar.read_bytes())
            texts = tuple(entry["descriptions"])
            pieces.append(Piece(sidecar.with_suffix(".flac"), entry["genre"], entry["lead_instrument"], texts))
    if len(pieces) < 2 * HELD_OUT:
        raise InputError(
            f"{', '.join(map(str, folders))}: only {len(pieces)} pieces: at least {2 * HELD_OUT} are needed"
        )
    return pieces


def load_crops(pieces: Sequence[Piece], genres: list[str], leads: list[str]) -> Crops:
    """The crops of pieces, evenly spaced from the beginning to the end; class indices are those in `genres` and `leads`."""
    mels, rows = [], []
    samples = SECONDS * network.RATE
    for number, piece in enumerate(tqdm(pieces, desc="log-mel")):
        wave = audio.read(piece.file, channels=1, rate=network.RATE).wave
        if wave.shape[1] < samples:
            continue
        starts = torch.linspace(0, wave.shape[1] - samples, CROPS).long()
        waves = torch.cat([wave[:, start : start + samples] for start in starts])
        mels.append(network.log_mel(waves).half())
        rows += [(genres.index(piece.genre), leads.index(piece.lead), number)] * CROPS
    genre, lead, piece_number = torch.tensor(rows).T
    return Crops(torch.cat(mels), genre, lead, piece_number)


def vocabulary(pieces: Sequence[Piece]) -> dict[str, int]:
    """Word -> token from 1: the most frequent words and bigrams of the descriptions."""
    counts = Counter(
        word for piece in pieces for text in piece.descriptions for word in set(network.unigrams_and_bigrams(text))
    )
    words = sorted(word for word, count in counts.most_common(MAX_WORDS) if count >= MIN_COUNT)
    return {word: number for number, word in enumerate(words, 1)}


def train(
    crops: Crops, pieces: Sequence[Piece], sizes: tuple[int, int], words: dict[str, int], epochs: int, seed: int
) -> network.Mini:
    """Train a network.

    Args:
        crops: of all pieces; held-out ones are not used.
        pieces: with their descriptions.
        sizes: numbers of genres and of lead instruments.
        words: the vocabulary.
        epochs: passes over the crops.
        seed: of initialisation, order and augmentation.

    Returns:
        The network in evaluation mode.
    """
    torch.manual_seed(seed)
    model = network.Mini(*sizes, len(words))
    rng = torch.Generator().manual_seed(seed)
    training = torch.nonzero(crops.piece % HELD_OUT != 0)[:, 0]
    steps = epochs * (len(training) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    progress = tqdm(total=steps, desc="training")
    for _ in range(epochs):
        order = training[torch.randperm(len(training), generator=rng)]
        for start in range(0, len(order) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            texts = [_choice(pieces[int(number)].descriptions, rng) for number in crops.piece[rows]]
            _, genre, lead, sound = model.encode_audio(_augment(crops.mel[rows].float(), rng))
            text = model.encode_text(network.tokenize(texts, words))
            logits = model.scale.clamp(max=4.0).exp() * sound @ text.T
            same = torch.arange(len(rows))
            loss = (
                nn.functional.cross_entropy(genre, crops.genre[rows], label_smoothing=0.05)
                + nn.functional.cross_entropy(lead, crops.lead[rows], label_smoothing=0.05)
                + (nn.functional.cross_entropy(logits, same) + nn.functional.cross_entropy(logits.T, same)) / 2
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            progress.update()
            progress.set_postfix(loss=f"{loss.item():.2f}")
    return model.eval()


@torch.no_grad()
def accuracy(model: network.Mini, crops: Crops, pieces: Sequence[Piece], words: dict[str, int]) -> dict[str, float]:
    """On the held-out pieces: accuracy of genre and lead; how often a crop is nearer to its own caption than to another
    held-out piece's; and the mean cosine with either."""
    rows = torch.nonzero(crops.piece % HELD_OUT == 0)[:, 0]
    parts = [model.encode_audio(crops.mel[part].float())[1:] for part in rows.split(BATCH)]
    genre, lead, sound = (torch.cat(part) for part in zip(*parts, strict=True))
    texts = [pieces[int(number)].descriptions[0] for number in crops.piece[rows]]
    text = model.encode_text(network.tokenize(texts, words))
    own, other = (sound * text).sum(-1), (sound * text.roll(CROPS, 0)).sum(-1)
    return {
        "crops": float(len(rows)),
        "genre": float((genre.argmax(-1) == crops.genre[rows]).float().mean()),
        "lead": float((lead.argmax(-1) == crops.lead[rows]).float().mean()),
        "own_caption_wins": float((own > other).float().mean()),
        "own_caption": float(own.mean()),
        "other_caption": float(other.mean()),
    }


def _choice(texts: Sequence[str], rng: torch.Generator) -> str:
    return texts[int(torch.randint(len(texts), (1,), generator=rng))]


def _augment(mel: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Augment log-mel [B, 80, T] as codecs and mixers change audio: spectral tilt, noise, a masked band."""
    bands = torch.linspace(-1, 1, network.BANDS)[None, :, None]
    tilt = torch.randn(len(mel), 1, 1, generator=rng) * 0.15 * bands
    noise = torch.randn(mel.shape, generator=rng) * 0.1
    low = torch.randint(0, network.BANDS, (len(mel), 1, 1), generator=rng)
    position = torch.arange(network.BANDS)[None, :, None]
    masked = (position >= low) & (position < low + 6)
    return (mel + tilt + noise).masked_fill(masked, float(mel.mean()))


@commandline.entry()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = commandline.Parser(prog="python -m evaluation.embedders.train_mini", description=__doc__)
    parser.add_argument("corpus", nargs="+", type=Path)
    parser.add_argument("--limit", type=int, help="pieces per folder")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("mini.safetensors"))
    options = parser.parse_args(arguments)
    check_writable_file(options.out)
    pieces = read_pieces(options.corpus, options.limit)
    genres = sorted({piece.genre for piece in pieces})
    leads = sorted({piece.lead for piece in pieces})
    words = vocabulary([piece for number, piece in enumerate(pieces) if number % HELD_OUT])
    crops = load_crops(pieces, genres, leads)
    model = train(crops, pieces, (len(genres), len(leads)), words, options.epochs, options.seed)
    held_out = accuracy(model, crops, pieces, words)
    state = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    metadata = {"genres": genres, "leads": leads, "words": list(words), "held_out": held_out}
    header = {name: json.dumps(value) for name, value in metadata.items()}
    audio.write_bytes(options.out, save(state, header))
    print(json.dumps(held_out, indent=1))


if __name__ == "__main__":
    sys.exit(main())
