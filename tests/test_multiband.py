"""Multi-band diffusion against the numbers of audiocraft's own classes, and its uses."""

import json
import shutil
from pathlib import Path

import julius
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import kstest

import musicgen
from evaluation.systems.base import Request, SystemOptions
from evaluation.systems.registry import load_system
from musicgen import catalog
from musicgen.__main__ import main
from musicgen.cancellation import Cancellation, Cancelled
from musicgen.checkpoint import multiband as file
from musicgen.checkpoint.omegaconf_values import plain
from musicgen.decoders import MultiBandDiffusion, multiband
from musicgen.decoders.frequency_bands import split
from musicgen.engine.scheduler import Scheduler
from musicgen.errors import CheckpointError, InputError
from musicgen.model import MusicGen
from musicgen.settings import Settings
from musicgen.tokenizers import StereoTokenizer
from tests import standins
from tests.conftest import GOLDEN, TEXTS

FOLDER = GOLDEN / "mbd"
FACTS = json.loads((FOLDER / "facts.json").read_text())
STEPS = 20
"""Evaluations of a band's network for a clip of one window."""


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_file(FOLDER / "golden.safetensors")


@pytest.fixture(scope="module")
def decoder() -> MultiBandDiffusion:
    return file.read(FOLDER / catalog.MULTI_BAND.file)


def _saved(path: Path, change) -> Path:
    """The golden file with plain values in place of OmegaConf's, changed."""
    package = file.read_pickle(FOLDER / catalog.MULTI_BAND.file, file.CLASSES)
    for band in range(4):
        package[band]["cfg"] = plain(package[band]["cfg"])
    change(package)
    torch.save(package, path)
    return path


def publish(cache: Path, folder: Path) -> None:
    """A decoder of the first band alone, which is faster than four, under the published name."""
    folder.mkdir(exist_ok=True)
    _saved(folder / catalog.MULTI_BAND.file, lambda package: package.update(n_bands=1))
    standins.publish(cache, catalog.MULTI_BAND.name, folder)


@pytest.fixture(scope="module")
def folder(hub_cache: Path, audiocraft_folder, tmp_path_factory) -> Path:
    """A model in a folder, and a decoder on the hub."""
    publish(hub_cache, tmp_path_factory.mktemp("mbd"))
    return audiocraft_folder("text")


@pytest.fixture(scope="module")
def model(folder: Path) -> MusicGen:
    return musicgen.load(folder, decoder="mbd")


@pytest.mark.parametrize("band", range(4), ids=["plain", "lstm", "transformer", "cross-attention"])
def test_networks_are_the_references(decoder: MultiBandDiffusion, golden, band: int) -> None:
    one = decoder.bands[band]
    with torch.no_grad():
        noise = one.network(golden["unet/x"], FACTS["step"], golden["unet/condition"])
    torch.testing.assert_close(noise, golden[f"unet/out{band}"], atol=2e-6, rtol=0)
    if f"returned{band}" in golden:
        torch.testing.assert_close(one.rescaled(golden["unet/x"]), golden[f"returned{band}"], atol=2e-5, rtol=0)


def test_the_waveform_is_the_references(model: MusicGen, decoder: MultiBandDiffusion, golden) -> None:
    codes = golden["codes"].long()
    vectors = model.tokenizer.vectors(codes)
    for index, band in enumerate(decoder.bands):

        def noise(draw: int, samples: int, index: int = index) -> torch.Tensor:
            return multiband.normal_noise([FACTS["seed"], FACTS["domain"], index, draw], 0, samples)

        with torch.no_grad():
            made = band(vectors, golden["wave"].shape[2], noise, lambda: None)
        torch.testing.assert_close(made, golden[f"band{index}"], atol=5e-4, rtol=0)  # of values up to 80
    count: list[None] = []
    wave = decoder.decode(model.tokenizer, codes, [FACTS["seed"]], lambda: count.append(None))
    torch.testing.assert_close(wave, golden["wave"], atol=2e-5, rtol=0)
    assert len(count) == decoder.num_steps(model.tokenizer, 6) == 4 * STEPS
    assert (golden["wave"] - golden["codec"]).abs().max() > 0.1  # which the tokeniser's own decoder makes of them


def test_a_clip_depends_on_its_own_codes_and_seed(model: MusicGen, golden) -> None:
    codes = golden["codes"].long()
    alone = model.decode(codes, 5)
    pair = model.decode(torch.cat([codes.flip(2), codes]), [8, 5])
    assert torch.equal(pair[1:], alone)
    assert not torch.equal(model.decode(codes, 6), alone)


def test_stereo_is_two_passes(model: MusicGen, golden) -> None:
    codes = golden["codes"].long()
    both = torch.stack([codes, codes.flip(2)], dim=2).flatten(1, 2)  # 1L, 1R, 2L, 2R, ...
    pair = StereoTokenizer(model.tokenizer)
    model.decoder.check(pair)
    wave = model.decoder.decode(pair, both, [5], lambda: None)
    assert torch.equal(wave[:, :1], model.decode(codes, 5))
    assert torch.equal(wave[:, 1:], model.decode(codes.flip(2), 5))
    assert model.decoder.num_steps(pair, 6) == 2 * STEPS


def test_long_clips_are_decoded_in_windows(model: MusicGen, golden, monkeypatch: pytest.MonkeyPatch) -> None:
    """With windows of 6 frames that overlap by 2: [0, 6), [4, 10), [8, 13)."""
    monkeypatch.setattr(multiband, "WINDOW_SECONDS", 0.12)
    monkeypatch.setattr(multiband, "OVERLAP_SECONDS", 0.04)
    codes, hop = torch.cat([golden["codes"].long()] * 3, dim=2)[:, :, :13], model.tokenizer.hop
    count: list[None] = []
    whole = model.decoder.decode(model.tokenizer, codes, [7], lambda: count.append(None))
    assert whole.shape == (1, 1, 13 * hop)
    assert len(count) == model.decoder.num_steps(model.tokenizer, 13) == 3 * STEPS
    assert [model.decoder.num_steps(model.tokenizer, frames) // STEPS for frames in (6, 7, 10, 11)] == [1, 2, 2, 3]
    first = model.decode(codes[:, :, :6], 7)
    torch.testing.assert_close(whole[..., : 4 * hop], first[..., : 4 * hop], atol=1e-6, rtol=0)
    second = model.decoder.decode_side(model.tokenizer, codes[:, :, 4:10], 7, 4 * hop, lambda: None)
    fade = torch.linspace(0, 1, 2 * hop)
    faded = first[..., 4 * hop :] * (1 - fade) + second[..., : 2 * hop] * fade
    torch.testing.assert_close(whole[..., 4 * hop : 6 * hop], faded, atol=2e-5, rtol=0)
    torch.testing.assert_close(whole[..., 6 * hop : 8 * hop], second[..., 2 * hop : 4 * hop], atol=1e-6, rtol=0)

    stream = model.decoder.stream(model.tokenizer, [7], lambda: None)
    parts = [stream.push(codes[:, :, start : start + 3], last=start == 12) for start in range(0, 13, 3)]
    assert [part.shape[2] // hop for part in parts] == [0, 0, 4, 4, 5]
    assert torch.equal(torch.cat(parts, dim=2), whole)


def test_the_noise_belongs_to_the_place_and_is_normal() -> None:
    whole = multiband.normal_noise([1, 2], 0, 100_000)
    for start in (1, 6, 7, 640):
        assert torch.equal(multiband.normal_noise([1, 2], start, 1000), whole[start : start + 1000])
    assert kstest(whole.numpy(), "norm").pvalue > 0.01
    assert not torch.equal(multiband.normal_noise([1, 3], 0, 100), whole[:100])


@pytest.mark.parametrize(
    ("count", "rate", "samples"), [(32, 32_000, 9000), (8, 32_000, 999), (4, 24_000, 5000), (1, 32_000, 9)]
)
def test_frequency_bands_are_julius(count: int, rate: int, samples: int) -> None:
    wave = torch.randn(2, 1, samples)
    ours = torch.stack(list(split(wave, count, rate)))
    torch.testing.assert_close(ours, julius.split_bands(wave, rate, n_bands=count), atol=3e-5, rtol=0)
    torch.testing.assert_close(ours.sum(dim=0), wave, atol=1e-6, rtol=0)


def test_generation_streaming_and_progress(model: MusicGen, folder: Path) -> None:
    steps: list[tuple[int, int]] = []
    wave = model.generate(TEXTS[0], 0.12, seed=3, progress=lambda *step: steps.append(step))[0]
    total = 6 + 3 + STEPS  # frames, the pattern's delays, and the networks
    assert steps == [(step, total) for step in range(1, total + 1)]
    codes = musicgen.load(folder).generate_codes(TEXTS[0], 0.12, seed=3)
    assert torch.equal(model.decode(codes, 3)[0], wave)  # the decoder changes no code
    assert torch.equal(torch.cat(list(model.stream(TEXTS[0], 0.12, seed=3)), dim=1), wave)

    with Scheduler(model, slots=2) as scheduler:
        seen: list[tuple[int, int]] = []
        parts = list(scheduler.stream(TEXTS[0], 0.12, seed=3, progress=lambda *step: seen.append(step)))
    torch.testing.assert_close(torch.cat(parts, dim=1), wave, atol=1e-4, rtol=0)
    assert seen[-1] == (total, total)


def test_decoding_is_cancelled_between_two_steps(model: MusicGen, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped, seen, stream = Cancellation(), [], model.decoder.stream

    def watched(tokenizer, seeds, report):
        def count() -> None:
            seen.append(None)
            if len(seen) == 3:
                stopped.cancel()
            report()

        return stream(tokenizer, seeds, count)

    monkeypatch.setattr(model.decoder, "stream", watched)
    with Scheduler(model, slots=1) as scheduler:
        with pytest.raises(Cancelled):
            list(scheduler.stream(TEXTS[0], 0.12, seed=3, cancellation=stopped))
        assert len(seen) == 3
        assert len(list(scheduler.stream(TEXTS[0], 0.12, seed=3))) == 1  # the next clip is not affected

    with pytest.raises(KeyboardInterrupt):
        model.generate(TEXTS[0], 0.12, progress=_interrupt_at(20))


def _interrupt_at(step: int):
    def progress(done: int, total: int) -> None:  # noqa: ARG001
        if done == step:
            raise KeyboardInterrupt

    return progress


def test_shell_stored_settings_and_evaluation(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, plain_clip = tmp_path / "a.wav", tmp_path / "b.wav", tmp_path / "c.wav"
    arguments = ["generate", "jazz", "--model", str(folder), "--duration", "0.12", "--seed", "3"]
    assert main([*arguments, "--decoder", "mbd", "-o", str(first)]) == 0
    assert Settings.of_file(first).decoder == "mbd"
    assert main(["generate", "--from-file", str(first), "--model", str(folder), "-o", str(second)]) == 0
    assert first.read_bytes() == second.read_bytes()
    assert main(["generate", "--from-file", str(first), "--model", str(folder), "--decoder", "codec",
                 "-o", str(plain_clip)]) == 0  # fmt: skip
    assert Settings.of_file(plain_clip).decoder == "codec"
    assert first.read_bytes() != plain_clip.read_bytes()

    system = load_system(str(folder), SystemOptions(device="cpu", batch=2, settings={"decoder": "mbd"}))
    (clip,) = system.generate([Request("1", "jazz", 3, 0.12)])
    assert (clip.rate, clip.wave.shape) == (32_000, (1, 3840))
    assert system.settings["decoder"] == "mbd"
    capsys.readouterr()


def test_what_does_not_fit_is_refused_by_name(folder: Path, audiogen: Path, hub_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown decoder 'vocos': one of codec, mbd"):
        musicgen.load(folder, decoder="vocos")
    message = (
        "decodes mono EnCodec at 32000 Hz with vectors of 32 numbers, and the model's EnCodec has 1 channel at 16000 Hz"
    )
    with pytest.raises(InputError, match=message):
        musicgen.load(audiogen, decoder="mbd")
    with pytest.raises(InputError, match="unknown decoder 'x'"):
        Settings("0", "mini", "x", 1.0, 1, decoder="x")
    shutil.rmtree(hub_cache / f"models--{catalog.MULTI_BAND.name.replace('/', '--')}")
    with pytest.raises(
        CheckpointError, match="'facebook/multiband-diffusion' is not on this machine and the hub cannot"
    ):
        musicgen.load(folder, decoder="mbd")
    publish(hub_cache, tmp_path / "mbd")


@pytest.fixture
def audiogen(hub_cache: Path) -> Path:
    standins.publish(hub_cache, "t5-large", GOLDEN / "t5_tiny")
    return GOLDEN / "audiogen"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("n_bands"), "n_bands is None: it must be a whole number above 0"),
        (lambda p: p.pop(3), "no configuration and weights of band 3 of 4"),
        (
            lambda p: p[1]["cfg"]["diffusion_unet"].update(codec_dim=None),
            r"band 1.*codec_dim is not set: .*reads no codes",
        ),
        (lambda p: p[0]["cfg"]["diffusion_unet"].update(hidden=8), r"band 0.*'encoders.0.conv.weight' has the shape"),
        (lambda p: p[0]["cfg"]["diffusion_unet"].update(bilstm=True), r"band 0.*tensors are missing.*bilstm"),
        (lambda p: p[1]["cfg"]["diffusion_unet"].update(bilstm=False), r"band 1.*the tensor 'bilstm.* is none that"),
        (
            lambda p: p[0]["cfg"]["diffusion_unet"].update(hidden="${width}"),
            r"hidden is '\$\{width\}': it must be a whole",
        ),
        (
            lambda p: p[2]["cfg"]["schedule"].update(repartition="cosine"),
            "schedule.repartition is 'cosine': 'power' is",
        ),
        (lambda p: p[2]["cfg"]["schedule"].update(num_steps=100), "schedule.num_steps is 100: 1000 is supported"),
        (lambda p: p[2]["cfg"]["processor"].update(n_bands=9), r"processor.n_bands is 9, the weights hold sum_x \[8\]"),
        (lambda p: p[2]["processor_state"]["counts"].zero_(), "levels of music in processor_state are not finite"),
        (lambda p: p[2]["cfg"].pop("processor"), "the configuration cannot be followed .'processor'."),
        (lambda p: p[0]["model_state"]["conv_codec.bias"].fill_(torch.nan), "'conv_codec.bias' holds NaN"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, change, message: str) -> None:
    path = _saved(tmp_path / "mbd.th", change)
    with pytest.raises(CheckpointError, match=message):
        file.read(path)


class _Code:
    def __reduce__(self):
        return (print, ("run",))


def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _saved(tmp_path / "mbd.th", lambda package: package[0].update(cfg=_Code()))
    with pytest.raises(CheckpointError, match=r"refused: this pickle needs more than tensors and plain values"):
        file.read(path)
    assert capsys.readouterr().out == ""


def test_omegaconfs_values_are_read_without_it() -> None:
    package = file.read_pickle(FOLDER / catalog.MULTI_BAND.file, file.CLASSES)
    config = plain(package[3]["cfg"])
    assert config["diffusion_unet"]["cross_attention"] is True
    assert (config["schedule"]["beta_exp"], config["processor"]["power_std"], config["n_q"]) == (7.5, 0.75, 4)
    assert config["optim"]["adam"]["betas"] == [0.9, 0.999]
    assert config["optim"]["ema"]["device"] == "${device}"
