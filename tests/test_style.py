"""MusicGen-Style against the numbers of audiocraft's own classes: conditioner, guidance of three rows, codes; and its uses."""

import json
import shutil
from pathlib import Path

import julius
import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file

import musicgen
from evaluation.systems.base import Request, SystemOptions
from evaluation.systems.registry import load_system
from musicgen import audio
from musicgen.__main__ import main
from musicgen.engine.scheduler import Scheduler
from musicgen.errors import CheckpointError, InputError
from musicgen.guidance import guidance_rows, guided
from musicgen.model import MusicGen
from musicgen.settings import Settings
from tests import standins
from tests.conftest import GOLDEN, TEXTS
from tests.test_audiocraft import edit, put

FOLDER = GOLDEN / "style"
NAME, MERT = "facebook/musicgen-style", "m-a-p/MERT-v1-95M"
FACTS = json.loads((FOLDER / "facts.json").read_text())
ALPHA, BETA = FACTS["alpha"], FACTS["beta"]
DOUBLE = {"style_guidance_scale": ALPHA, "guidance_scale": ALPHA * BETA}
RATE = FACTS["sample_rate"]
WAVE = torch.from_numpy(soundfile.read(GOLDEN / FACTS["wave"], dtype="float32")[0])
EXCERPT = WAVE[: 3 * RATE]


@pytest.fixture(scope="module")
def published(hub_cache: Path, audiocraft_folder) -> Path:
    """The golden model and MERT under their published names; the folder of the former."""
    standins.publish(hub_cache, MERT, FOLDER / "mert")
    folder = audiocraft_folder("text")
    shutil.copy(FOLDER / "state_dict.bin", folder)
    standins.publish(hub_cache, NAME, folder)
    return folder


@pytest.fixture(scope="module")
def model(published: Path) -> MusicGen:
    return musicgen.load(published)


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_file(FOLDER / "golden.safetensors")


def to_mert(wave: torch.Tensor) -> torch.Tensor:
    """The reference's resampling, which has other taps than ours."""
    return julius.resample_frac(wave[None], RATE, 24_000)


def test_features_are_the_references(model: MusicGen, golden: dict[str, torch.Tensor]) -> None:
    style = model.named_conditioners["style"]
    with torch.no_grad():
        states = style.features(to_mert(EXCERPT)).last_hidden_state
    torch.testing.assert_close(states, golden["mert/states"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("codebooks", [1, 3, 6])
def test_conditions_are_the_references(model: MusicGen, golden: dict[str, torch.Tensor], codebooks: int) -> None:
    style = model.named_conditioners["style"]
    condition = style.condition(style.hidden(to_mert(EXCERPT)), codebooks)
    torch.testing.assert_close(condition.values, golden[f"style/books{codebooks}"], atol=1e-5, rtol=0)
    assert torch.equal(condition.mask.int(), golden[f"style/mask{codebooks}"])


def test_what_users_pass_becomes_the_references_condition(model: MusicGen, golden: dict[str, torch.Tensor]) -> None:
    """By our own resampling, whose tiny differences leave the quantiser's choices as they are."""
    style = model.named_conditioners["style"]
    for codebooks in (1, 3, 6):
        options = musicgen.GenerationOptions(style_codebooks=codebooks)
        prepared = style.prepare((EXCERPT.numpy(), RATE), options=options)
        values = style([style.seeded(prepared, 1)]).values
        torch.testing.assert_close(values, golden[f"style/books{codebooks}"], atol=1e-4, rtol=0)
    half = style.prepare((WAVE[: RATE * 3 // 2].numpy(), RATE))
    assert half.length == RATE * 3 // 2  # shorter than the excerpt: taken whole
    torch.testing.assert_close(style([half]).values, golden["style/short"], atol=1e-4, rtol=0)


def test_logits_of_three_rows_and_their_mixture_are_the_references(
    model: MusicGen, golden: dict[str, torch.Tensor]
) -> None:
    style = model.named_conditioners["style"]
    given = {"style": style.condition(style.hidden(to_mert(EXCERPT)), 3), "text": model.text(TEXTS[:1])}
    nulls = {name: one.zeroed() for name, one in given.items()}
    options = musicgen.GenerationOptions(**DOUBLE)
    rows = guided(given, nulls, guidance_rows(options, given), model.fuser)
    codes = golden["rows/codes"].long()
    layout = model.pattern.layout(codes.shape[2])
    sequence = layout.build(codes, model.lm.config.special_token)[:, :, :-1].expand(3, -1, -1)
    with torch.no_grad():
        logits = model.lm(sequence, rows.conditions)[:, :, : layout.num_valid_steps]
    expected = golden["rows/logits"]
    torch.testing.assert_close(layout.revert_logits(logits, fill=0.0)[0], expected, atol=1e-4, rtol=0)
    both, only, null = expected
    torch.testing.assert_close(
        rows.mix(expected)[0], null + ALPHA * (only + BETA * (both - only) - null), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize(
    ("run", "text", "style", "options"),
    [
        ("both", TEXTS[0], True, {}), ("double", TEXTS[0], True, DOUBLE), ("style", None, True, {}),
        ("text", TEXTS[0], False, {}),
    ],
)  # fmt: skip
def test_greedy_codes_are_the_references(
    model: MusicGen, golden: dict[str, torch.Tensor], run: str, text: str | None, style: bool, options: dict[str, float]
) -> None:
    options = musicgen.GenerationOptions(do_sample=False, **options)
    given = (EXCERPT.numpy(), RATE) if style else None
    codes = model.generate_codes([text], 0.6, style=given, options=options, seed=4)
    assert torch.equal(codes, golden[f"{run}/codes"].long())


def test_the_clips_seed_places_the_excerpt(model: MusicGen) -> None:
    style = model.named_conditioners["style"]
    prepared = style.prepare((WAVE.numpy(), RATE))
    starts = [style.seeded(prepared, seed).start for seed in range(40)]
    assert starts == [style.seeded(prepared, seed).start for seed in range(40)]
    room = len(WAVE) - 3 * RATE
    assert all(0 <= start <= room for start in starts)
    assert np.std(starts) == pytest.approx(room / 12**0.5, rel=0.3)
    assert np.mean(starts) == pytest.approx(room / 2, rel=0.3)
    placed = style.seeded(prepared, 3)
    assert style.seeded(placed, 9) is placed  # the sections of a timeline share one excerpt
    assert torch.equal(placed.excerpt, WAVE[placed.start : placed.start + 3 * RATE])
    # A clip depends on its own seed, not on its place in a batch; in a scheduler it is the same.
    given = (WAVE.numpy(), RATE)
    pair = model.generate_codes([None, None], 0.4, style=given, seed=[8, 3])
    alone = model.generate_codes([None], 0.4, style=given, seed=3)
    assert torch.equal(pair[1], alone[0])
    with Scheduler(model, slots=1) as scheduler:
        wave = scheduler.submit(None, 0.4, style=given, seed=3).result()
    torch.testing.assert_close(wave, model.decode(alone)[0], atol=1e-4, rtol=0)


def test_a_saved_model_needs_no_hub(model: MusicGen, tmp_path: Path, hub_cache: Path) -> None:
    musicgen.save(model, tmp_path / "out")
    hidden = (hub_cache / "models--m-a-p--MERT-v1-95M").rename(hub_cache / "hidden")
    try:
        again = musicgen.load(tmp_path / "out")
        with pytest.raises(CheckpointError, match="MERT-v1-95M"):
            musicgen.load(NAME)
    finally:
        hidden.rename(hub_cache / "models--m-a-p--MERT-v1-95M")
    arguments = {"style": (WAVE.numpy(), RATE), "seed": 3}
    assert torch.equal(
        again.generate_codes(TEXTS[:1], 0.4, **arguments), model.generate_codes(TEXTS[:1], 0.4, **arguments)
    )


def test_an_audiocraft_export_has_the_published_names_and_gives_the_same_codes(
    model: MusicGen, golden: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    musicgen.save(model, tmp_path / "out", layout="audiocraft")
    packages = [torch.load(folder / "state_dict.bin", weights_only=True) for folder in (tmp_path / "out", FOLDER)]
    shapes = [{name: tensor.shape for name, tensor in package["best_state"].items()} for package in packages]
    assert shapes[0] == shapes[1]
    ours, theirs = (yaml.safe_load(package["xp.cfg"]) for package in packages)
    assert ours["conditioners"]["self_wav"].keys() == theirs["conditioners"]["self_wav"].keys()
    own, published = (part["conditioners"]["self_wav"]["style"] for part in (ours, theirs))
    assert own == published | {"sample_rate": RATE, "num_codebooks_lm": 4}
    again = musicgen.load(tmp_path / "out")
    codes = again.generate_codes(
        TEXTS[:1],
        0.6,
        style=(EXCERPT.numpy(), RATE),
        seed=4,
        options=musicgen.GenerationOptions(do_sample=False, **DOUBLE),
    )
    assert torch.equal(codes, golden["double/codes"].long())


def test_an_audiocraft_export_has_no_other_feature_extractor(published: Path, tmp_path: Path) -> None:  # noqa: ARG001
    other = musicgen.load(NAME)
    with torch.no_grad():
        next(iter(other.named_conditioners["style"].features.parameters())).mul_(2)
    with pytest.raises(CheckpointError, match="which is m-a-p/MERT-v1-95M: this model's is another one"):
        musicgen.save(other, tmp_path / "out", layout="audiocraft")


def test_shell_stored_settings_and_evaluation(
    published: Path,  # noqa: ARG001 (publishes the model)
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, first, second = tmp_path / "song.wav", tmp_path / "a.wav", tmp_path / "b.wav"
    soundfile.write(file, WAVE.numpy(), RATE)
    arguments = ["generate", "jazz", "--model", NAME, "--duration", "0.4", "--seed", "3", "--style", str(file)]
    more = ["--style-seconds", "2", "--style-codebooks", "2", "--style-guidance-scale", "3", "--guidance-scale", "15"]
    assert main([*arguments, *more, "-o", str(first)]) == 0
    stored = Settings.of_file(first)
    assert stored.conditions["style"].name == "song.wav"
    assert (stored.options.style_seconds, stored.options.style_codebooks) == (2.0, 2)
    capsys.readouterr()
    assert main(["generate", "--from-file", str(first), "-o", str(second)]) == 2
    assert "made with the file 'song.wav': pass it again as --style FILE" in capsys.readouterr().err
    assert main(["generate", "--from-file", str(first), "--style", str(file), "-o", str(second)]) == 0
    assert first.read_bytes() == second.read_bytes()
    assert main([*arguments[:-1], str(tmp_path / "none.wav"), "-o", str(second)]) == 2
    assert "no such file: --style takes a recording" in capsys.readouterr().err

    system = load_system(NAME, SystemOptions(device="cpu", batch=2, settings={"style_codebooks": 2}))
    clips = system.generate([Request("1", "jazz", 3, 0.4, melody=file), Request("2", "jazz", 3, 0.4)])
    assert not torch.equal(clips[0].wave, clips[1].wave)

    assert main(["models"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(NAME)]
    assert "text + style" in line
    assert line.endswith("yes")


def recorded(seconds: float, level: float = 0.1, rate: int = 32_000) -> tuple[np.ndarray, int]:
    return (np.random.default_rng(0).normal(0, level, int(seconds * rate)).astype("float32"), rate)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (recorded(1.4), {}, "the style is 1.40 s long: a style needs 1.5 s at least"),
        (recorded(3.0, level=0.0), {}, "the style is silent"),
        ((np.full(96_000, np.nan, dtype="float32"), 32_000), {}, "the style holds NaN or infinite samples"),
        (np.zeros(9), {}, "the style is an array without its sample rate"),
    ],
)
def test_bad_styles(model: MusicGen, given: object, options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.generate_codes(["x"], 0.2, style=given, options=options)


def test_bad_options() -> None:
    for values, message in (
        ({"style_seconds": 1.0}, "style_seconds is 1: it must lie between 1.5 and 4.5"),
        ({"style_codebooks": 7}, "style_codebooks is 7: it must be a whole number from 1 to 6"),
        ({"style_guidance_scale": -1.0}, "style_guidance_scale is -1: it must lie between 0 and 100"),
    ):
        with pytest.raises(InputError, match=message):
            musicgen.GenerationOptions(**values)


def test_other_models_say_that_they_follow_no_style(audiocraft_folder) -> None:
    with pytest.raises(
        InputError, match=r"follows text only: a style needs a style model, such as facebook/musicgen-style"
    ):
        musicgen.load(audiocraft_folder("text")).generate_codes(["x"], 0.2, style=recorded(3.0))
    with pytest.raises(InputError, match="the style is given twice"):
        musicgen.GenerationRequest.of("x", style=1, conditions={"style": 2})


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model_name", "encodec", "model_name is 'encodec': only 'mert' is supported"),
        ("batch_norm", False, "batch_norm is False: only True is supported"),
        ("use_middle_of_segment", True, "use_middle_of_segment is True: only False is supported"),
        ("transformer_scale", "none", "transformer_scale is 'none': one of xsmall, default, large is supported"),
        ("n_q_out", 9, "the configuration says 9 style codebooks, the weights hold 6"),
        ("length", 9.0, "style excerpts of 9 s: 1.5 to 4.5 s are possible"),
        ("eval_q", 7, "7 style codebooks of 6"),
        ("bins", 64, "'quantiser.codebooks' has the shape"),
    ],
)
def test_settings_that_change_the_music_are_refused_by_name(
    published: Path, tmp_path: Path, path: str, value: object, message: str
) -> None:
    folder = edit(shutil.copytree(published, tmp_path / "m"), put(f"conditioners.self_wav.style.{path}", value))
    with pytest.raises(CheckpointError) as caught:
        musicgen.load(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_absent_is_audiocrafts_default(published: Path, tmp_path: Path, golden) -> None:
    folder = shutil.copytree(published, tmp_path / "m")
    for name in ("transformer_scale", "ds_factor", "n_q_out", "eval_q", "batch_norm", "use_middle_of_segment"):
        edit(folder, put(f"conditioners.self_wav.style.{name}", ...))
    options = musicgen.GenerationOptions(do_sample=False)
    codes = musicgen.load(folder).generate_codes(TEXTS[:1], 0.6, style=(EXCERPT.numpy(), RATE), options=options)
    assert torch.equal(codes, golden["both/codes"].long())


def test_the_published_shape_has_the_catalogues_size() -> None:
    from transformers import HubertConfig

    from musicgen import catalog
    from musicgen.conditioners.style import StyleConditioner, StyleShape, feature_extractor

    entry = next(entry for entry in catalog.PUBLISHED if entry.style)
    with torch.device("meta"):
        style = StyleConditioner(feature_extractor(HubertConfig().to_dict()), StyleShape(), entry.dim)
    values = style.state_dict()
    size = 4 * sum(value.numel() for value in values.values()) - 4 * sum(
        p.numel() for p in style.projection.parameters()
    )
    text = next(one for one in catalog.PUBLISHED if one.name == "facebook/musicgen-medium")
    assert entry.beside_bytes - text.beside_bytes == pytest.approx(size, rel=0.001)
    assert style.max_length == entry.positions(0)[0] - text.positions(0)[0]
    longest = torch.zeros(1, round(4.5 * 24_000), device="meta")
    assert style.features(longest).last_hidden_state[:, ::15].shape[1] == style.max_length


def test_the_excerpt_is_read_from_any_file(model: MusicGen, tmp_path: Path) -> None:
    file = tmp_path / "s.flac"
    audio.write(file, audio.Audio(WAVE[None].expand(2, -1).contiguous(), RATE))
    prepared = model.named_conditioners["style"].prepare(file)
    torch.testing.assert_close(prepared.wave, WAVE, atol=1e-4, rtol=0)
