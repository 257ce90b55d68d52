"""Fill-in-the-middle from the order of training examples to a span that follows what comes after it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import musicgen
from musicgen import checkpoint, fill_in_the_middle, patterns
from musicgen.engine import Scheduler
from musicgen.engine.backends.torch.pool import TorchPool
from musicgen.errors import InputError
from musicgen.fill_in_the_middle import SEPARATOR, step_positions
from musicgen.model import MusicGen
from musicgen.patterns import Pattern
from musicgen.request import GenerationRequest
from musicgen.training.lm.auxiliary_losses import BeatChordKey
from musicgen.training.lm.config import AuxiliaryLoss, AuxiliaryLosses, Data, Dropout, Initialization, LMRecipe, Text
from musicgen.training.lm.dataloader import Cropper
from musicgen.training.lm.initialization import fine_tuned_model
from musicgen.training.lm.network import Network
from musicgen.training.lm.shards import Sample
from musicgen.training.lm.trainer import train
from tests import standins
from tests.training.lm.conftest import recipe_values
from tests.training.lm.test_auxiliary_losses import metadata_of_seed

RATE = 50
SPECIAL = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standins.write(standins.transformers_model(), tmp_path_factory.mktemp("model"))


@pytest.fixture
def model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> MusicGen:
    """A model of random weights that says that it learnt to fill in the middle, with a context of 3 s."""
    loaded = musicgen.load(folder)
    monkeypatch.setattr(loaded, "fill_in_the_middle", True)
    monkeypatch.setattr(loaded, "max_duration", 3.0)
    return loaded


def recipe(**data: object) -> LMRecipe:
    return LMRecipe(
        text=Text(merge=0.0, drop_words=0.0), dropout=Dropout(0.0),
        data=Data(path="not read", seconds=1.0, fill_in_the_middle=1.0, **data),
    )  # fmt: skip


@given(st.integers(0, 20), st.integers(1, 20), st.integers(1, 20))
def test_the_prompt_is_the_beginning_of_an_example(left: int, right: int, span: int) -> None:
    """Training and generation give a model the same order."""
    music = torch.arange(2 * (left + span + right)).view(1, 2, -1)
    example = fill_in_the_middle.arranged(music[0].numpy().T, right, 2, SPECIAL).T
    prompt = fill_in_the_middle.audio_prompt(music[:, :, :left], music[:, :, left + span :], SPECIAL)
    expected = torch.cat([prompt, music[:, :, left : left + span]], dim=2)
    assert torch.equal(torch.from_numpy(example), expected[0])


@pytest.mark.parametrize("pattern", [patterns.delay(4), patterns.parallel(4), patterns.flattening(4)])
def test_every_code_has_the_position_that_it_has_in_the_music(pattern: Pattern) -> None:
    """Of the codes in order, and of the order of fill-in-the-middle with the positions of its steps."""
    left, right = 13, 7
    music = torch.arange(4 * (left + right)).view(1, 4, -1)
    plain = pattern.layout(left + right)
    expected = {int(code): step for step, column in enumerate(plain.build(music, -1)[0].T) for code in column}
    size = left + right + 4
    layout = pattern.layout(size)
    example = torch.from_numpy(fill_in_the_middle.arranged(music[0].numpy().T, right, 4, -1).T)
    sequence = layout.build(example[None], -1)[0]
    positions = step_positions(layout, right + 4, size, layout.num_steps + 1)
    found = {int(code): int(at) for at, column in zip(positions, sequence.T, strict=True) for code in column}
    assert {code: at for code, at in found.items() if code >= 0} == {c: at for c, at in expected.items() if c >= 0}
    # When the left begins, nothing of the right is left: the step before is empty, as before all music, at position 0.
    (begin,) = (positions == 0).nonzero()[:, 0].tolist()
    assert bool((sequence[:, begin] == -1).all())
    assert torch.equal(positions[begin:], torch.arange(len(positions) - begin))


def test_examples_are_a_crop_whose_end_comes_first() -> None:
    clip = Sample(np.arange(4 * 120, dtype=np.int16).reshape(4, 120), None, {"description": "x"})
    cropper, generator = Cropper(recipe(), Fraction(RATE), 1.0, 0), np.random.default_rng(0)
    lengths, firsts = [], []
    for _ in range(2000):
        row = cropper.training(clip, generator)
        separators = np.flatnonzero(row.codes[0] == SEPARATOR)
        right = separators[0]
        assert separators.tolist() == [right + index for index in range(4)]
        lengths.append(row.codes.shape[1])
        firsts.append(right)
        # Back in its order, the crop is a piece of the clip.
        crop = np.concatenate([row.codes[:, right + 4 :], row.codes[:, :right]], axis=1)
        assert np.array_equal(crop, clip.codes[:, crop[0, 0] : crop[0, 0] + crop.shape[1]])
    assert np.mean(np.array(lengths) == RATE) == pytest.approx(0.75 + 0.25 / 37, abs=0.03)
    assert set(lengths) == set(range(RATE // 5 + 4, RATE + 1))
    assert set(firsts) == set(range(1, RATE - 4))
    # A clip that is shorter than the context.
    short = cropper.training(Sample(clip.codes[:, :20], None, {}), generator)
    assert np.isin(short.codes[0], [SEPARATOR, *range(20)]).all()
    batch = cropper.batch([short])
    assert fill_in_the_middle.leading_frames(batch.codes, SEPARATOR) == [int(np.argmax(short.codes[0] < 0)) + 4]
    frame = Sample(clip.codes[:, :1], None, {})
    assert np.array_equal(cropper.training(frame, generator).codes, frame.codes)


def test_other_recipes_get_the_batches_that_they_always_got() -> None:
    clip = Sample(np.arange(4 * 120, dtype=np.int16).reshape(4, 120), None, {"description": "x"})
    none, some = recipe(), recipe()
    none = replace(none, data=replace(none.data, fill_in_the_middle=0.0))
    some = replace(some, data=replace(some.data, fill_in_the_middle=0.3))
    kept = 0
    for seed in range(400):
        one, other = (
            Cropper(each, Fraction(RATE), 1.0, 0).training(clip, np.random.default_rng(seed)) for each in (none, some)
        )
        kept += np.array_equal(one.codes, other.codes)
    assert kept / 400 == pytest.approx(0.7, abs=0.07)


def test_separators_are_not_learnt_and_auxiliary_targets_move_with_the_codes(folder: Path) -> None:
    model = checkpoint.load(folder, "cpu")
    wanted = replace(recipe(), auxiliary_losses=AuxiliaryLosses(beat_chord_key=AuxiliaryLoss(layer=1)))
    network = Network(model, train_text=False, auxiliary=wanted.auxiliary_losses)
    cropper = Cropper(wanted, Fraction(RATE), 1.0, 0)
    metadata = metadata_of_seed()
    codes = np.broadcast_to(np.arange(60, dtype=np.int16), (4, 60))
    rows = [cropper.training(Sample(codes, None, metadata), np.random.default_rng(seed)) for seed in range(8)]
    inputs = network.inputs(cropper.batch([replace(row, text="x") for row in rows]), 64)
    every = BeatChordKey.targets(metadata, 0, 60, RATE)
    for row, known in zip(rows, inputs.known, strict=True):
        music = row.codes[0] >= 0
        assert np.array_equal(known.numpy(), np.pad(music, (0, RATE - len(music))))
        assert np.array_equal(row.auxiliary_targets["beat_chord_key"][: len(music)][music], every[row.codes[0][music]])
    music = sum(int((row.codes[0] >= 0).sum()) for row in rows)
    assert inputs.counts(network.special).tolist() == [music] * 4
    # The loss by hand: that of every code which is not the special token.
    sequence = inputs.sequence
    conditions = replace(model.fuser({"text": network._text.condition(inputs.text)}), positions=inputs.positions)
    logits = model.lm(sequence[:, :, :-1], conditions)
    likely = logits.float().log_softmax(dim=-1)
    for codebook in range(4):
        targets = sequence[:, codebook, 1:]
        each = likely[:, codebook].gather(2, targets.clamp(max=SPECIAL - 1)[..., None])[..., 0]
        expected = -each[targets != SPECIAL].sum()
        torch.testing.assert_close(network(inputs).codes[codebook], expected)


def test_candidates_continue_the_right_the_separators_and_the_left(model: MusicGen) -> None:
    codes = torch.randint(0, 64, (4, 120), generator=torch.Generator().manual_seed(0))
    done: list[tuple[int, int]] = []
    made = model.repaint(codes, 1.0, 1.5, "piano", candidates=3, seed=7, progress=lambda *now: done.append(now))
    assert done[-1][0] == done[-1][1]
    prompt = torch.cat([codes[None, :, 75:], torch.full((1, 4, 4), SPECIAL), codes[None, :, :50]], dim=2)
    plan = model.plan_generation(GenerationRequest.of_one("piano", 124 / RATE, seed=made.seed), prompt)
    for _ in model._steps(plan):
        pass
    assert torch.equal(made.codes[:, 50:75], plan.codes[0, :, -25:])
    assert torch.equal(made.codes[:, :50], codes[:, :50])
    assert torch.equal(made.codes[:, 75:], codes[:, 75:])
    # Another right gives another span with the same seed, which the left alone would not.
    other = codes.clone()
    other[:, 75:] = codes[:, 75:].flip(1)
    changed = model.repaint(other, 1.0, 1.5, "piano", candidates=1, seed=made.seed)
    assert not torch.equal(changed.codes[:, 50:75], made.codes[:, 50:75])
    with Scheduler(model, slots=2) as scheduler:
        same = scheduler.repaint(codes, 1.0, 1.5, "piano", candidates=3, seed=7)
    assert torch.equal(same.codes, made.codes)
    assert same.log_likelihoods == pytest.approx(made.log_likelihoods)


@pytest.mark.parametrize("runner", ["engine", "module", "pool of the module"])
def test_a_span_is_predicted_with_these_positions_by_every_runner(model: MusicGen, runner: str) -> None:
    """Step by step with a KV cache, the logits are those of one pass over the whole window."""
    codes = torch.randint(0, 64, (1, 4, 120), generator=torch.Generator().manual_seed(0))
    prompt = fill_in_the_middle.audio_prompt(codes[:, :, :50], codes[:, :, 75:], SPECIAL)
    plan = model.plan_generation(GenerationRequest.of_one("piano", 124 / RATE, seed=1), prompt)
    guidance = model.guidance(plan, plan.windows[0])
    conditions, rows, layout = guidance.conditions, guidance.groups, model.pattern.layout(124)
    sequence = layout.build(torch.cat([prompt, codes[:, :, 50:75]], dim=2), SPECIAL).expand(rows, -1, -1)
    positions = step_positions(layout, 49, 124, layout.num_steps).expand(rows, -1)
    step = layout.first_step_of_frame(99)
    with torch.no_grad():
        expected = model.lm(sequence[:, :, :-1], replace(conditions, positions=positions))
        if runner == "pool of the module":
            pool = TorchPool(model.lm, rows, layout.num_steps, conditions.cross.shape[1])
            found = [pool.admit(sequence[:, :, :step], conditions)[1]]
            for at in range(step, layout.num_steps):
                found.append(pool.step(sequence[:, :, at : at + 1]))
                pool.advance()
        else:
            predict = (model.engine if runner == "engine" else model.lm).start(conditions, rows, layout.num_steps)
            found = [predict(sequence[:, :, :step])]
            found += [predict(sequence[:, :, at : at + 1]) for at in range(step, layout.num_steps)]
    torch.testing.assert_close(torch.stack(found, dim=2), expected[:, :, step - 1 :], atol=2e-4, rtol=1e-3)


def test_a_full_window_and_the_ends_of_a_clip(model: MusicGen) -> None:
    codes = torch.randint(0, 64, (4, 400), generator=torch.Generator().manual_seed(0))
    for start, end, span in ((4.0, 5.0, (200, 250)), (0.0, 1.0, (0, 50)), (-0.5, 0.5, (0, 50))):
        made = model.repaint(codes, start, end, "piano", candidates=2, seed=1)
        assert made.span == span
        assert int(made.codes.max()) < SPECIAL
        assert len(made.log_likelihoods) == 2
    # The window of 150 frames holds all of the left, the span and the separator, and the right as far as there is room.
    whole = codes[:, :150]
    made = model.repaint(whole, 1.0, 1.5, "piano", candidates=1, seed=1)
    prompt = fill_in_the_middle.audio_prompt(whole[None, :, :50], whole[None, :, 75:146], SPECIAL)
    plan = model.plan_generation(GenerationRequest.of_one("piano", 3.0, seed=1), prompt)
    for _ in model._steps(plan):
        pass
    assert torch.equal(made.codes[:, 50:75], plan.codes[0, :, -25:])
    # Where there is none, the span continues the left.
    near = model.repaint(whole, 2.5, 2.94, "piano", candidates=2, seed=1)
    plan = model.plan_generation(GenerationRequest.of_one("piano", 2.94, seed=near.seed), whole[None, :, :125])
    for _ in model._steps(plan):
        pass
    assert torch.equal(near.codes[:, 125:147], plan.codes[0, :, -22:])
    # Nothing follows the end of a clip: it is the continuation of the left, without separators.
    end = model.repaint(codes, 7.0, 8.0, "piano", candidates=2, seed=1)
    plan = model.plan_generation(GenerationRequest.of_one("piano", 150 / RATE, seed=1), codes[None, :, 250:350])
    for _ in model._steps(plan):
        pass
    assert torch.equal(end.codes[:, 250:], plan.codes[0])


def test_a_checkpoint_says_what_its_model_learnt(model: MusicGen, tmp_path: Path) -> None:
    checkpoint.save(model, tmp_path / "saved")
    assert musicgen.load(tmp_path / "saved").fill_in_the_middle
    tuned = LMRecipe(start=Initialization(model=str(tmp_path / "saved")), data=Data(path="not read", seconds=3.0))
    assert fine_tuned_model(tuned).fill_in_the_middle


@pytest.mark.parametrize(
    ("start", "learns"),
    [({}, True), ({"lora_rank": 2}, True), ({"data": 0.0}, False)],
    ids=["all", "adapter", "without"],
)
def test_training_says_what_the_model_learnt(
    music: Path, tokenizer_folder: Path, tmp_path: Path, start: dict, learns: bool
) -> None:
    """An adapter leaves what the model knows; training of all weights without such examples does not."""
    start = dict(start)
    share = start.pop("data", 0.5)
    folder = tmp_path / "first"
    values = recipe_values(music, tokenizer_folder, data={"fill_in_the_middle": 0.5}, optimisation={"steps": 2})
    train(LMRecipe.from_dict(values), folder, device="cpu")
    assert musicgen.load(folder / "model").fill_in_the_middle
    values = recipe_values(
        music, tokenizer_folder, start={"model": str(folder / "model"), **start},
        data={"fill_in_the_middle": 0.0 if "lora_rank" in start else share}, optimisation={"steps": 2},
    )  # fmt: skip
    del values["shape"], values["text"]
    train(LMRecipe.from_dict(values), tmp_path / "second", device="cpu")
    assert musicgen.load(tmp_path / "second" / "model").fill_in_the_middle is learns


def test_models_that_follow_a_condition_over_time_are_refused(
    music: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="it is for models of text alone"):
        LMRecipe.from_dict({"data": {"path": "x", "fill_in_the_middle": 0.5}, "shape": {"melody": True}})
    values = recipe_values(music, tokenizer_folder, shape={"melody": True}, optimisation={"steps": 1})
    train(LMRecipe.from_dict(values), tmp_path / "melody", device="cpu")
    values = recipe_values(
        music, tokenizer_folder, start={"model": str(tmp_path / "melody" / "model")}, data={"fill_in_the_middle": 0.5}
    )
    del values["shape"], values["text"]
    with pytest.raises(InputError, match="follows melody and text: leave it out"):
        train(LMRecipe.from_dict(values), tmp_path / "tuned", device="cpu")
