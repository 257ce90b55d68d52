"""The inaudible mark, by AudioSeal's networks at random weights in the form of the published repository."""

import json
from pathlib import Path

import pytest
import torch

import musicgen
from musicgen import audio, catalog, provenance
from musicgen.__main__ import main
from musicgen.audio import Audio
from musicgen.checkpoint import audioseal, hub
from musicgen.errors import CheckpointError, InputError
from musicgen.limiter import reach_loudness
from musicgen.settings import Settings
from musicgen.watermark import Detection, Watermark, message_of
from tests import standins

pytest.importorskip("audioseal", reason="the inaudible mark needs audioseal")
no_compile = pytest.importorskip("audioseal.libs.moshi.utils.compile").no_compile


def publish(cache: Path, folder: Path) -> None:
    """Random networks, as facebook/audioseal holds them."""
    from audioseal import builder, loader

    folder.mkdir()
    makers = (builder.create_generator, builder.create_detector)
    kinds = (builder.AudioSealWMConfig, builder.AudioSealDetectorConfig)
    torch.manual_seed(0)
    for (file, card), make, kind in zip(audioseal.CARDS.items(), makers, kinds, strict=True):
        described = loader.load_local_model_config(card)
        described.pop("checkpoint")
        network = make(loader.AudioSeal.parse_config(described, config_type=kind))
        # The published files are older than the package's layers inside layers.
        state = {name.replace(".inner_conv.", "."): value for name, value in network.state_dict().items()}
        torch.save({"model": state}, folder / file)
    standins.publish(cache, catalog.AUDIOSEAL.name, folder)


@pytest.fixture(scope="module")
def watermark(hub_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Watermark:
    publish(hub_cache, tmp_path_factory.mktemp("audioseal") / "published")
    return audioseal.load()


@pytest.mark.parametrize(("channels", "rate"), [(1, 16_000), (2, 32_000), (1, 44_100)])
def test_the_mark_is_the_packages_brought_to_the_clips_rate(watermark: Watermark, channels: int, rate: int) -> None:
    time = torch.arange(rate) / rate
    clip = Audio(0.3 * torch.sin(2 * torch.pi * 440 * time).expand(channels, -1).clone(), rate)
    message = 0b1010_0000_1111_0001
    marked = watermark.embed(clip, message)
    assert (marked.rate, marked.wave.shape) == (rate, clip.wave.shape)
    mark = marked.wave - clip.wave
    assert mark.abs().max() > 0
    assert torch.allclose(mark[0], mark[-1])  # the stereo image stays
    bits = torch.tensor([[int(bit) for bit in f"{message:016b}"]])
    with torch.no_grad(), no_compile():
        theirs = watermark.generator.get_watermark(clip.mono().resampled(16_000).wave[None], message=bits)[0]
    ours = Audio(mark[:1], rate).resampled(16_000).wave
    middle = slice(1_000, 15_000)
    correlation = torch.corrcoef(torch.stack([ours[0, middle], theirs[0, middle]]))[0, 1]
    assert correlation > 0.999 if rate == 16_000 else correlation > 0.9
    other = watermark.embed(clip, message ^ 1).wave
    assert not torch.equal(other, marked.wave)


def test_the_detector_is_the_packages(watermark: Watermark) -> None:
    clip = Audio(torch.rand(2, 16_000, generator=torch.Generator().manual_seed(1)) - 0.5, 16_000)
    with torch.no_grad(), no_compile():
        share, bits = watermark.detector.detect_watermark(clip.mono().wave[None])
    assert watermark.detect(clip) == Detection(float(share), int("".join(str(int(bit)) for bit in bits[0]), 2))


def test_a_mark_carries_the_beginning_of_the_settings_hash() -> None:
    assert message_of("a0f1" + "0" * 60) == 0xA0F1
    assert Detection(0.5, 0).found
    assert not Detection(0.49, 0).found


def test_a_clip_that_is_too_short_is_named(watermark: Watermark) -> None:
    with pytest.raises(InputError, match=r"the clip is 0\.050 s long: a mark needs 0\.1 s"):
        watermark.embed(Audio(torch.zeros(1, 800), 16_000), 0)


def test_generate_marks_the_sound_and_repeats_it(watermark: Watermark, tmp_path: Path, capsys) -> None:
    first, again = tmp_path / "clip.wav", tmp_path / "again.wav"
    made = ["generate", "drums", "-m", "mini", "-d", "1", "--seed", "1", "-o"]
    assert main([*made, str(first), "--watermark"]) == 0
    settings = Settings.of_file(first)
    assert settings.watermark
    assert main(["generate", "--from-file", str(first), "-o", str(again)]) == 0
    assert again.read_bytes() == first.read_bytes()
    wave = musicgen.load("mini").generate(["drums"], 1.0, seed=1)[0]
    digest = audio.read_tags(first)["settingssha256"]
    expected = reach_loudness(watermark.embed(Audio(wave, 32_000), message_of(digest)), -14.0).audio
    assert (audio.read(first).wave - expected.wave).abs().max() < 1 / 32_768
    capsys.readouterr()
    assert main(["inspect", str(first), "--json"]) == 0  # package and weights are here, so it listens
    (found,) = json.loads(capsys.readouterr().out)
    assert found["watermark"]["share"] == pytest.approx(watermark.detect(audio.read(first)).share)
    assert provenance.settings_sha256(found["settings"]) == digest


@pytest.mark.usefixtures("watermark")
def test_weights_of_another_kind_are_named(hub_cache: Path, tmp_path: Path) -> None:
    broken = tmp_path / "published"
    broken.mkdir()
    for file in audioseal.CARDS:
        torch.save({"model": {"encoder.weight": torch.zeros(1)}}, broken / file)
    kept = tmp_path / "kept"
    cached = hub.cached(catalog.AUDIOSEAL.name, "generator_base.pth").parent
    kept.mkdir()
    for file in audioseal.CARDS:
        (kept / file).write_bytes((cached / file).read_bytes())
    standins.publish(hub_cache, catalog.AUDIOSEAL.name, broken)
    try:
        with pytest.raises(
            CheckpointError, match=r"generator_base\.pth: its tensors are not those of audioseal_wm_16bits"
        ):
            audioseal.load()
    finally:
        standins.publish(hub_cache, catalog.AUDIOSEAL.name, kept)


def test_missing_weights_suggest_no_model(
    hub_cache: Path, watermark: Watermark, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are no model whose name could be wrong."""
    kept = hub_cache / f"models--{catalog.AUDIOSEAL.name.replace('/', '--')}"
    away = kept.rename(kept.with_name("away"))
    try:
        assert main(["generate", "x", "-m", "mini", "-d", "1", "--watermark", "-o", "never.wav"]) == 2
    finally:
        away.rename(kept)
    told = capsys.readouterr().err
    assert told.endswith("it holds the networks of the inaudible mark, so connect to the network once, or do without\n")
    assert "did you mean" not in told
    assert watermark is not None
