"""Whole runs at toy size: they learn, go on after a kill as if nothing had happened, and agree over processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import MusicgenForConditionalGeneration, MusicgenMelodyForConditionalGeneration

import musicgen
from musicgen import audio, patterns
from musicgen.__main__ import main
from musicgen.cancellation import Cancellation
from musicgen.errors import InputError
from musicgen.training.lm.config import LMRecipe
from musicgen.training.lm.optimiser import learning_rate
from musicgen.training.lm.trainer import train
from tests.training.lm.conftest import recipe_values


def losses(output: Path) -> list[float]:
    return [loss for _, loss in json.loads((output / "history.json").read_text())["losses"]]


def command(path: Path, output: Path, *overrides: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "musicgen",
        "train",
        str(path),
        *overrides,
        "--output",
        str(output),
        "--device",
        "cpu",
    ]


def write_recipe(folder: Path, values: dict) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def trained(music: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 60 steps, with its losses falling."""
    output = tmp_path_factory.mktemp("run") / "out"
    values = recipe_values(music, tokenizer_folder, optimisation={"steps": 60}, every={"samples": 60, "validate": 30})
    train(LMRecipe.from_dict(values), output, "cpu")
    return output


def test_a_run_learns_and_leaves_a_model(trained: Path) -> None:
    history = json.loads((trained / "history.json").read_text())
    curve = losses(trained)
    assert len(curve) == 60
    assert sum(curve[-10:]) / 10 < 0.75 * curve[0]
    assert [validation["step"] for validation in history["validations"]] == [30, 60]
    assert len(history["validations"][-1]["perplexity"]) == 4
    model = musicgen.load(trained / "model")
    assert model.generate(["a pure tone"], 0.5, seed=0).shape == (1, 1, 16_000)
    assert model.max_duration == 1.0


def test_transformers_loads_what_was_trained(trained: Path) -> None:
    ours = musicgen.load(trained / "model")
    theirs = MusicgenForConditionalGeneration.from_pretrained(trained / "model", dtype=torch.float32).eval()
    codes = torch.randint(0, 64, (1, 4, 7), generator=torch.Generator().manual_seed(0))
    text = ours.text(["a pure tone"])
    ids, real = ours.text.tokens(["a pure tone"])
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=real, decoder_input_ids=codes.flatten(0, 1)).logits.view(
            1, 4, 7, -1
        )
    conditions = ours.fuser({"text": text})
    torch.testing.assert_close(ours.lm(codes, conditions), expected, atol=1e-4, rtol=1e-4)


def test_tensorboard_has_curves_and_audio(trained: Path) -> None:
    events = EventAccumulator(str(trained / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "train/learning_rate", "validation/loss", "validation/perplexity_1"} <= set(tags["scalars"])
    assert len(events.Scalars("train/loss")) == 60
    assert tags["audio"] == ["samples/1", "samples/2"]


def test_killed_and_started_again_the_curve_goes_on(
    music: Path, tokenizer_folder: Path, tmp_path: Path, trained: Path
) -> None:
    """SIGKILL in mid-run, wherever it hits; the losses afterwards are those of a run that was never killed."""
    values = recipe_values(music, tokenizer_folder, optimisation={"steps": 60}, every={"samples": 60, "validate": 30})
    path, output = write_recipe(tmp_path, values), tmp_path / "out"
    process = subprocess.Popen(command(path, output), env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(output.glob("checkpoints/step-*[1-9]?.pt")):
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (output / "history.json").is_file() or len(losses(output)) < 60
    assert not list(output.glob("checkpoints/step-00000060.pt"))
    subprocess.run(command(path, output), env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
    assert losses(output) == pytest.approx(losses(trained), abs=1e-5)


def test_a_checkpoint_has_the_weights_and_their_moving_average(
    music: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    """The average by hand: half of the average before and half of the weights after each step."""
    options = {"steps": 3, "warmup": 0, "average": 0.5}
    values = recipe_values(music, tokenizer_folder, optimisation=options, every={"checkpoint": 1, "keep": 3})
    train(LMRecipe.from_dict(values), tmp_path / "run", "cpu")
    first, *later = (
        torch.load(file, weights_only=True) for file in sorted((tmp_path / "run" / "checkpoints").glob("step-*.pt"))
    )
    assert len(later) == 2
    expected = first["average"]
    assert not all(torch.equal(expected[name], value) for name, value in first["network"].items())
    for checkpoint in later:
        expected = {name: (value + checkpoint["network"][name]) / 2 for name, value in expected.items()}
        for name, value in checkpoint["average"].items():
            torch.testing.assert_close(value, expected[name])


def test_two_processes_take_the_steps_of_one(music: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    """Accelerate on the CPU (gloo): the same global batch, the same losses; what two wrote, one goes on from."""
    values = recipe_values(music, tokenizer_folder)
    path = write_recipe(tmp_path, values)
    train(LMRecipe.from_dict(values), tmp_path / "one", "cpu")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1",
              "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]  # fmt: skip
    done = subprocess.run(
        [*launch, *command(path, tmp_path / "two")[1:]],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)
    longer = LMRecipe.from_dict(recipe_values(music, tokenizer_folder, optimisation={"steps": 8}))
    train(longer, tmp_path / "two", "cpu")
    assert len(losses(tmp_path / "two")) == 8


def test_micro_batches_add_up_to_the_batch(music: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    for name, micro in (("whole", 0), ("parts", 1)):
        values = recipe_values(music, tokenizer_folder, optimisation={"micro_batch": micro})
        train(LMRecipe.from_dict(values), tmp_path / name, "cpu")
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), abs=1e-4)


@pytest.mark.parametrize("pattern", ["parallel", "partial delay", "flattening", "partial flattening", "coarse first"])
def test_every_pattern_trains(music: Path, tokenizer_folder: Path, tmp_path: Path, pattern: str) -> None:
    values = recipe_values(music, tokenizer_folder, shape={"pattern": pattern}, optimisation={"steps": 20})
    train(LMRecipe.from_dict(values), tmp_path, "cpu")
    curve = losses(tmp_path)
    assert sum(curve[-3:]) < 0.95 * sum(curve[:3])
    assert musicgen.load(tmp_path / "model").pattern == patterns.named(pattern, 4)


@pytest.mark.parametrize(
    "optimisation",
    [
        {"optimiser": "dadaptation", "learning_rate": 1.0},
        {"optimiser": "muon", "learning_rate": 1e-3},
        {"precision": "bfloat16"},
        {"checkpoint_layers": True},
    ],
    ids=["dadaptation", "muon", "bfloat16", "checkpoint_layers"],
)
def test_options_of_the_optimiser(music: Path, tokenizer_folder: Path, tmp_path: Path, optimisation: dict) -> None:
    """They learn, and go on after a stop as if there had been none."""
    values = recipe_values(music, tokenizer_folder, optimisation={"steps": 20, "warmup": 0} | optimisation)
    recipe = LMRecipe.from_dict(values)
    train(recipe, tmp_path / "whole", "cpu")
    curve = losses(tmp_path / "whole")
    assert curve[-1] < curve[0]
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    for checkpoint in sorted((tmp_path / "again" / "checkpoints").glob("*.pt"))[1:]:
        checkpoint.unlink()  # the one of step 18 is left
    train(recipe, tmp_path / "again", "cpu")
    assert losses(tmp_path / "again") == pytest.approx(curve, abs=1e-4)


def test_longer_crops_make_the_context_longer(
    music: Path, tokenizer_folder: Path, tmp_path: Path, trained: Path
) -> None:
    values = recipe_values(music, tokenizer_folder, start={"model": str(trained / "model")}, data={"seconds": 1.5})
    train(LMRecipe.from_dict(values | {"shape": {}, "text": {}}), tmp_path, "cpu")
    assert (musicgen.load(trained / "model").max_duration, musicgen.load(tmp_path / "model").max_duration) == (1.0, 1.5)


def test_melody_then_stereo_then_adapters(music: Path, tokenizer_folder: Path, tmp_path: Path, trained: Path) -> None:
    """The family of the embedded models, each from the one before; and LoRA on the last."""
    small = {"steps": 4, "learning_rate": 1e-3}

    def run(name: str, start: dict, guidance_scale: float | None = None, **data) -> Path:
        values = recipe_values(music, tokenizer_folder, start=start, optimisation=small, data=data)
        values["guidance_scale"] = guidance_scale
        values["shape"] = {}
        values["text"] = {}
        train(LMRecipe.from_dict(values), tmp_path / name, "cpu")
        return tmp_path / name / "model"

    melody = run("melody", {"model": str(trained / "model"), "melody": True, "text": True}, 2.5)
    loaded = musicgen.load(melody)
    assert loaded.melody is not None
    before, after = musicgen.load(trained / "model").text.encoder, loaded.text.encoder
    assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))
    assert loaded.melody.separated is False  # data.melody: mix
    stereo = run("stereo", {"model": str(melody), "stereo": True}, melody="")  # as the model before
    clip = next(music.glob("*.flac"))
    # As in training: without Demucs, which is not here.
    assert musicgen.load(stereo).generate(["tone"], 0.5, seed=0, melody=clip).shape == (1, 2, 16_000)
    # A guidance scale of the recipe's, and afterwards that of the model before.
    models = [musicgen.load(one) for one in (trained / "model", melody, stereo)]
    assert [model.generator.defaults.guidance_scale for model in models] == [3, 2.5, 2.5]
    adapted = run("lora", {"model": str(stereo), "lora_rank": 2})
    ours, theirs = musicgen.load(adapted).lm.state_dict(), musicgen.load(stereo).lm.state_dict()
    changed = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    assert changed
    assert all(name.startswith("blocks.") and "norm" not in name for name in changed)
    # The adapter by itself: on the model that it was trained on it gives the merged one, and peft reads it.
    by_adapter = musicgen.load(stereo, adapters=[tmp_path / "lora" / "adapter"]).state_dict()
    for name, value in musicgen.load(adapted).state_dict().items():
        torch.testing.assert_close(by_adapter[name], value, atol=1e-6, rtol=1e-5)
    base = MusicgenMelodyForConditionalGeneration.from_pretrained(stereo)
    with_adapter = PeftModel.from_pretrained(base, tmp_path / "lora" / "adapter").merge_and_unload()
    expected = MusicgenMelodyForConditionalGeneration.from_pretrained(adapted).state_dict()
    for name, value in with_adapter.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-5)


def test_full_fine_tuning_lowers_the_loss_on_the_users_music(
    music: Path, tokenizer_folder: Path, tmp_path: Path, trained: Path
) -> None:
    values = recipe_values(
        music,
        tokenizer_folder,
        start={"model": str(trained / "model")},
        optimisation={"steps": 15, "learning_rate": 3e-3},
    )
    values["shape"], values["text"] = {}, {}
    train(LMRecipe.from_dict(values), tmp_path, "cpu")
    curve = losses(tmp_path)
    assert sum(curve[-3:]) < sum(curve[:3])


def test_adapters_on_two_clips(
    music: Path, tokenizer_folder: Path, tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What people try first; one of the two has a name that is no UTF-8. Without texts it goes on only when told to."""
    folder = tmp_path / "music"
    folder.mkdir()
    shutil.copy(music / "tone-00.flac", folder)
    shutil.copy(music / "tone-01.flac", folder / os.fsdecode(b"caf\xe9.flac"))
    small = {"steps": 2, "batch": 2}
    start = {"model": str(trained / "model"), "lora_rank": 2}
    values = recipe_values(folder, tokenizer_folder, start=start, optimisation=small, data={"lanes": 1, "melody": ""})
    values["shape"], values["text"] = {}, {}
    arguments = command(write_recipe(tmp_path, values), tmp_path / "out")[3:]
    assert main(arguments) == 2
    assert "0 of 2 clips have a description" in capsys.readouterr().err
    assert main([*arguments, "--no-text"]) == 0
    assert musicgen.load(tmp_path / "out" / "model").generate([None], 0.2).shape == (1, 1, 6_400)
    # The tokens are there now, and are those of clips without texts.
    shutil.rmtree(tmp_path / "out" / "checkpoints")
    assert main(arguments) == 2
    assert "tokens: 0 of 2 clips have a description" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(
    music: Path, tokenizer_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    values = recipe_values(music, tokenizer_folder, optimisation={"steps": 4})
    recipe = LMRecipe.from_dict(values)
    train(recipe, tmp_path, "cpu")
    kept = (tmp_path / "checkpoints" / "step-00000004.pt").read_bytes()
    from musicgen.training.lm import network

    forward = network.Network.forward

    def broken(self: network.Network, inputs: network.Inputs) -> network.Losses:
        losses = forward(self, inputs)
        return losses._replace(codes=losses.codes * float("nan"))

    monkeypatch.setattr(network.Network, "forward", broken)
    longer = replace(recipe, optimisation=replace(recipe.optimisation, steps=8))
    with pytest.raises(InputError, match=r"step 5: a loss is not finite.*the last checkpoint is kept"):
        train(longer, tmp_path, "cpu")
    assert [file.name for file in sorted((tmp_path / "checkpoints").iterdir())] == [
        "step-00000002.pt",
        "step-00000004.pt",
    ]
    assert (tmp_path / "checkpoints" / "step-00000004.pt").read_bytes() == kept


def test_a_full_disk_keeps_the_last_checkpoint(recipe: LMRecipe, tmp_path: Path, monkeypatch) -> None:
    write = audio.write_bytes

    def full(path, data: bytes) -> None:
        if Path(path).name == "step-00000004.pt":
            raise InputError(f"cannot write {path}: No space left on device")
        write(path, data)

    monkeypatch.setattr(audio, "write_bytes", full)
    with pytest.raises(InputError, match="No space left"):
        train(recipe, tmp_path, "cpu")
    monkeypatch.undo()
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["step-00000002.pt"]
    train(recipe, tmp_path, "cpu")
    assert len(losses(tmp_path)) == 6


def test_a_damaged_checkpoint_is_left_aside(recipe: LMRecipe, tmp_path: Path, caplog) -> None:
    train(recipe, tmp_path / "run", "cpu")
    before = losses(tmp_path / "run")
    newest = tmp_path / "run" / "checkpoints" / "step-00000006.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    train(recipe, tmp_path / "run", "cpu")
    assert "skipped" in caplog.text
    assert losses(tmp_path / "run") == pytest.approx(before, abs=1e-5)


def test_another_recipe_in_the_same_folder_is_refused(recipe: LMRecipe, tmp_path: Path) -> None:
    train(recipe, tmp_path, "cpu")
    other = replace(recipe, optimisation=replace(recipe.optimisation, learning_rate=1e-3))
    with pytest.raises(InputError, match=r"another recipe \(optimisation.learning_rate\)"):
        train(other, tmp_path, "cpu")


def test_tokens_of_another_model_are_refused(recipe: LMRecipe, tmp_path: Path) -> None:
    train(recipe, tmp_path / "mono", "cpu")
    stereo = replace(
        recipe,
        shape=replace(recipe.shape, stereo=True),
        data=replace(recipe.data, tokens=str(tmp_path / "mono" / "tokens")),
    )
    with pytest.raises(InputError, match="were made for another model"):
        train(stereo, tmp_path / "stereo", "cpu")
    melody = replace(recipe, shape=replace(recipe.shape, melody=True), data=stereo.data)
    with pytest.raises(InputError, match="tokens without melodies"):
        train(melody, tmp_path / "melody", "cpu")


def test_half_precision_needs_a_gpu(recipe: LMRecipe, tmp_path: Path) -> None:
    half = replace(recipe, optimisation=replace(recipe.optimisation, precision="float16"))
    with pytest.raises(InputError, match="needs a GPU"):
        train(half, tmp_path, "cpu")


def test_the_learning_rate_warms_up_and_follows_a_cosine(recipe: LMRecipe) -> None:
    options = replace(recipe.optimisation, steps=110, warmup=10, learning_rate=2.0e-3, floor=0.1)
    assert [learning_rate(options, step) for step in (0, 4, 9)] == pytest.approx([2e-4, 1e-3, 2e-3])
    assert learning_rate(options, 60) == pytest.approx(1.1e-3)
    assert learning_rate(options, 110) == pytest.approx(2e-4)


def test_the_command_prints_one_line_for_a_mistake(
    tmp_path: Path, music: Path, tokenizer_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(tmp_path, recipe_values(music, tokenizer_folder, optimisation={"stesp": 3}))
    assert main(command(path, tmp_path / "out")[3:]) == 2
    assert (
        capsys.readouterr().err.strip()
        == "error: the recipe has no optimisation.stesp: did you mean optimisation.steps?"
    )


def test_help_documents_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for field in (
        "optimisation.learning_rate (float, default 0.0001)",
        "text.drop_words",
        "adversarial.filters",
        "mini",
    ):
        assert field in text


def test_a_training_of_adapters_alone_stops_and_goes_on(
    music: Path, tokenizer_folder: Path, tmp_path: Path, trained: Path
) -> None:
    """Stopped from outside it has an adapter already, and goes on from its checkpoint as if it had not been stopped."""
    start = {"model": str(trained / "model"), "lora_rank": 2}
    every = {"start": True, "samples": 4, "validate": 4, "log": 1, "checkpoint": 4}
    values = recipe_values(music, tokenizer_folder, start=start, optimisation={"steps": 8, "warmup": 0}, every=every)
    recipe = LMRecipe.from_dict(values | {"shape": {}, "text": {}, "export": "adapter"})
    seen: list[tuple[int, int, int]] = []
    train(
        recipe, tmp_path / "whole", "cpu",
        observer=lambda run: seen.append((run.step, len(run.losses), len(run.validations))),
    )  # fmt: skip
    assert seen[:3] == [(0, 0, 0), (0, 0, 1), (1, 1, 1)]
    assert seen[-1] == (8, 8, 3)
    history = json.loads((tmp_path / "whole" / "history.json").read_text())
    assert [validation["step"] for validation in history["validations"]] == [0, 4, 8]
    base = musicgen.load(trained / "model")
    adapted = musicgen.load(trained / "model", adapters=[tmp_path / "whole" / "adapter"])
    assert any(not torch.equal(a, b) for a, b in zip(base.lm.parameters(), adapted.lm.parameters(), strict=True))
    assert not (tmp_path / "whole" / "model").exists()
    samples = sorted(file.name for file in (tmp_path / "whole" / "samples").iterdir())
    assert samples[0] == "step-00000000-1.flac"
    assert {name[:13] for name in samples} == {"step-00000000", "step-00000004", "step-00000008"}
    assert "digitalsourcetype" in audio.read_tags(tmp_path / "whole" / "samples" / samples[0])
    checkpoint = torch.load(tmp_path / "whole" / "checkpoints" / "step-00000008.pt", weights_only=True)
    frozen = sum(parameter.numel() for parameter in base.lm.parameters())
    assert sum(tensor.numel() for tensor in checkpoint["network"].values()) < frozen / 2

    stopping = Cancellation()
    stopped = train(
        recipe, tmp_path / "parts", "cpu", cancellation=stopping,
        observer=lambda run: stopping.cancel() if run.step == 3 else None,
    )  # fmt: skip
    assert stopped["step"] == 3
    assert (tmp_path / "parts" / "adapter" / "adapter_model.safetensors").is_file()
    train(recipe, tmp_path / "parts", "cpu")
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), abs=1e-4)


def test_adapters_alone_are_of_adapters(music: Path, tokenizer_folder: Path) -> None:
    with pytest.raises(InputError, match=r"export is 'adapter': that needs start\.lora_rank"):
        LMRecipe.from_dict(recipe_values(music, tokenizer_folder) | {"export": "adapter"})
