"""Patterns against the reference implementation's layouts, and the paper's own definition as properties."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from musicgen import patterns
from musicgen.errors import InputError
from musicgen.patterns import Pattern

GOLDEN = Path(__file__).parent / "golden" / "pattern"
LAYOUTS = json.loads((GOLDEN / "layouts.json").read_text())["patterns"]
SEQUENCES = load_file(GOLDEN / "sequences.safetensors")
SPECIAL = 32


def pattern_of(name: str) -> Pattern:
    golden = LAYOUTS[name]
    params, num = golden["params"], golden["n_q"]
    if golden["modeling"] == "musiclm":
        return Pattern("grouped", num, group=params["group_by"])
    if golden["modeling"] == "coarse_first":
        return Pattern("coarse_first", num, delays=tuple(params["delays"]))
    if golden["modeling"] == "unroll":
        return Pattern("unroll", num, delays=tuple(params["delays"]), flattening=tuple(params["flattening"]))
    return Pattern(
        "delay", num, tuple(params["delays"]), (), 0, params.get("flatten_first", 0), params["empty_initial"]
    )


@pytest.mark.parametrize("frames", ["1", "5", "10"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_is_the_references(name: str, frames: str) -> None:
    golden = LAYOUTS[name]["T"][frames]
    layout = pattern_of(name).layout(int(frames))
    ours = [set() for _ in range(layout.num_steps + 1)]
    for k, row in enumerate(layout.steps.tolist()):
        for t, step in enumerate(row):
            ours[step].add((t, k))
    theirs = [{(t, k) for t, k in step if t < int(frames)} for step in golden["layout"]]
    assert ours == theirs
    assert layout.num_steps == golden["num_sequence_steps"]
    assert layout.num_valid_steps + 1 == golden["valid_layout_len"]
    first = [layout.first_step_of_frame(t) for t in range(int(frames))]
    assert first == golden["first_step_with_timestep"][: int(frames)]


@pytest.mark.parametrize("mode", ["full", "valid"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_sequences_are_the_references(name: str, mode: str) -> None:
    golden = {key.rsplit("/", 1)[1]: value for key, value in SEQUENCES.items() if key.startswith(f"{name}/{mode}/")}
    layout = pattern_of(name).layout(10)
    codes = SEQUENCES[f"codes_k{LAYOUTS[name]['n_q']}"].long()
    length = layout.num_steps + 1 if mode == "full" else layout.num_valid_steps + 1

    sequence = layout.build(codes, SPECIAL)[:, :, :length]
    assert torch.equal(sequence, golden["seq"].long())
    assert torch.equal(layout.occupied()[:, :length], golden["seq_mask"])

    reverted, mask = layout.revert(sequence, special=-1)
    assert torch.equal(reverted, golden["revert_codes"].long())
    assert torch.equal(mask, golden["revert_mask"])

    # The last logits predict a step that lies behind the sequence: nobody's.
    logits_in = golden["logits_in"].permute(0, 2, 3, 1)[:, :, : length - 1]
    logits, mask = layout.revert_logits(logits_in)
    assert torch.equal(mask, golden["logits_mask"])
    torch.testing.assert_close(logits, golden["logits_out"].permute(0, 2, 3, 1), rtol=0, atol=0, equal_nan=True)


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(list(patterns.BY_NAME)),
    half=st.integers(1, 5),
    frames=st.integers(1, 60),
    seed=st.integers(0, 2**31),
)
def test_pattern_is_a_partition_and_inverts(name: str, half: int, frames: int, seed: int) -> None:
    num = 2 * half
    layout = patterns.named(name, num).layout(frames)
    # A partition of all (t, k): one step each, by construction of the table; and the steps exist.
    assert layout.steps.shape == (num, frames)
    assert layout.steps.min() >= 1
    assert layout.steps.max() <= layout.num_steps
    # Each codebook at most once a step, and later frames never before earlier ones.
    assert (layout.steps.diff(dim=1) > 0).all()
    # No step of a paper pattern is empty unless the delays make it so.
    assert layout.occupied()[:, 1:].any(dim=0).all()
    # revert . build = identity.
    codes = torch.randint(0, 1000, (2, num, frames), generator=torch.Generator().manual_seed(seed))
    sequence = layout.build(codes, special=1000)
    assert (sequence[:, :, 0] == 1000).all()
    assert (sequence != 1000).sum() == codes.numel()
    reverted, mask = layout.revert(sequence, special=-1)
    assert mask.all()
    assert torch.equal(reverted, codes)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("parallel", 7),
        ("delay", 10),
        ("partial delay", 8),
        ("flattening", 28),
        ("partial flattening", 14),
        ("coarse first", 14),
    ],
)
def test_number_of_steps_is_the_papers(name: str, steps: int) -> None:
    assert patterns.named(name, 4).layout(7).num_steps == steps


def test_delay_is_equation_6() -> None:
    layout = patterns.delay(4).layout(9)
    for s in range(1, layout.num_steps + 1):
        paper = {(s - k + 1, k) for k in range(1, 5) if 1 <= s - k + 1 <= 9}
        ours = {(int(t) + 1, int(k) + 1) for k, t in (layout.steps == s).nonzero()}
        assert ours == paper


@pytest.mark.parametrize("name", patterns.BY_NAME)
def test_dictionary_round_trip(name: str) -> None:
    pattern = patterns.named(name, 8)
    assert Pattern.from_dict(json.loads(json.dumps(pattern.as_dict()))) == pattern


def test_bad_patterns_are_named() -> None:
    with pytest.raises(InputError, match="3 delays for 4 codebooks"):
        Pattern("delay", 4, delays=(0, 1, 2))
    with pytest.raises(InputError, match="unknown pattern 'zigzag'"):
        patterns.named("zigzag", 4)
    with pytest.raises(InputError, match="at least 1 frame"):
        patterns.delay(4).layout(0)
