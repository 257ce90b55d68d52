"""Chroma against the reference implementation's numbers."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from musicgen import audio, chroma

GOLDEN = Path(__file__).parent / "golden" / "chroma"
NUMBERS = load_file(GOLDEN / "chroma.safetensors")
FACTS = json.loads((GOLDEN / "chroma.json").read_text())["inputs"]


def wave_of(name: str) -> torch.Tensor:
    def file(stem: str) -> torch.Tensor:
        return audio.read(GOLDEN / f"{stem}.wav").wave[0]

    return {
        "melody_a": lambda: file("melody_a"),
        "melody_b": lambda: file("melody_b"),
        "noise": lambda: file("noise"),
        "silence_3s": lambda: torch.zeros(96_000),
        "null_1sample": lambda: torch.zeros(1),
        "short_melody_a_8001": lambda: file("melody_a")[:8001],
        "exact_16384_melody_a": lambda: file("melody_a")[:16384],
    }[name]()


INPUTS = [name for name in FACTS if name != "bach"]  # the recording is not ours to ship


@pytest.mark.parametrize("name", INPUTS)
def test_chroma_is_the_references(name: str) -> None:
    wave = wave_of(name)
    soft = chroma.chroma(wave)
    assert soft.shape == (FACTS[name]["n_frames"], 12) == (chroma.num_frames(wave.shape[0]), 12)
    torch.testing.assert_close(soft, NUMBERS[f"{name}/soft"], atol=1e-5, rtol=0)
    assert torch.equal(chroma.quantise(soft), NUMBERS[f"{name}/argmax"])
    assert chroma.quantise(soft).argmax(-1).tolist() == FACTS[name]["argmax_bins"]


def test_filters_are_the_references() -> None:
    torch.testing.assert_close(chroma._filters(), NUMBERS["fbanks"], atol=1e-7, rtol=0)


def test_batched_chroma_is_the_single_one() -> None:
    pair = torch.stack([wave_of("melody_a"), wave_of("melody_b")])
    torch.testing.assert_close(chroma.chroma(pair)[1], chroma.chroma(pair[1]))


def test_of_audio_mixes_down_and_resamples() -> None:
    # 440 Hz is A whatever the rate and the channels.
    t = torch.arange(48_000 * 2) / 48_000
    tone = torch.sin(2 * torch.pi * 440 * t)
    frames = chroma.of_audio(audio.Audio(torch.stack([tone, 0.5 * tone, 0.2 * tone]), 48_000))
    assert frames.argmax(-1).unique().tolist() == [chroma.PITCH_CLASSES.index("A")]


@pytest.mark.parametrize("length", [1, 40, 79, 235])
def test_fit_repeats_and_cuts(length: int) -> None:
    frames = torch.eye(12)[torch.arange(40) % 12]
    fitted = chroma.fit(frames, length)
    assert fitted.shape == (length, 12)
    assert all(torch.equal(fitted[i], frames[i % 40]) for i in range(length))
