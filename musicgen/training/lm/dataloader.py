"""Shards -> batches of random crops, the same for any number of processes, and from any step on.

The shards are dealt to `lanes` independent streams. A lane reads its shards in an order that the seed and the epoch give,
and the clips of a shard in such an order too; row i of every batch is the next clip of the lane i modulo `lanes`. So the
batch of a step is a function of the recipe and the step alone: a run that goes on needs no more than the step, and a process
reads only the lanes that are its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from musicgen import chroma
from musicgen.errors import InputError
from musicgen.training.lm import auxiliary_losses
from musicgen.training.lm.caption_augmentation import augment_caption, pick_description
from musicgen.training.lm.config import LMRecipe
from musicgen.training.lm.shards import Index, Sample, iterate, read_shard


@dataclass(frozen=True)
class Batch:
    """codes: int64 [B, K, T]; lengths: int64 [B], frames that are music, the rest is 0; texts: "" for none; melody: int64
    [B, chroma frames], -1 in the rows without one, None for models without melody; facts: float32 [B, T,
    auxiliary_losses.WIDTH], None where nothing is guided."""

    codes: torch.Tensor
    lengths: torch.Tensor
    texts: list[str]
    melody: torch.Tensor | None
    facts: torch.Tensor | None = None

    def split(self, size: int) -> list[Batch]:
        """The same in pieces of at most `size` rows."""
        rows = range(0, len(self.texts), size)
        return [
            Batch(
                self.codes[i : i + size],
                self.lengths[i : i + size],
                self.texts[i : i + size],
                None if self.melody is None else self.melody[i : i + size],
                None if self.facts is None else self.facts[i : i + size],
            )
            for i in rows
        ]


@dataclass(frozen=True)
class Row:
    """Of a batch. codes: [K, up to T]; melody: [chroma frames]; facts: [T, auxiliary_losses.WIDTH] or None."""

    codes: np.ndarray
    text: str
    melody: np.ndarray
    facts: np.ndarray | None


class Cropper:
    """Clips -> rows of a batch."""

    def __init__(self, recipe: LMRecipe, rate: Fraction, seconds: float, melody_frames: int) -> None:
        """melody_frames: chroma frames of the model's context, 0 for models without melody."""
        self.recipe = recipe
        self.frames = max(1, round(Fraction(str(seconds)) * rate))
        self.rate = rate
        self.melody_frames = melody_frames
        self._step = Fraction(chroma.HOP, chroma.SAMPLE_RATE) * rate
        """Token frames between two chroma frames."""

    def training(self, sample: Sample, random: np.random.Generator) -> Row:
        """A random crop, its text and its melody, with all that is dropped in training."""
        start = self._start(sample, random)
        text = augment_caption(sample.metadata, self.recipe.text, random)
        bare = random.random() < self.recipe.dropout.all
        alone = random.random() < self.recipe.dropout.melody
        return self._row(sample, start, "" if bare else text, silent=bare or alone)

    def validation(self, sample: Sample, random: np.random.Generator) -> Row:
        """The middle of the clip, with all its conditions."""
        start = max(0, sample.codes.shape[1] - self.frames) // 2
        if self.recipe.data.begin != "anywhere":
            start = min(self._beginnings(sample), key=lambda frame: abs(frame - start))
        return self._row(sample, start, pick_description(sample.metadata, random), silent=False)

    def batch(self, rows: list[Row]) -> Batch:
        codes = np.zeros((len(rows), rows[0].codes.shape[0], self.frames), np.int64)
        for i, row in enumerate(rows):
            codes[i, :, : row.codes.shape[1]] = row.codes
        lengths = torch.tensor([row.codes.shape[1] for row in rows])
        melody = torch.from_numpy(np.stack([row.melody for row in rows])) if self.melody_frames else None
        facts = [row.facts for row in rows if row.facts is not None]
        return Batch(
            torch.from_numpy(codes),
            lengths,
            [row.text for row in rows],
            melody,
            torch.from_numpy(np.stack(facts)) if facts else None,
        )

    def _start(self, sample: Sample, random: np.random.Generator) -> int:
        if self.recipe.data.begin != "anywhere":
            frames = self._beginnings(sample)
            return frames[int(random.integers(len(frames)))]
        return int(random.integers(max(0, sample.codes.shape[1] - self.frames) + 1))

    def _beginnings(self, sample: Sample) -> list[int]:
        """The frames of the bars or sections that leave room for a whole crop; the first one in any case."""
        begin = self.recipe.data.begin
        field = {"bars": "downbeats", "sections": "sections"}[begin]
        told = sample.metadata.get(field)
        if not told:
            raise InputError(
                f'data.begin is {begin}: every clip\'s JSON must tell its "{field}" in seconds, as musicgen.training.corpus '
                f"writes them, and that of {sample.metadata.get('name', 'a clip')} does not"
            )
        times = told if begin == "bars" else [section["onset"] for section in told]
        # Counted from the first, which is where a piece begins to sound.
        first, *others = [round((time - times[0]) * float(self.rate)) for time in times]
        return [first, *(frame for frame in others if frame + self.frames <= sample.codes.shape[1])]

    def _row(self, sample: Sample, start: int, text: str, *, silent: bool) -> Row:
        guided = self.recipe.optimisation.guide > 0
        return Row(
            self._crop(sample, start),
            text,
            self._melody(sample, start, silent=silent),
            auxiliary_losses.facts(sample.metadata, start, self.frames, float(self.rate)) if guided else None,
        )

    def _crop(self, sample: Sample, start: int) -> np.ndarray:
        return sample.codes[:, start : start + self.frames]

    def _melody(self, sample: Sample, start: int, *, silent: bool) -> np.ndarray:
        if silent or not self.melody_frames or sample.chroma is None:
            return np.full(self.melody_frames, -1, np.int64)
        # As at inference: chroma frames from the crop's beginning, repeated where the crop ends before the context does.
        length = min(self.frames, sample.codes.shape[1] - start)
        heard = max(1, int((length - 1) / self._step) + 1)
        index = [start + round((i % heard) * self._step) for i in range(self.melody_frames)]
        return sample.chroma[np.minimum(index, len(sample.chroma) - 1)].astype(np.int64)


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

    def batches(self, start: int, steps: int) -> Iterator[Batch]:
        """The batches of the steps from `start` on, one made ahead while the device computes."""
        with ThreadPoolExecutor(1) as executor:
            ahead = executor.submit(self.batch, start)
            for step in range(start, steps):
                batch = ahead.result()
                if step + 1 < steps:
                    ahead = executor.submit(self.batch, step + 1)
                yield batch


class _Lane:
    """An endless stream of clips, to be asked for in rising order."""

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
