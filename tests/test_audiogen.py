"""AudioGen: T5-large, EnCodec at 16 kHz, a window of 10 s; against the numbers of audiocraft's own classes."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import musicgen
from evaluation.systems.base import Request, SystemOptions
from evaluation.systems.registry import load_system
from musicgen import audio
from musicgen.__main__ import main
from musicgen.model import MusicGen
from musicgen.settings import Settings
from tests import standins
from tests.conftest import GOLDEN, TEXTS

FOLDER = GOLDEN / "audiogen"
GREEDY = musicgen.GenerationOptions(do_sample=False, guidance_scale=3.0)


@pytest.fixture(scope="module")
def published(hub_cache: Path) -> str:
    """The golden model under its published name, and a T5 under the one that it points to."""
    standins.publish(hub_cache, "t5-large", GOLDEN / "t5_tiny")
    snapshot = standins.publish(hub_cache, "facebook/audiogen-medium", FOLDER)
    assert {path.name for path in snapshot.iterdir()} >= {"state_dict.bin", "compression_state_dict.bin"}
    return "facebook/audiogen-medium"


@pytest.fixture
def model(published: str) -> MusicGen:
    loaded = musicgen.load(published)
    loaded.text.mask_padding = False  # the reference attends the padding of mixed lengths
    return loaded


@pytest.mark.parametrize("run", ["gen1", "gen2", "extend"])
def test_greedy_codes_are_the_references(model: MusicGen, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = load_file(FOLDER / "golden.safetensors")[f"{run}/codes"].long()
    assert (model.sample_rate, model.frame_rate, model.max_duration) == (16_000, 50.0, 10.0)
    options, duration = GREEDY, 0.8
    if run == "extend":
        monkeypatch.setattr(model, "max_duration", 0.64)
        options, duration = musicgen.GenerationOptions(do_sample=False, window_overlap=0.75), 1.12
    prompts = TEXTS[: golden.shape[0]]
    assert torch.equal(model.generate_codes(prompts, duration, options=options), golden)


def test_the_waveform_is_the_references(model: MusicGen) -> None:
    golden = load_file(FOLDER / "golden.safetensors")
    wave = model.decode(golden["gen1/codes"].long())
    torch.testing.assert_close(wave, golden["gen1/wave"], atol=1e-5, rtol=0)
    parts = torch.cat(list(model.stream(TEXTS[0], 0.8, options=GREEDY, chunk=0.2)), dim=1)
    torch.testing.assert_close(parts, golden["gen1/wave"][0], atol=1e-5, rtol=0)


def test_shell_stored_settings_and_evaluation(
    published: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "a.wav", tmp_path / "b.wav"
    assert main(["generate", "rain", "--model", published, "--duration", "0.4", "--seed", "3", "-o", str(first)]) == 0
    assert Settings.of_file(first).model == published
    assert main(["generate", "--from-file", str(first), "-o", str(second)]) == 0
    assert first.read_bytes() == second.read_bytes()
    assert audio.read(first).rate == 16_000

    system = load_system(published, SystemOptions(device="cpu", batch=2))
    (clip,) = system.generate([Request("1", "rain", 3, 0.4)])
    assert (clip.rate, clip.wave.shape) == (16_000, (1, 6400))

    capsys.readouterr()
    assert main(["models"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(published)]
    assert "sounds, 10 s" in line
    assert line.endswith("yes")


def test_it_is_kept_in_both_layouts(model: MusicGen, tmp_path: Path) -> None:
    golden = load_file(FOLDER / "golden.safetensors")["gen1/codes"].long()
    for layout in ("transformers", "audiocraft"):
        musicgen.save(model, tmp_path / layout, layout)
        assert torch.equal(musicgen.load(tmp_path / layout).generate_codes(TEXTS[:1], 0.8, options=GREEDY), golden)


@pytest.fixture
def without_text_encoder(published: str, hub_cache: Path, tmp_path: Path):  # noqa: ARG001
    folder, aside = hub_cache / "models--t5-large", tmp_path / "aside"
    shutil.move(folder, aside)
    yield
    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(aside, folder)


@pytest.mark.usefixtures("without_text_encoder")
def test_without_its_text_encoder(tmp_path: Path) -> None:
    with pytest.raises(musicgen.errors.CheckpointError, match="t5-large"):
        musicgen.load(shutil.copytree(FOLDER, tmp_path / "model"))
