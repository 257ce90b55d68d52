"""Clips of stored settings stay the clips they were: codes in float32 against those that commit 7fd9163 gave, and for
`mini-melody` against those of its weights since it was trained with chords.

Processors round differently, and where a draw lies next to the border of two codes that gives another code. The seeds are ones
with which processors with and without AVX-512 agree.

`python -m tests.test_stored_clips` writes the file anew; do that only where a change of the music is meant, and say why.
"""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import musicgen
from musicgen import GenerationOptions

GOLDEN = Path(__file__).parent / "golden"
STORED = GOLDEN / "clips.safetensors"
MELODY = GOLDEN / "chroma" / "melody_a.wav"

CASES = {
    "text": ("mini", ["lofi hip hop with a warm piano", "fast heavy metal"], 4.0, {"seed": 2}),
    "unconditional": ("mini", [""], 3.0, {"seed": 7}),
    "greedy": ("mini", ["a calm piano piece"], 3.0, {"options": GenerationOptions(do_sample=False)}),
    "negative": ("mini", ["sad jazz"], 3.0, {"seed": 3, "options": GenerationOptions(negative_prompt="drums", top_p=0.9)}),
    "continued": ("mini", ["sad jazz"], 6.0, {"seed": 4, "continue_from": MELODY}),
    "windows": ("mini", ["salsa with trumpets"], 33.0, {"seed": 6}),
    "melody": ("mini-melody", ["string quartet"], 4.0, {"seed": 6, "melody": MELODY, "separate": False}),
    "stereo": (
        "mini-stereo-melody", ["drum and bass"], 4.0,
        {"seed": 8, "melody": MELODY, "separate": False, "options": GenerationOptions(melody_guidance_scale=2.0)},
    ),
}  # fmt: skip


def codes(case: str) -> torch.Tensor:
    name, prompts, duration, arguments = CASES[case]
    # Stored settings name their scale.
    options = dataclasses.replace(arguments.get("options", GenerationOptions()), guidance_scale=3.0)
    arguments = arguments | {"options": options}
    return musicgen.load(name, "cpu", "float32").generate_codes(prompts, duration, **arguments)


@pytest.mark.parametrize("case", CASES)
def test_codes_are_those_of_before(case):
    torch.set_num_threads(1)  # they were made with 2, and must not depend on it
    assert torch.equal(codes(case).to(torch.int16), load_file(STORED)[case])


if __name__ == "__main__":
    save_file({case: codes(case).to(torch.int16).contiguous() for case in CASES}, STORED)
