"""Batches: a function of recipe and step, whoever asks; every clip in every epoch; crops that are the clip's."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen import chroma
from musicgen.checkpoint import components
from musicgen.errors import InputError
from musicgen.training.lm.config import Data, Dropout, LMRecipe, Text
from musicgen.training.lm.dataloader import Batch, Cropper, TrainingData, validation_batches
from musicgen.training.lm.prepare import prepare
from musicgen.training.lm.shards import Index, Sample, iterate

MELODY_FRAMES = chroma.num_frames(32_000)


@pytest.fixture(scope="module")
def tokens(music: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Index]:
    folder = tmp_path_factory.mktemp("shards") / "tokens"
    data = Data(path=str(music), lanes=4, validation=2)
    tokenizer = components.audio_tokenizer(str(tokenizer_folder))
    return str(folder), prepare(data, folder, tokenizer, "mix", 0, torch.device("cpu"))


@pytest.fixture
def plain(recipe: LMRecipe) -> LMRecipe:
    """Nothing dropped, four lanes."""
    return replace(
        recipe,
        text=Text(merge=0.0, drop_words=0.0),
        dropout=Dropout(0.0),
        data=replace(recipe.data, lanes=4),
        optimisation=replace(recipe.optimisation, batch=8),
    )


def cropper(recipe: LMRecipe, seconds: float = 1.0) -> Cropper:
    return Cropper(recipe, Fraction(50), seconds, MELODY_FRAMES)


def source(tokens: tuple[str, Index], recipe: LMRecipe, rank: int = 0, world: int = 1) -> TrainingData:
    return TrainingData(*tokens, recipe, cropper(recipe), rank, world)


def same(one: Batch, other: Batch, rows: slice = slice(None)) -> bool:
    return (
        torch.equal(one.codes, other.codes[rows])
        and one.texts == other.texts[rows]
        and torch.equal(one.lengths, other.lengths[rows])
        and torch.equal(one.melody, other.melody[rows])
    )


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_batches_of_one(tokens: tuple[str, Index], plain: LMRecipe, world: int) -> None:
    alone = source(tokens, plain)
    others = [source(tokens, plain, rank, world) for rank in range(world)]
    for step in range(5):
        batch = alone.batch(step)
        for rank, other in enumerate(others):
            assert same(other.batch(step), batch, slice(rank, None, world))


def test_a_run_that_goes_on_takes_the_same_batches(tokens: tuple[str, Index], recipe: LMRecipe) -> None:
    from_the_start = list(source(tokens, recipe).batches(0, 12))
    gone_on = list(source(tokens, recipe).batches(7, 12))
    assert len(gone_on) == 5
    assert all(same(a, b) for a, b in zip(from_the_start[7:], gone_on, strict=True))


def test_every_clip_once_an_epoch_and_epochs_differ(tokens: tuple[str, Index], plain: LMRecipe) -> None:
    clips = sum(tokens[1].train.values())  # 22: lanes of 5 or 6
    data = source(tokens, plain)
    texts = [text for step in range(30) for text in data.batch(step).texts]
    per_lane = [texts[lane::4] for lane in range(4)]
    sizes = [len(set(lane)) for lane in per_lane]
    assert sum(sizes) == clips
    for lane, size in zip(per_lane, sizes, strict=True):
        epochs = [lane[i : i + size] for i in range(0, len(lane) - size, size)]
        assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 1


def test_crops_are_pieces_of_the_clip_with_its_melody(plain: LMRecipe) -> None:
    generator = np.random.default_rng(0)
    clip = Sample(
        np.arange(4 * 120, dtype=np.int16).reshape(4, 120),
        generator.integers(0, 12, 120).astype(np.uint8),
        {"description": "x"},
    )
    starts = set()
    for _ in range(1000):
        row = cropper(plain).training(clip, generator)
        start = int(row.codes[0, 0])
        starts.add(start)
        assert row.text == "x"
        assert row.auxiliary_targets == {}
        assert np.array_equal(row.codes, clip.codes[:, start : start + 50])
        # A chroma frame is 4096 samples, 6.4 codes: 8 of them lie in a second, and the prefix has one more.
        assert np.array_equal(row.melody[:8], np.eye(12)[clip.chroma[[start + round(i * 6.4) for i in range(8)]]])
    assert starts == set(range(71))


def test_crops_begin_with_a_bar(plain: LMRecipe) -> None:
    at_bars = replace(plain, data=replace(plain.data, begin="bars"))
    # Bars of 21 frames, the first of them 0.03 s late: the last that leaves room for 50 of 120 frames begins at 63.
    bars = [0.03 + 0.42 * bar for bar in range(6)]
    told = {"description": "x", "name": "clip", "downbeats": bars, "sections": [{"onset": bars[0]}, {"onset": bars[2]}]}
    clip = Sample(np.arange(4 * 120, dtype=np.int16).reshape(4, 120), None, told)
    generator = np.random.default_rng(0)
    starts = {int(cropper(at_bars).training(clip, generator).codes[0, 0]) for _ in range(200)}
    assert starts == {0, 21, 42, 63}
    at_sections = replace(plain, data=replace(plain.data, begin="sections"))
    assert {int(cropper(at_sections).training(clip, generator).codes[0, 0]) for _ in range(50)} == {0, 42}
    # Held out: the bar nearest to the middle, (120 - 50) / 2.
    assert int(cropper(at_bars).validation(clip, generator).codes[0, 0]) == 42
    with pytest.raises(
        InputError, match=r'data.begin is bars: every clip.s JSON must have its "downbeats".*that of song'
    ):
        cropper(at_bars).training(Sample(clip.codes, None, {"name": "song"}), generator)


def test_short_clips_are_filled_up_and_their_melody_repeats(tokens: tuple[str, Index], plain: LMRecipe) -> None:
    frames = chroma.num_frames(3 * 32_000)
    long = Cropper(replace(plain, data=replace(plain.data, seconds=3.0)), Fraction(50), 3.0, frames)
    sample = next(iterate(tokens[0], tokens[1].train))
    length = sample.codes.shape[1]
    row = long.training(sample, np.random.default_rng(0))
    batch, melody = long.batch([row]), row.melody
    assert batch.codes.shape == (1, 4, 150)
    assert int(batch.lengths[0]) == length
    assert bool((batch.codes[0, :, length:] == 0).all())
    heard = int((length - 1) / 6.4) + 1
    assert heard < frames < 2 * heard
    assert np.array_equal(melody[: frames - heard], melody[heard:])


def test_conditions_are_dropped_with_their_probabilities(tokens: tuple[str, Index], plain: LMRecipe) -> None:
    data = source(tokens, replace(plain, dropout=Dropout(all=0.3, melody=0.2)))
    rows = [
        (t, bool(m.any())) for batch in data.batches(0, 250) for t, m in zip(batch.texts, batch.melody, strict=True)
    ]
    bare = [text == "" for text, _ in rows]
    silent = [not melody for _, melody in rows]
    assert np.mean(bare) == pytest.approx(0.3, abs=0.03)
    assert np.mean(silent) == pytest.approx(0.3 + 0.7 * 0.2, abs=0.03)
    assert all(melody for text, melody in zip(bare, silent, strict=True) if text)


def test_chords_of_the_metadata_take_the_place_of_the_strongest_pitch_class(plain: LMRecipe) -> None:
    chords = [
        {"onset": 0.0, "offset": 1.0, "pitch_classes": [0, 4, 7]},
        {"onset": 1.0, "offset": 2.0, "pitch_classes": [9, 0, 4, 7]},
    ]
    codes = np.broadcast_to(np.arange(120, dtype=np.int16), (4, 120))
    clip = Sample(codes, np.full(120, 5, np.uint8), {"description": "x", "name": "song", "chords": chords})
    half = cropper(replace(plain, data=replace(plain.data, chords=0.5)))
    followed = 0
    for seed in range(400):
        row = half.training(clip, np.random.default_rng(seed))
        start = int(row.codes[0, 0])
        assert start == int(cropper(plain).training(clip, np.random.default_rng(seed)).codes[0, 0])  # the same crop
        if row.melody[:, 5].all():
            continue
        followed += 1
        for frame, hot in enumerate(row.melody[:8]):
            seconds = (start + round(frame * 6.4)) / 50
            wanted = {0, 4, 7} if seconds < 1 else {0, 4, 7, 9} if seconds < 2 else {0}  # no chord: as silence
            assert set(np.flatnonzero(hot)) == wanted
    assert followed / 400 == pytest.approx(0.5, abs=0.08)
    with pytest.raises(InputError, match=r'data.chords needs "chords".*that of song has none'):
        cropper(replace(plain, data=replace(plain.data, chords=1.0))).training(
            replace(clip, metadata={"description": "x", "name": "song"}), np.random.default_rng(0)
        )


def test_validation_is_the_middle_with_all_conditions(tokens: tuple[str, Index], recipe: LMRecipe) -> None:
    batches = list(validation_batches(*tokens, cropper(recipe), 4))
    assert [len(batch.texts) for batch in batches] == [2]
    assert all(batches[0].texts)
    assert bool((batches[0].melody.sum(dim=-1) == 1).all())
    sample = next(iterate(tokens[0], tokens[1].valid))
    start = (sample.codes.shape[1] - 50) // 2
    assert np.array_equal(batches[0].codes[0].numpy(), sample.codes[:, start : start + 50])


def test_without_texts_there_is_none(tokens: tuple[str, Index], plain: LMRecipe) -> None:
    without = replace(plain, text=Text(merge=1.0, merge_field=1.0), data=replace(plain.data, texts=False))
    batches = [*source(tokens, without).batches(0, 4), *validation_batches(*tokens, cropper(without), 4)]
    assert {text for batch in batches for text in batch.texts} == {""}
    assert tokens[1].described == tokens[1].clips


def test_lanes_that_do_not_fit_are_refused(tokens: tuple[str, Index], plain: LMRecipe) -> None:
    with pytest.raises(InputError, match="3 processes do not divide"):
        source(tokens, plain, 0, 3)
    many = replace(plain, data=replace(plain.data, lanes=16), optimisation=replace(plain.optimisation, batch=16))
    with pytest.raises(InputError, match="every lane needs one"):
        source(tokens, many)
