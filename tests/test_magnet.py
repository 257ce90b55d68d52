"""MAGNeT against the numbers of audiocraft's own classes: logits with the local masks, whole generations; and its uses."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import musicgen
from evaluation.systems.base import Request, SystemOptions
from evaluation.systems.registry import load_system
from musicgen.__main__ import main
from musicgen.cancellation import Cancellation, Cancelled
from musicgen.engine import precision
from musicgen.engine.scheduler import Scheduler
from musicgen.errors import CheckpointError, InputError
from musicgen.generators import MaskedGenerator
from musicgen.guidance import Guided
from musicgen.model import MusicGen
from musicgen.sampling import ClipStream
from musicgen.settings import Settings
from tests import standins
from tests.conftest import GOLDEN, TEXTS
from tests.test_audiocraft import edit, put

FOLDER = GOLDEN / "magnet"
NAME = "facebook/magnet-small-10secs"
FACTS = json.loads((FOLDER / "facts.json").read_text())
STEPS = tuple(FACTS["decoding_steps"])
GREEDY = musicgen.GenerationOptions(do_sample=False, decoding_steps=STEPS)


@pytest.fixture(scope="module")
def published(hub_cache: Path, audiocraft_folder) -> Path:
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


def conditions(model: MusicGen, batch: int = 1) -> Guided:
    return model.guided(musicgen.GenerationRequest.of(TEXTS[:1] * batch, 1.0))


@pytest.mark.parametrize("stage", range(4))
def test_logits_are_the_references(model: MusicGen, golden: dict[str, torch.Tensor], stage: int) -> None:
    given = conditions(model, 2).conditions.of(slice(0, 2))
    with torch.no_grad():
        logits = model.lm.bidirectional(golden["pred/codes"].long(), given, None if stage == 0 else 5)
    torch.testing.assert_close(logits, golden[f"pred/logits{stage}"], atol=1e-4, rtol=0)


def test_greedy_codes_are_the_references(model: MusicGen, golden: dict[str, torch.Tensor]) -> None:
    progress: list[tuple[int, int]] = []
    codes = model.generate_codes(TEXTS[:1], 1.0, options=GREEDY, progress=lambda *step: progress.append(step))
    assert torch.equal(codes, golden["greedy/codes"].long())
    assert progress == [(step, sum(STEPS)) for step in range(1, sum(STEPS) + 1)]
    assert torch.equal(model.generate_codes(TEXTS[:1], 0.5, options=GREEDY), codes[:, :, :25])  # cut from the whole


def test_sampled_codes_are_the_references(model: MusicGen, golden: dict[str, torch.Tensor]) -> None:
    """For a fixed stream of random numbers."""
    seed = FACTS["seeds"]["sampled"]
    codes = model.generate_codes(TEXTS[:1], 1.0, seed=seed, options={"decoding_steps": STEPS})
    assert torch.equal(codes, golden["sampled/codes"].long())
    pair = model.generate_codes(TEXTS[:1] * 2, 1.0, seed=[5, seed], options={"decoding_steps": STEPS})
    assert torch.equal(pair[1:], codes)  # a clip depends on its own seed

    short = MaskedGenerator(31, decoding_steps=STEPS, temperature=1.5, top_p=0.7, guidance=(4.0, 2.0))
    (*_, last) = short.steps(
        model.lm, model.pattern, conditions(model), 30, short.completed(musicgen.GenerationOptions()),
        [ClipStream(FACTS["seeds"]["sampled_short"])],
    )  # fmt: skip
    assert torch.equal(last.codes, golden["sampled_short/codes"].long())


def test_a_continuation_is_the_references(model: MusicGen, golden: dict[str, torch.Tensor]) -> None:
    prompt = golden["sampled/codes"].long()[:, :, : FACTS["prompt_frames"]]
    request = musicgen.GenerationRequest.of(TEXTS[:1], 1.0, options=GREEDY)
    plan = model.plan_generation(request, prompt)
    for step in model.window_steps(plan, plan.windows[0]):
        last = step.codes
    assert torch.equal(torch.cat([prompt, last], dim=2), golden["prompt/codes"].long())


def test_overlapping_spans_and_products_are_the_references(
    published: Path, golden: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """`span_arrangement: stride1` and `span_scoring: prod`."""
    for name, setting in (("stride1", {"span_arrangement": "stride1"}), ("product", {"span_scoring": "prod"})):
        folder = edit(shutil.copytree(published, tmp_path / name), put("generate", {"lm": setting}))
        model = musicgen.load(folder)
        codes = model.generate_codes(TEXTS[:1], 1.0, options=GREEDY)
        assert torch.equal(codes, golden[f"{name}/greedy"].long())
        assert not torch.equal(codes[..., :48], golden["greedy/codes"].long())
        seed = FACTS["seeds"][name]
        codes = model.generate_codes(TEXTS[:1], 1.0, seed=seed, options={"decoding_steps": STEPS})
        assert torch.equal(codes, golden[f"{name}/sampled"].long())
        musicgen.save(model, tmp_path / f"{name}-again")
        again = musicgen.load(tmp_path / f"{name}-again")
        assert again.generator.config() == model.generator.config()
    overlapping = musicgen.load(tmp_path / "stride1")
    prompt = golden["sampled/codes"].long()[:, :, : FACTS["stride1_prompt_frames"]]
    plan = overlapping.plan_generation(musicgen.GenerationRequest.of(TEXTS[:1], 1.0, options=GREEDY), prompt)
    (*_, last) = overlapping.window_steps(plan, plan.windows[0])
    assert torch.equal(torch.cat([prompt, last.codes], dim=2), golden["stride1/prompt"].long())


def test_concurrent_clips_progress_and_cancellation(model: MusicGen) -> None:
    options = {"decoding_steps": (12, 8, 6, 4)}
    with Scheduler(model, slots=2) as scheduler:
        assert scheduler.bytes == 0
        handles = [scheduler.submit(TEXTS[i], 0.9, seed=i, options=options) for i in range(2)]
        stopped = Cancellation()
        third = scheduler.submit(TEXTS[0], 0.9, seed=9, options=options, cancellation=stopped)
        stopped.cancel()
        waves = [handle.result() for handle in handles]
        with pytest.raises(Cancelled):
            third.result()
        seen: list[tuple[int, int]] = []
        parts = list(scheduler.stream(TEXTS[0], 0.9, seed=0, options=options, progress=lambda *one: seen.append(one)))
    assert seen[-1] == (30, 30)
    assert len(parts) == 1  # all frames are complete at the same time
    for index, wave in enumerate([*waves, parts[0]]):
        index %= 2
        alone = model.generate(TEXTS[index], 0.9, seed=index, options=options)[0]
        torch.testing.assert_close(wave, alone, atol=1e-5, rtol=0)


def test_it_is_kept_in_the_transformers_layout(model: MusicGen, golden, tmp_path: Path) -> None:
    musicgen.save(model, tmp_path / "out")
    again = musicgen.load(tmp_path / "out")
    assert again.generator.config() == model.generator.config()
    assert torch.equal(again.generate_codes(TEXTS[:1], 1.0, options=GREEDY), golden["greedy/codes"].long())


@pytest.mark.parametrize("setting", [{}, {"span_arrangement": "stride1"}, {"span_scoring": "prod", "temp": 3.5}])
def test_an_audiocraft_export_has_the_published_names_and_gives_the_same_codes(
    published: Path, tmp_path: Path, setting: dict
) -> None:
    folder = edit(shutil.copytree(published, tmp_path / "in"), put("generate", {"lm": setting}))
    model = musicgen.load(folder)
    musicgen.save(model, tmp_path / "out", layout="audiocraft")
    packages = [torch.load(one / "state_dict.bin", weights_only=True) for one in (tmp_path / "out", folder)]
    shapes = [{name: tensor.shape for name, tensor in package["best_state"].items()} for package in packages]
    assert shapes[0] == shapes[1]
    ours, theirs = (yaml.safe_load(package["xp.cfg"]) for package in packages)
    assert ours["transformer_lm"].keys() >= theirs["transformer_lm"].keys()
    for part in ("solver", "lm_model", "codebooks_pattern", "masking", "dataset"):
        assert ours[part] == theirs[part]
    again = musicgen.load(tmp_path / "out")
    assert again.generator.config() == model.generator.config()
    codes = [one.generate_codes(TEXTS[:1], 1.0, options=GREEDY) for one in (again, model)]
    assert torch.equal(*codes)


def test_an_audiocraft_export_has_no_place_for_other_passes(published: Path, tmp_path: Path) -> None:
    model = musicgen.load(published)
    model.generator = MaskedGenerator(50, decoding_steps=(3, 2, 1, 1))
    with pytest.raises(
        CheckpointError, match=r"no place for MAGNeT's passes, \(3, 2, 1, 1\) in place of \(20, 10, 10, 10\)"
    ):
        musicgen.save(model, tmp_path / "out", layout="audiocraft")


def test_shell_stored_settings_and_evaluation(
    published: Path,  # noqa: ARG001 (publishes the model)
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = tmp_path / "a.wav", tmp_path / "b.wav"
    arguments = ["generate", "jazz", "--model", NAME, "--duration", "0.9", "--seed", "3"]
    more = [
        "--decoding-steps",
        "5,4,3,2",
        "--masked-guidance",
        "8,1",
        "--masked-temperature",
        "2",
        "--masked-top-p",
        "0.8",
    ]
    assert main([*arguments, *more, "-o", str(first)]) == 0
    assert Settings.of_file(first).options.decoding_steps == (5, 4, 3, 2)
    assert main(["generate", "--from-file", str(first), "-o", str(second)]) == 0
    assert first.read_bytes() == second.read_bytes()
    capsys.readouterr()
    assert main([*arguments, "--guidance-scale", "4", "-o", str(tmp_path / "no.wav")]) == 2
    assert "guidance_scale is 4.0: this model generates in passes over all frames (MAGNeT), pass masked_guidance" in (
        capsys.readouterr().err
    )

    system = load_system(NAME, SystemOptions(device="cpu", batch=2, settings={"decoding_steps": [3, 2, 2, 2]}))
    clips = system.generate([Request("1", "jazz", 3, 0.9), Request("2", "rock", 4, 0.9)])
    assert [clip.duration for clip in clips] == [0.9, 0.9]

    assert main(["models"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(NAME)]
    assert "music, 10 s" in line
    assert line.endswith("yes")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"duration": 1.1}, r"the clip has 55 frames and the model's window 50: .*makes no longer clips"),
        ({"timeline": "0.5 drums"}, "has no timeline: pass one prompt for the whole clip"),
        ({"options": {"top_k": 5}}, "top_k is 5: this model generates in passes"),
        ({"options": {"temperature": 2.0}}, "temperature is 2.0: .*pass masked_temperature"),
        ({"options": {"decoding_steps": [3, 3]}}, "decoding_steps has 2 numbers of passes: the model has 4 codebooks"),
        ({"melody": (torch.ones(9), 1)}, "follows text only"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(model: MusicGen, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.generate("x", **{"duration": 1.0, **arguments})


def test_options_of_masked_generation(audiocraft_folder) -> None:
    text = musicgen.load(audiocraft_folder("text"))
    with pytest.raises(InputError, match=r"masked_top_p is 0.5: this model generates step by step"):
        text.generate("x", 0.2, options={"masked_top_p": 0.5})
    for values, message in (
        ({"decoding_steps": [0]}, r"decoding_steps is \[0\]: it must be a list of whole numbers from 1 to 1000"),
        ({"masked_guidance": [1.0]}, "masked_guidance is .*: it must be two scales"),
        ({"masked_temperature": 0.0}, "masked_temperature is 0: it must lie between 0.01 and 100"),
    ):
        with pytest.raises(InputError, match=message):
            musicgen.GenerationOptions(**values)


def test_settings_of_the_file(published: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(published, tmp_path / "m")
    edit(folder, put("generate", {"lm": {"temp": 3.5, "top_p": 0.8, "max_cfg_coef": 20.0, "min_cfg_coef": 1.0}}))
    edit(folder, put("transformer_lm.subcodes_context", -1))
    config = musicgen.load(folder).generator.config()
    assert (config["temperature"], config["top_p"], config["guidance"], config["reach"]) == (
        3.5,
        0.8,
        [20.0, 1.0],
        None,
    )
    for path, value, message in (
        ("transformer_lm.causal", True, "causal is True: only False is supported"),
        ("masking", {}, "has no setting 'masking.span_len'"),
        ("masking", {"span_len": 99}, "masked generation of 50 frames in spans of 99"),
        ("generate", {"lm": {"span_arrangement": "random"}}, "with the spans 'random': one of separate, overlapping"),
        ("generate", {"lm": {"span_scoring": "mean"}}, "with the scores of spans 'mean': one of max, product"),
        ("generate", {"lm": {"anneal_temp": False}}, "generate.lm.anneal_temp is False: only True is supported"),
    ):
        broken = edit(shutil.copytree(folder, tmp_path / path / message[:20]), put(path, value))
        with pytest.raises(CheckpointError, match=message):
            musicgen.load(broken)


def test_what_needs_step_by_step_generation_refuses_it(
    published: Path,  # noqa: ARG001 (publishes the model)
) -> None:
    from evaluation.systems import language_model
    from musicgen.training.lm import initialization
    from musicgen.training.lm.config import LMRecipe

    with pytest.raises(InputError, match=f"{NAME} does not generate step by step: it has no perplexity"):
        language_model.measure(NAME, None, [], device="cpu", batch=1)
    recipe = LMRecipe.from_dict({"data": {"path": "."}, "start": {"model": NAME}})
    with pytest.raises(InputError, match="it cannot be fine-tuned here"):
        initialization.fine_tuned_model(recipe)


def test_auto_does_not_quantise_what_computes_more_than_it_reads() -> None:
    shape = musicgen.lm.LMConfig(1024, 16, 24, 4)
    assert precision.resolve("auto", torch.device("cpu"), shape, autoregressive=False) == "float32"
