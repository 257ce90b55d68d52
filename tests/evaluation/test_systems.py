"""Systems: a folder, a model of this project, a diffusers pipeline; spectrogram to sound; shards; interruption."""

import inspect
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from evaluation.pipeline import generation
from evaluation.systems.base import Request, SystemOptions
from evaluation.systems.diffusers_pipelines import PIPELINES, spectrogram_to_audio
from evaluation.systems.registry import load_system
from musicgen import audio, samples
from musicgen.audio import Audio
from musicgen.errors import InputError
from tests.evaluation.conftest import music

RATE = 32_000


def requests(count=6):
    return [Request(f"{number:02d}", f"prompt {number}", 7 + number, 1.0) for number in range(count)]


class Counting:
    """A system that notes what it was asked for, and may die."""

    name, batch = "counting", 2

    def __init__(self, dies_at=None):
        self.settings = {"top": 3}
        self.asked, self.dies_at = [], dies_at

    def generate(self, wanted):
        self.asked += [request.id for request in wanted]
        if self.dies_at in self.asked:
            raise KeyboardInterrupt
        return [Audio(torch.full((1, 800), request.seed / 100), 8000) for request in wanted]


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    first = Counting(dies_at="03")
    with pytest.raises(KeyboardInterrupt):
        generation.generate(tmp_path, requests(), lambda: first, "counting", progress=False)
    second = Counting()
    assert generation.generate(tmp_path, requests(), lambda: second, "counting", progress=False) == 4
    assert second.asked == ["02", "03", "04", "05"]
    found = samples.read(tmp_path)
    assert [sample.seed for sample in found.samples] == [7, 8, 9, 10, 11, 12]
    assert found.samples[0].settings == {"top": 3, "duration": 1.0}

    def never():
        raise AssertionError("the system was opened though nothing is missing")

    assert generation.generate(tmp_path, requests(), never, "counting", progress=False) == 0


def test_shards_make_the_whole(tmp_path):
    parts = [generation.shard(requests(), f"{number}/4") for number in (1, 2, 3, 4)]
    assert sorted(request.id for part in parts for request in part) == [request.id for request in requests()]
    for part in ("0/4", "5/4", "x", "1/0"):
        with pytest.raises(InputError, match="--shard"):
            generation.shard(requests(), part)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_somebody_filled(tmp_path):
    for number in (1, 2):
        audio.write(tmp_path / f"{number:02d}.wav", Audio(music(1.0, seed=number)[None], RATE))
    opened = load_system(str(tmp_path), label="suno")
    assert opened.name == "suno"
    target = tmp_path / "samples"
    assert generation.generate(target, requests(), lambda: opened, "suno", progress=False) == 2
    assert [sample.id for sample in samples.read(target).samples] == ["01", "02"]
    audio.write(tmp_path / "01.flac", Audio(music(1.0)[None], RATE))
    with pytest.raises(InputError, match=r"01\.flac and 01\.wav are both clip 01"):
        load_system(str(tmp_path))


def test_a_model_of_this_project(audiocraft_folder):
    folder = audiocraft_folder("melody")
    opened = load_system(str(folder), SystemOptions("cpu", 2, {"top_k": 5}), "tiny")
    melody = Path(__file__).parents[1] / "golden" / "chroma" / "melody_a.wav"
    wanted = [Request("a", "calm", 1, 0.2), Request("b", "loud", 2, 0.2)]
    plain = opened.generate(wanted)
    assert [clip.wave.shape for clip in plain] == [(1, 6400), (1, 6400)]
    assert (opened.name, opened.batch, opened.settings["top_k"]) == ("tiny", 2, 5)
    alone = opened.generate(wanted[1:])
    assert torch.allclose(alone[0].wave, plain[1].wave, atol=1e-4)
    followed = opened.generate([Request("a", "calm", 1, 0.2, melody)])
    assert not torch.equal(followed[0].wave, plain[0].wave)
    with pytest.raises(InputError, match="top_q"):
        load_system(str(folder), SystemOptions(settings={"top_q": 1}))
    # The precision is recorded: what it was by itself, and what was asked for.
    assert opened.settings["precision"] == "float32"
    rounded = load_system(str(folder), SystemOptions("cpu", settings={"precision": "int8"}))
    assert rounded.settings["precision"] == "int8"
    assert not torch.equal(rounded.generate(wanted)[0].wave, plain[0].wave)


class FakePipeline:
    """Answers as a diffusers pipeline does, and notes its arguments."""

    @classmethod
    def from_pretrained(cls, repository):
        made = cls()
        made.repository, made.calls = repository, []
        return made

    def to(self, _):
        return self

    def set_progress_bar_config(self, **_):
        pass

    def __call__(self, prompt, generator, **arguments):
        self.calls.append((prompt, int(generator.initial_seed()), arguments))
        if "width" in arguments:
            from PIL import Image

            return SimpleNamespace(images=[Image.new("RGB", (arguments["width"], 512), (200, 200, 200))])
        return SimpleNamespace(audios=[np.zeros(1600, dtype=np.float32)])


@pytest.fixture
def diffusers(monkeypatch):
    names = {pipeline.kind for pipeline in PIPELINES.values()}
    module = SimpleNamespace(__version__="0", **dict.fromkeys(names, FakePipeline))
    monkeypatch.setitem(sys.modules, "diffusers", module)


@pytest.mark.usefixtures("diffusers")
def test_diffusers_pipelines_through_one_adapter():
    opened = load_system("musicldm", SystemOptions("cpu"))
    (clip,) = opened.generate([Request("a", "calm", 5, 0.1)])
    assert (clip.rate, clip.wave.shape) == (16_000, (1, 1600))
    assert opened._model.calls == [("calm", 5, {"audio_length_in_s": 0.1, "num_inference_steps": 200})]
    with pytest.raises(InputError, match="takes no melody"):
        opened.generate([Request("a", "calm", 5, 0.1, Path("x.wav"))])
    with pytest.raises(InputError, match="at most 47 s"):
        load_system("stable-audio-open", SystemOptions("cpu")).generate([Request("a", "calm", 5, 60)])
    (clip,) = load_system("riffusion", SystemOptions("cpu")).generate([Request("a", "calm", 5, 0.2)])
    assert (clip.rate, clip.wave.shape) == (44_100, (1, 8820))


@pytest.mark.parametrize("name", PIPELINES)
def test_the_real_pipelines_take_the_adapters_arguments(name):
    pipeline = PIPELINES[name]
    real = getattr(pytest.importorskip("diffusers"), pipeline.kind)
    taken = set(inspect.signature(real.__call__).parameters)
    asked = {"height", "width"} if name == "riffusion" else {pipeline.length}
    assert {"prompt", "generator", *pipeline.arguments} | asked <= taken


def test_without_diffusers_and_without_weights_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InputError, match="needs diffusers"):
        load_system("riffusion")
    with pytest.raises(InputError, match="published no weights"):
        load_system("mousai")


MOUSAI = {
    "in_channels": 2, "channels": [8, 16], "factors": [1, 4], "items": [1, 1], "cross_attentions": [0, 1],
    "attention_heads": 2, "attention_features": 8, "modulation_features": 32, "use_text_conditioning": True,
    "use_embedding_cfg": True, "embedding_max_length": 64, "embedding_features": 768,
}  # fmt: skip


@pytest.mark.usefixtures("hub_cache")
def test_mousai_is_its_authors_sampler_on_the_users_weights(tmp_path):
    package = pytest.importorskip("audio_diffusion_pytorch")
    torch.manual_seed(0)
    model = package.DiffusionModel(
        net_t=package.UNetV0, diffusion_t=package.VDiffusion, sampler_t=package.VSampler, **MOUSAI
    ).eval()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    (tmp_path / "config.json").write_text(json.dumps({"rate": 8000, "steps": 7, "model": MOUSAI}))
    opened = load_system("mousai", SystemOptions("cpu", settings={"checkpoint": str(tmp_path), "steps": 3}))
    (clip,) = opened.generate([Request("a", "a calm song", 5, 0.25)])
    noise = torch.randn(1, 2, 2048, generator=torch.Generator().manual_seed(5))
    expected = model.sample(noise, text=["a calm song"], num_steps=3, embedding_scale=5.0)
    assert clip.rate == 8000
    assert torch.allclose(clip.wave, expected[0, :, :2000], atol=1e-6)
    assert opened.settings["steps"] == 3
    with pytest.raises(InputError, match="unknown setting 'step'"):
        load_system("mousai", SystemOptions(settings={"checkpoint": str(tmp_path), "step": 3}))
    with pytest.raises(InputError, match="no rate and model"):
        load_system("mousai", SystemOptions(settings={"checkpoint": str(tmp_path / "none")}))


def test_a_drawn_line_sounds_at_its_pitch():
    """The inverse of Riffusion's picture: one dark row is a tone at the middle of its mel band."""
    image = np.full((512, 60), 255, dtype=np.uint8)
    row = 300
    image[511 - row] = 0
    wave = spectrogram_to_audio(image, torch.Generator().manual_seed(0))[0].numpy()
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    loudest = np.fft.rfftfreq(len(wave), 1 / 44_100)[spectrum.argmax()]
    top = 2595 * math.log10(1 + 10_000 / 700)
    expected = 700 * (10 ** (top * (row + 1) / 513 / 2595) - 1)
    assert loudest == pytest.approx(expected, rel=0.02)
