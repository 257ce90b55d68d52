"""The data loader: token shards -> batches of random crops, deterministic for any number of processes and from any step on.

The shards are distributed over `lanes` independent streams. A lane shuffles its shards, and the clips of each shard, with a
generator seeded by the recipe's seed and the epoch; row i of every batch is the next clip of lane i modulo `lanes`. So the
batch of a step is a function of the recipe and the step: a resumed run needs only the step, and a process reads only its own
lanes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import torch

from musicgen import chroma
from musicgen.errors import InputError
from musicgen.fill_in_the_middle import SEPARATOR, arranged
from musicgen.training.lm.auxiliary_losses import REGISTRY
from musicgen.training.lm.caption_augmentation import augment_caption, pick_description
from musicgen.training.lm.clap_windows import of_crop
from musicgen.training.lm.config import LMRecipe, NewConditioner
from musicgen.training.lm.shards import Index, Sample, iterate, read_shard

_FULL = 0.75
"""Share of the examples of fill-in-the-middle that are as long as the context."""
_SHORTEST = 5
"""The shortest of the others is this part of the context."""

Melody = Literal["none", "strongest", "chords"]
"""The melody of a row: none, the strongest pitch class of each frame, or the pitch classes of its chord."""


@dataclass(frozen=True)
class Batch:
    """One step's examples of one process.

    Attributes:
        codes: int64 [B, K, T], 0 at padding, -1 at the separators of fill-in-the-middle.
        lengths: int64 [B], frames of each row that are not padding.
        texts: B descriptions, "" for none.
        melody: uint8 [B, chroma frames, 12], ones at the pitch classes of every frame, zeros in rows without melody; None for
            models without melody.
        auxiliary_targets: name of an auxiliary loss -> float32 [B, T, width].
        conditions: name of a further conditioner -> its value in the metadata of each row, None in rows without.
        starts: seconds of each row's crop in its clip.
        embeddings: float32 [B, D], CLAP's of each crop's audio, zeros in rows without; None for models without CLAP.
    """

    codes: torch.Tensor
    lengths: torch.Tensor
    texts: list[str]
    melody: torch.Tensor | None
    auxiliary_targets: dict[str, torch.Tensor] = field(default_factory=dict)
    conditions: dict[str, list[Any]] = field(default_factory=dict)
    starts: list[float] = field(default_factory=list)
    embeddings: torch.Tensor | None = None

    def split(self, size: int) -> list[Batch]:
        """Micro-batches of at most `size` rows."""
        rows = range(0, len(self.texts), size)
        return [
            Batch(
                self.codes[i : i + size],
                self.lengths[i : i + size],
                self.texts[i : i + size],
                None if self.melody is None else self.melody[i : i + size],
                {name: targets[i : i + size] for name, targets in self.auxiliary_targets.items()},
                {name: values[i : i + size] for name, values in self.conditions.items()},
                self.starts[i : i + size],
                None if self.embeddings is None else self.embeddings[i : i + size],
            )
            for i in rows
        ]


@dataclass(frozen=True)
class Row:
    """A row of a batch. codes: [K, up to T]; melody: [chroma frames, 12]; auxiliary_targets: name -> [T, width]; conditions:
    name -> value; start: seconds of the crop in its clip; embedding: [D], CLAP's, zeros for none; None without CLAP."""

    codes: np.ndarray
    text: str
    melody: np.ndarray
    auxiliary_targets: dict[str, np.ndarray]
    conditions: dict[str, Any]
    start: float
    embedding: np.ndarray | None = None


class Cropper:
    """Crops clips and chooses their conditions: clips -> rows of a batch."""

    def __init__(
        self,
        recipe: LMRecipe,
        rate: Fraction,
        seconds: float,
        melody_frames: int,
        conditions: Iterable[str] = (),
        window: float = 0.0,
    ) -> None:
        """melody_frames: chroma frames of the model's context, 0 for models without melody; conditions: the names of further
        conditioners; window: seconds of music behind an embedding of CLAP, 0 for models without CLAP."""
        self.recipe = recipe
        self.frames = max(1, round(Fraction(str(seconds)) * rate))
        self.rate = rate
        self.melody_frames = melody_frames
        self.window = window
        self._conditions = {name: recipe.conditioners.get(name, NewConditioner(name)) for name in conditions}
        self._step = Fraction(chroma.HOP, chroma.SAMPLE_RATE) * rate
        """Token frames between two chroma frames."""

    def training(self, sample: Sample, random: np.random.Generator) -> Row:
        """A random crop with its text and melody, after caption augmentation and condition dropout."""
        start = self._start(sample, random)
        text = augment_caption(self._described(sample), self.recipe.text, random)
        drop_all = random.random() < self.recipe.dropout.all
        drop_melody = random.random() < self.recipe.dropout.melody
        kept = [name for name, new in self._conditions.items() if random.random() >= new.dropout]
        # Drawn last and only where it is asked for, so that other recipes get the batches that they always got.
        chords = self.recipe.data.chords > 0 and random.random() < self.recipe.data.chords
        row = self._row(
            sample,
            start,
            "" if drop_all else text,
            melody="none" if drop_all or drop_melody else "chords" if chords else "strongest",
            conditions=() if drop_all else kept,
            embedded=not drop_all,
        )
        share = self.recipe.data.fill_in_the_middle
        return self._suffix_first(row, random) if share > 0 and random.random() < share else row

    def _suffix_first(self, row: Row, random: np.random.Generator) -> Row:
        """A crop in the order of fill-in-the-middle, cut to leave room for the separator."""
        codebooks, frames = row.codes.shape
        size = min(frames, self.frames - codebooks)
        if size < 2:
            return row
        # Most windows of a long clip are full; those of a short clip are not.
        if random.random() >= _FULL:
            size = int(random.integers(min(size, max(2, self.frames // _SHORTEST)), size + 1))
        right = int(random.integers(1, size))

        def first(frames: np.ndarray, separator: float) -> np.ndarray:
            return arranged(frames[:size], right, codebooks, separator)

        # What an auxiliary loss is told of padding does not count.
        padding = self.frames - size - codebooks
        targets = {
            name: np.pad(first(target, 0.0), ((0, padding), (0, 0))) for name, target in row.auxiliary_targets.items()
        }
        return replace(row, codes=first(row.codes.T, SEPARATOR).T, auxiliary_targets=targets)

    def validation(self, sample: Sample, random: np.random.Generator) -> Row:
        """The middle of the clip with all of its conditions."""
        start = max(0, sample.codes.shape[1] - self.frames) // 2
        if self.recipe.data.begin != "anywhere":
            start = min(self._boundaries(sample), key=lambda frame: abs(frame - start))
        text = self.description(sample, random)
        return self._row(sample, start, text, melody="strongest", conditions=self._conditions, embedded=True)

    def batch(self, rows: list[Row]) -> Batch:
        codes = np.zeros((len(rows), rows[0].codes.shape[0], self.frames), np.int64)
        for i, row in enumerate(rows):
            codes[i, :, : row.codes.shape[1]] = row.codes
        lengths = torch.tensor([row.codes.shape[1] for row in rows])
        melody = torch.from_numpy(np.stack([row.melody for row in rows])) if self.melody_frames else None
        return Batch(
            torch.from_numpy(codes),
            lengths,
            [row.text for row in rows],
            melody,
            {
                name: torch.from_numpy(np.stack([row.auxiliary_targets[name] for row in rows]))
                for name in rows[0].auxiliary_targets
            },
            {name: [row.conditions[name] for row in rows] for name in self._conditions},
            [row.start for row in rows],
            self._embeddings(rows),
        )

    @staticmethod
    def _embeddings(rows: list[Row]) -> torch.Tensor | None:
        found = [row.embedding for row in rows if row.embedding is not None]
        return torch.from_numpy(np.stack(found)).float() if found else None

    def description(self, sample: Sample, random: np.random.Generator) -> str:
        """A clip's description as it is, "" for none."""
        return pick_description(self._described(sample), random)

    def _described(self, sample: Sample) -> dict[str, Any]:
        """The fields from which a text is made."""
        return sample.metadata if self.recipe.data.texts else {}

    def _start(self, sample: Sample, random: np.random.Generator) -> int:
        if self.recipe.data.begin != "anywhere":
            frames = self._boundaries(sample)
            return frames[int(random.integers(len(frames)))]
        return int(random.integers(max(0, sample.codes.shape[1] - self.frames) + 1))

    def _boundaries(self, sample: Sample) -> list[int]:
        """First frames of the bars or sections that a whole crop fits behind; the first one in any case."""
        begin = self.recipe.data.begin
        entry = {"bars": "downbeats", "sections": "sections"}[begin]
        entries = sample.metadata.get(entry)
        if not entries:
            raise InputError(
                f'data.begin is {begin}: every clip\'s JSON must have its "{entry}" in seconds, as musicgen.training.corpus '
                f"writes them, and that of {sample.metadata.get('name', 'a clip')} does not"
            )
        times = entries if begin == "bars" else [section["onset"] for section in entries]
        # Relative to the first one, which is where the music begins.
        first, *others = [round((time - times[0]) * float(self.rate)) for time in times]
        return [first, *(frame for frame in others if frame + self.frames <= sample.codes.shape[1])]

    def _row(
        self, sample: Sample, start: int, text: str, *, melody: Melody, conditions: Collection[str], embedded: bool
    ) -> Row:
        """conditions: the further conditions that are not dropped; embedded: whether CLAP's embedding is not dropped."""
        values = {
            name: sample.metadata.get(new.metadata or name) if name in conditions else None
            for name, new in self._conditions.items()
        }
        return Row(
            self._crop(sample, start),
            text,
            self._melody(sample, start, melody),
            {
                name: REGISTRY[name].targets(sample.metadata, start, self.frames, float(self.rate))
                for name in self.recipe.auxiliary_losses.active()
            },
            values,
            start / float(self.rate),
            self._embedding(sample, start, kept=embedded),
        )

    def _embedding(self, sample: Sample, start: int, *, kept: bool) -> np.ndarray | None:
        if not self.window or sample.embeddings is None:
            return None
        if not kept:
            return np.zeros_like(sample.embeddings[0])
        return of_crop(sample.embeddings, start / float(self.rate), float(self.frames / self.rate), self.window)

    def _crop(self, sample: Sample, start: int) -> np.ndarray:
        return sample.codes[:, start : start + self.frames]

    def _melody(self, sample: Sample, start: int, melody: Melody) -> np.ndarray:
        hot = np.zeros((self.melody_frames, chroma.NUM_CHROMA), np.uint8)
        if melody == "none" or not self.melody_frames or sample.chroma is None:
            return hot
        # As at inference: chroma frames from the crop's beginning, repeated where the crop ends before the context does.
        length = min(self.frames, sample.codes.shape[1] - start)
        heard = max(1, int((length - 1) / self._step) + 1)
        index = np.array([start + round((i % heard) * self._step) for i in range(self.melody_frames)])
        frames = np.arange(self.melody_frames)
        if melody == "strongest":
            hot[frames, sample.chroma[np.minimum(index, len(sample.chroma) - 1)]] = 1
            return hot
        for chord in self._chords(sample):
            inside = (index >= chord["onset"] * float(self.rate)) & (index < chord["offset"] * float(self.rate))
            hot[np.ix_(frames[inside], chord["pitch_classes"])] = 1
        # A frame without a chord is what a frame of silence is at inference.
        hot[~hot.any(axis=1), 0] = 1
        return hot

    @staticmethod
    def _chords(sample: Sample) -> list[dict[str, Any]]:
        chords = sample.metadata.get("chords")
        if not chords:
            raise InputError(
                f'data.chords needs "chords" (onset, offset, pitch_classes) in the JSON of every clip, as '
                f"musicgen.training.corpus writes them, and that of {sample.metadata.get('name', 'a clip')} has none"
            )
        return list(chords)


class TrainingData:
    """The training batches of one process."""

    def __init__(self, folder: str, index: Index, recipe: LMRecipe, cropper: Cropper, rank: int, world: int) -> None:
        lanes = recipe.data.lanes
        if lanes > len(index.train):
            raise InputError(
                f"data.lanes is {lanes}, and {folder} holds {len(index.train)} shards: every lane needs one, so set fewer"
            )
        if lanes % world:
            raise InputError(f"{world} processes do not divide data.lanes ({lanes}): change one of them")
        names = list(index.train)
        self.recipe, self.cropper = recipe, cropper
        self.rows = [row for row in range(recipe.optimisation.batch) if row % lanes % world == rank]
        self._lanes = {
            lane: _Lane(folder, {name: index.train[name] for name in names[lane::lanes]}, (recipe.seed, lane))
            for lane in range(rank, lanes, world)
        }

    def batch(self, step: int) -> Batch:
        """This process's rows of the batch of step `step` (from 0)."""
        data, batch = self.recipe.data, self.recipe.optimisation.batch
        rows = []
        for row in self.rows:
            lane = row % data.lanes
            number = step * (batch // data.lanes) + row // data.lanes
            random = np.random.default_rng([self.recipe.seed, lane, number])
            rows.append(self.cropper.training(self._lanes[lane].clip(number), random))
        return self.cropper.batch(rows)

    def batches(self, start: int, steps: int) -> Generator[Batch]:
        """The batches of the steps from `start` on, one prefetched while the device computes."""
        with ThreadPoolExecutor(1) as executor:
            ahead = executor.submit(self.batch, start)
            for step in range(start, steps):
                batch = ahead.result()
                if step + 1 < steps:
                    ahead = executor.submit(self.batch, step + 1)
                yield batch


class _Lane:
    """An endless stream of clips, read in rising order."""

    def __init__(self, folder: str, shards: dict[str, int], seed: tuple[int, int]) -> None:
        self.folder, self.shards, self.seed = folder, shards, seed
        self.size = sum(shards.values())
        self._open = ""
        self._samples: list[Sample] = []

    def clip(self, number: int) -> Sample:
        epoch, position = divmod(number, self.size)
        names = list(self.shards)
        order = np.random.default_rng([*self.seed, epoch, 0]).permutation(len(names))
        ends = np.cumsum([self.shards[names[i]] for i in order])
        place = bisect_right(ends.tolist(), position)
        name = names[order[place]]
        if name != self._open:
            self._samples = read_shard(f"{self.folder.rstrip('/')}/{name}", self.shards[name])
            self._open = name
        inside = position - (int(ends[place - 1]) if place else 0)
        turn = np.random.default_rng([*self.seed, epoch, 1 + place]).permutation(len(self._samples))
        return self._samples[turn[inside]]


def validation_batches(folder: str, index: Index, cropper: Cropper, size: int) -> Iterator[Batch]:
    """The clips held out, in batches of `size`; the same every time."""
    rows = []
    for number, sample in enumerate(iterate(folder, index.valid)):
        rows.append(cropper.validation(sample, np.random.default_rng([number])))
        if len(rows) == size:
            yield cropper.batch(rows)
            rows = []
    if rows:
        yield cropper.batch(rows)
