"""The loss against transformers', and what a run can begin with."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, T5Config

from musicgen import checkpoint, patterns
from musicgen.conditioners.text import T5Conditioner
from musicgen.errors import InputError
from musicgen.lm import Conditions
from musicgen.model import MusicGen
from musicgen.tokenizers import StereoTokenizer
from musicgen.training.lm.config import LMRecipe, NewText
from musicgen.training.lm.dataloader import Batch
from musicgen.training.lm.initialization import (
    add_adapters,
    fine_tuned_model,
    melody_from_text,
    merge_adapters,
    new_model,
    new_text_encoder,
    stereo_from_mono,
)
from musicgen.training.lm.network import Network
from tests import standins

TEXTS = ["slow guitar", "fast drums and a long text"]


def batch(num_codebooks: int = 4, frames: int = 20, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 64, (2, num_codebooks, frames), generator=generator)
    return Batch(codes, torch.tensor([frames, frames - 6]), TEXTS, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standins.write(standins.transformers_model(), tmp_path_factory.mktemp("model") / "text")


def test_the_loss_is_transformers(folder: Path) -> None:
    """Teacher forcing through transformers' own forward, whose labels are the delayed codes."""
    theirs = standins.transformers_model()
    model = checkpoint.load(folder, "cpu")
    network = Network(model, train_text=False)
    one = batch()
    inputs = network.inputs(one, 64)
    ours = network(inputs).codes / inputs.counts(network.special)

    tokens = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    special = network.special
    steps = inputs.sequence.shape[2] - 1
    decoder_inputs = inputs.sequence[:, :, :-1].reshape(-1, steps)
    logits = theirs(**tokens, decoder_input_ids=decoder_inputs).logits.view(2, 4, steps, -1)
    expected = []
    for k in range(4):
        terms = []
        for row, length in enumerate([20, 14]):
            for t in range(length):  # codebook k of frame t is predicted in step t + k + 1, from index t + k
                logs = logits[row, k, t + k].double().log_softmax(-1)
                terms.append(-logs[one.codes[row, k, t]])
        expected.append(torch.stack(terms).mean())
    assert int(inputs.counts(special)[0]) == 34
    torch.testing.assert_close(ours, torch.stack(expected).float(), atol=1e-4, rtol=0)


def test_rows_without_text_are_the_null_condition(folder: Path) -> None:
    """Dropped conditions are what guidance compares with at inference."""
    model = checkpoint.load(folder, "cpu")
    network = Network(model, train_text=False)
    one = batch()
    bare = Batch(one.codes, one.lengths, ["", TEXTS[1]], None)
    inputs = network.inputs(bare, 64)
    alone = Batch(one.codes[:1], one.lengths[:1], [""], None)
    conditions = Conditions(*[getattr(model.text([None]), name) for name in ("values", "mask")])
    logits = model.lm(network.inputs(alone, 64).sequence[:, :, :-1], conditions)
    both = network(inputs).codes
    second = network(network.inputs(Batch(one.codes[1:], one.lengths[1:], TEXTS[1:], None), 64)).codes
    targets = inputs.sequence[:1, :, 1:]
    known = targets != network.special
    logs = logits.log_softmax(-1).gather(-1, targets.clamp(max=63)[..., None])[..., 0]
    torch.testing.assert_close(both - second, -(logs * known).sum(dim=(0, 2)), atol=1e-3, rtol=0)


def test_stereo_starts_as_the_mono_model(folder: Path) -> None:
    mono = checkpoint.load(folder, "cpu")
    stereo = stereo_from_mono(checkpoint.load(folder, "cpu"))
    assert isinstance(stereo.tokenizer, StereoTokenizer)
    assert stereo.pattern == patterns.stereo_partial_delay(8)
    codes = batch().codes
    both = codes.repeat_interleave(2, dim=1)  # the same left and right
    text = mono.text(TEXTS)
    conditions = Conditions(cross=text.values, cross_mask=text.mask)
    one = mono.lm(mono.pattern.layout(20).build(codes, 64)[:, :, :-1], conditions)
    two = stereo.lm(stereo.pattern.layout(20).build(both, 64)[:, :, :-1], conditions)
    torch.testing.assert_close(two[:, ::2], one, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(two[:, 1::2], one, atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="stereo already"):
        stereo_from_mono(stereo)


def test_channels_that_are_drawn_from_the_same_are_the_same(folder: Path) -> None:
    """A fresh stereo model predicts for both channels what the mono one does, and both are drawn by the same numbers."""
    mono = checkpoint.load(folder, "cpu")
    stereo = stereo_from_mono(checkpoint.load(folder, "cpu"))
    one, two = (model.generate(TEXTS, 0.6, seed=3) for model in (mono, stereo))
    torch.testing.assert_close(two, one.expand_as(two), atol=1e-4, rtol=0)
    stereo.pattern = patterns.stereo_delay(8)  # the right channel a step later: drawn for itself
    apart = stereo.generate(TEXTS, 0.6, seed=3)
    assert (apart[:, 0] - apart[:, 1]).abs().max() > 1e-2


def test_a_new_model_begins_with_known_tables(folder: Path) -> None:
    known = checkpoint.load(folder, "cpu")
    assert isinstance(known.text, T5Conditioner)

    def made(dim: int) -> MusicGen:
        recipe = LMRecipe.from_dict(
            {
                "start": {"tables": str(folder)},
                "shape": {"dim": dim, "num_heads": 2, "num_layers": 3, "pattern": "flattening"},
                "data": {"path": "music"},
            }
        )
        return new_model(recipe, known.tokenizer, (known.text.encoder, known.text.tokenizer))

    ours, theirs = made(known.lm.config.dim).lm.state_dict(), known.lm.state_dict()
    alike = {name for name, value in theirs.items() if torch.equal(value, ours[name])}
    assert alike >= {"embedding.weight", "heads.weight"}
    assert not any(name.endswith(("qkv.weight", "ffn_in.weight")) for name in alike)
    with pytest.raises(InputError, match=r"start.tables: embedding.weight of .* must be the same"):
        made(2 * known.lm.config.dim)


def test_a_stereo_model_may_go_on_with_another_pattern(folder: Path) -> None:
    start = {"model": str(folder), "stereo": True, "pattern": "stereo delay"}
    model = fine_tuned_model(LMRecipe.from_dict({"start": start, "data": {"path": "music"}}))
    assert model.pattern == patterns.stereo_delay(8)
    with pytest.raises(InputError, match=r"start\.pattern is for start\.model"):
        LMRecipe.from_dict({"start": {"pattern": "delay"}, "data": {"path": "music"}})


def test_a_text_model_becomes_a_melody_model(folder: Path) -> None:
    text = checkpoint.load(folder, "cpu")
    model = melody_from_text(text, 5.0, seed=0)
    assert model.melody is not None
    assert model.melody.length == 5 * 32_000 // 4096 + 1
    assert torch.equal(model.lm.embedding.weight, text.lm.embedding.weight)
    assert not any("cross" in name for name in model.lm.state_dict())
    wave = model.generate(["drums"], 0.2, seed=0, melody=torch.eye(12))
    assert wave.shape == (1, 1, 6400)
    with pytest.raises(InputError, match="follows melodies already"):
        melody_from_text(model, 5.0, seed=0)


def test_adapters_start_as_nothing_and_merge_into_the_layers(folder: Path) -> None:
    model = checkpoint.load(folder, "cpu")
    codes = batch().codes
    text = model.text(TEXTS)
    conditions = Conditions(cross=text.values, cross_mask=text.mask)
    before = model.lm(codes, conditions)
    add_adapters(model.lm, rank=2, alpha=4.0)
    learning = [name for name, parameter in model.lm.named_parameters() if parameter.requires_grad]
    assert learning
    assert all("lora" in name for name in learning)
    torch.testing.assert_close(model.lm(codes, conditions), before)
    with torch.no_grad():
        for name, parameter in model.lm.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    changed = model.lm(codes, conditions)
    assert (changed - before).abs().max() > 0.1
    merged = merge_adapters(model.lm)
    assert set(merged.state_dict()) == set(checkpoint.load(folder, "cpu").lm.state_dict())
    torch.testing.assert_close(merged(codes, conditions), changed, atol=1e-4, rtol=1e-4)


def test_a_new_vocabulary_reads_back_and_knows_new_numbers(tmp_path: Path) -> None:
    captions = [f"a {mood} piece at {bpm} bpm" for mood in ("slow", "happy", "calm") for bpm in range(60, 90)]
    options = NewText(vocabulary=80, dim=8, num_heads=2, num_layers=1, ffn_dim=16)
    encoder, tokenizer = new_text_encoder(options, captions, tmp_path / "text", seed=0)
    again, same = new_text_encoder(options, [], tmp_path / "text", seed=0)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "text", config=T5Config(), local_files_only=True)
    ids = tokenizer.encode(["A happy piece at 137 bpm"], padding=0)[0][0].tolist()
    assert ids == same.encode(["A happy piece at 137 bpm"], padding=0)[0][0].tolist()
    assert ids == theirs("A happy piece at 137 bpm").input_ids
    assert ids[-1] == theirs.eos_token_id == 1
    assert theirs.pad_token_id == 0
    assert theirs.unk_token_id not in ids
    assert theirs.decode(ids[:-1]) == "a happy piece at 137 bpm"
    assert all(
        torch.equal(a, b) for a, b in zip(encoder.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_melodies_are_the_conditions_of_inference(folder: Path) -> None:
    """Chords, single notes and no melody: the losses are those of the language model on what the conditioner makes of them."""
    model = melody_from_text(checkpoint.load(folder, "cpu"), 5.0, seed=0)
    assert model.melody is not None
    length = model.melody.length
    chords = torch.zeros(length, 12, dtype=torch.uint8)
    chords[:, [0, 4, 7]] = 1
    notes = torch.eye(12, dtype=torch.uint8)[torch.arange(length) % 12]
    network = Network(model, train_text=False)
    for frames, value in ((chords, chords.float()), (notes, notes.float()), (torch.zeros_like(chords), None)):
        one = replace(batch(), melody=torch.stack([frames, frames]))
        prepared = None if value is None else model.melody.prepare(value)
        inputs = network.inputs(one, 64)
        assert inputs.melody is not None
        ours, theirs = network._melody(inputs.melody), model.melody([prepared, prepared])
        assert torch.equal(ours.values, theirs.values)
        assert torch.equal(ours.mask, theirs.mask)
        assert bool(network(inputs).codes.isfinite().all())
