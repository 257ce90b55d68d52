"""python -m evaluation.embedders.train_mini CORPUS…: the small networks of the `*_mini` metrics, from composed corpora.

CORPUS: folders that `python -m musicgen.training.corpus` filled: NAME.flac beside NAME.json. Every piece gives two
crops of 10 s; a tenth of the pieces is held out. The loss is the tagger's cross-entropy (genre, lead instrument) plus
CLAP's symmetric one (Radford et al. 2021) between a crop and a description of its piece drawn anew each time. A few
minutes on one core.
"""

from __future__ import annotations

import argparse
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

from . import mini_network as network

SECONDS = 10
CROPS = 2
BATCH = 64
HELD_OUT = 10
"""Every tenth piece is held out."""
RAREST = 4
"""Occurrences that make a word part of the vocabulary."""
WORDS = 6000
"""At most, the most frequent."""


@dataclass(frozen=True)
class Heard:
    """Crops. mel: [n, 80, T] half precision; genre, lead: class numbers [n]; piece: number of the piece [n]."""

    mel: torch.Tensor
    genre: torch.Tensor
    lead: torch.Tensor
    piece: torch.Tensor


@dataclass(frozen=True)
class Facts:
    """Of one piece."""

    file: Path
    genre: str
    lead: str
    descriptions: tuple[str, ...]


def facts(folders: Sequence[Path], limit: int | None) -> list[Facts]:
    """All pieces, by name; `limit` a folder."""
    found = []
    for folder in folders:
        sidecars = sorted(folder.glob("*.json"))[:limit]
        for sidecar in sidecars:
            entry = json.loads(sidecar.read_text())
            texts = tuple(entry["descriptions"])
            found.append(Facts(sidecar.with_suffix(".flac"), entry["genre"], entry["lead_instrument"], texts))
    if len(found) < 2 * HELD_OUT:
        raise InputError(
            f"{', '.join(map(str, folders))}: only {len(found)} pieces: at least {2 * HELD_OUT} are needed"
        )
    return found


def hear(pieces: Sequence[Facts], genres: list[str], leads: list[str]) -> Heard:
    """Log-mel of the crops: a piece's beginning and its middle."""
    mels, rows = [], []
    samples = SECONDS * network.RATE
    for number, piece in enumerate(tqdm(pieces, desc="listening")):
        wave = audio.read(piece.file, channels=1, rate=network.RATE).wave
        if wave.shape[1] < samples:
            continue
        starts = torch.linspace(0, wave.shape[1] - samples, CROPS).long()
        crops = torch.cat([wave[:, start : start + samples] for start in starts])
        mels.append(network.log_mel(crops).half())
        rows += [(genres.index(piece.genre), leads.index(piece.lead), number)] * CROPS
    genre, lead, piece_number = torch.tensor(rows).T
    return Heard(torch.cat(mels), genre, lead, piece_number)


def vocabulary(pieces: Sequence[Facts]) -> dict[str, int]:
    """word -> number from 1, the most frequent words and pairs of the descriptions."""
    seen = Counter(word for piece in pieces for text in piece.descriptions for word in set(network.words_of(text)))
    kept = sorted(word for word, count in seen.most_common(WORDS) if count >= RAREST)
    return {word: number for number, word in enumerate(kept, 1)}


def train(
    heard: Heard, pieces: Sequence[Facts], sizes: tuple[int, int], words: dict[str, int], epochs: int, seed: int
) -> network.Mini:
    """A network in evaluation mode."""
    torch.manual_seed(seed)
    model = network.Mini(*sizes, len(words))
    rng = torch.Generator().manual_seed(seed)
    chosen = torch.nonzero(heard.piece % HELD_OUT != 0)[:, 0]
    steps = epochs * (len(chosen) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    progress = tqdm(total=steps, desc="learning")
    for _ in range(epochs):
        order = chosen[torch.randperm(len(chosen), generator=rng)]
        for start in range(0, len(order) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            texts = [_drawn(pieces[int(number)].descriptions, rng) for number in heard.piece[rows]]
            _, genre, lead, sound = model.hear(_blurred(heard.mel[rows].float(), rng))
            text = model.read(network.tokens(texts, words))
            logits = model.scale.clamp(max=4.0).exp() * sound @ text.T
            same = torch.arange(len(rows))
            loss = (
                nn.functional.cross_entropy(genre, heard.genre[rows], label_smoothing=0.05)
                + nn.functional.cross_entropy(lead, heard.lead[rows], label_smoothing=0.05)
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
def accuracy(model: network.Mini, heard: Heard, pieces: Sequence[Facts], words: dict[str, int]) -> dict[str, float]:
    """On the held-out pieces: shares of right genres and leads; and how often a crop is nearer to its own text than to
    another held-out piece's."""
    rows = torch.nonzero(heard.piece % HELD_OUT == 0)[:, 0]
    parts = [model.hear(heard.mel[part].float())[1:] for part in rows.split(BATCH)]
    genre, lead, sound = (torch.cat(part) for part in zip(*parts, strict=True))
    texts = [pieces[int(number)].descriptions[0] for number in heard.piece[rows]]
    text = model.read(network.tokens(texts, words))
    own, other = (sound * text).sum(-1), (sound * text.roll(CROPS, 0)).sum(-1)
    return {
        "crops": float(len(rows)),
        "genre": float((genre.argmax(-1) == heard.genre[rows]).float().mean()),
        "lead": float((lead.argmax(-1) == heard.lead[rows]).float().mean()),
        "own_caption_wins": float((own > other).float().mean()),
        "own_caption": float(own.mean()),
        "other_caption": float(other.mean()),
    }


def _drawn(texts: Sequence[str], rng: torch.Generator) -> str:
    return texts[int(torch.randint(len(texts), (1,), generator=rng))]


def _blurred(mel: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """What a codec or a mixer does to log-mel [B, 80, T]: another tilt, noise, a hidden band."""
    bands = torch.linspace(-1, 1, network.BANDS)[None, :, None]
    tilt = torch.randn(len(mel), 1, 1, generator=rng) * 0.15 * bands
    noise = torch.randn(mel.shape, generator=rng) * 0.1
    low = torch.randint(0, network.BANDS, (len(mel), 1, 1), generator=rng)
    position = torch.arange(network.BANDS)[None, :, None]
    hidden = (position >= low) & (position < low + 6)
    return (mel + tilt + noise).masked_fill(hidden, float(mel.mean()))


@commandline.entry()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m evaluation.embedders.train_mini", description=__doc__)
    parser.add_argument("corpus", nargs="+", type=Path)
    parser.add_argument("--limit", type=int, help="pieces a folder")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("mini.safetensors"))
    options = parser.parse_args(arguments)
    pieces = facts(options.corpus, options.limit)
    genres = sorted({piece.genre for piece in pieces})
    leads = sorted({piece.lead for piece in pieces})
    words = vocabulary([piece for number, piece in enumerate(pieces) if number % HELD_OUT])
    heard = hear(pieces, genres, leads)
    model = train(heard, pieces, (len(genres), len(leads)), words, options.epochs, options.seed)
    held_out = accuracy(model, heard, pieces, words)
    state = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    described = {"genres": genres, "leads": leads, "words": list(words), "held_out": held_out}
    metadata = {name: json.dumps(value) for name, value in described.items()}
    audio.write_bytes(options.out, save(state, metadata))
    print(json.dumps(held_out, indent=1))


if __name__ == "__main__":
    sys.exit(main())
