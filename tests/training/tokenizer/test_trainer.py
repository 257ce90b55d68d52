"""The loop: it learns, goes on where it was killed, stops at NaN and at its time limit."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import EncodecConfig, EncodecModel

from musicgen import audio
from musicgen.audio import Audio
from musicgen.checkpoint.components import audio_tokenizer
from musicgen.errors import CheckpointError, InputError
from musicgen.training.tokenizer import compare_with_opus, trainer
from musicgen.training.tokenizer.checkpointing import TrainingState, new_state, resume, save_checkpoint
from musicgen.training.tokenizer.config import TokenizerRecipe
from musicgen.training.tokenizer.data import load
from musicgen.training.tokenizer.losses import SpectralLosses
from musicgen.training.tokenizer.metrics import evaluate
from musicgen.training.tokenizer.train_step import initialize_codebooks, set_learning_rates, train_step
from tests import standins

RATE = 8000
CPU = torch.device("cpu")
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "is_nonzero", "equal")


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    """Eight files of random notes with two partials, over noise 40 dB below."""
    folder = tmp_path_factory.mktemp("tones")
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(RATE // 2) / RATE
    for i in range(8):
        notes = 220 * 2 ** (torch.randint(0, 24, (8,), generator=generator) / 12)
        wave = torch.cat([0.3 * torch.sin(6.283 * f * time) + 0.1 * torch.sin(12.566 * f * time) for f in notes])
        wave = wave + 0.003 * torch.randn(wave.shape, generator=generator)
        audio.write(folder / f"{i}.wav", Audio(wave[None], RATE))
    return folder


def recipe(folder: Path, steps: int, **sections: dict) -> TokenizerRecipe:
    values = {
        "shape": {"sample_rate": RATE, "ratios": [5, 4, 4, 2], "filters": 8, "hidden_size": 16, "codebooks": 2,
                  "codebook_size": 64, "lstm_layers": 1},
        "data": {"path": str(folder), "crop_seconds": 0.4, "validation_files": 2, "validation_seconds": 2.0},
        "losses": {"windows": [128, 512]},
        "optimisation": {"steps": steps, "batch": 8, "learning_rate": 3e-3, "warmup": 10, "betas": [0.8, 0.99],
                         "average": 0.95, "log_every": 10, "validate_every": 1000, "checkpoint_every": 1000},
    }  # fmt: skip
    for name, section in sections.items():
        values[name] = values.get(name, {}) | section
    return TokenizerRecipe.from_dict(values)


def losses_of(run: TrainingState, steps: int) -> list[float]:
    corpus = load(run.recipe.data, RATE, run.recipe.crop_samples, run.recipe.seed)
    history = []
    for _ in range(steps):
        if run.step == run.recipe.quantisation.start_step:
            initialize_codebooks(run, corpus.pool)
        values = train_step(run, corpus.pool.draw(8, 6.0, run.generator))
        run.step += 1
        history.append(float(sum(values.values())))
    return history


@pytest.mark.slow
def test_it_learns_tones(tones, tmp_path) -> None:
    before = trainer.train(recipe(tones, 1), tmp_path / "untrained", "cpu")
    after = trainer.train(recipe(tones, 200), tmp_path / "trained", "cpu")
    assert after["log_mel_db"] < 0.6 * before["log_mel_db"]
    assert after["perplexity_1"] > 8
    # The exported folder is what was validated.
    tokenizer = standins.encodec_tokenizer(EncodecModel.from_pretrained(tmp_path / "trained" / "model"))
    wanted = recipe(tones, 200)
    held_out = load(wanted.data, RATE, wanted.crop_samples, wanted.seed).held_out
    again = evaluate(tokenizer, [wave for _, wave in held_out], CPU)
    assert again == pytest.approx({name: after[name] for name in again}, rel=1e-4)


@pytest.mark.parametrize("family", ["encodec", "dac"])
def test_a_step_never_waits_for_the_device(tones, family: str) -> None:
    class Watch(TorchDispatchMode):
        """Notes every operation whose result the host must see, and which on a GPU would wait for it."""

        def __init__(self) -> None:
            super().__init__()
            self.seen: list[str] = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.overloadpacket.__name__ in WAITING:
                self.seen.append(str(func))
            return func(*args, **(kwargs or {}))

    wanted = recipe(tones, 50, shape={"decoder_filters": 32, "codebook_dim": 4},
                    adversarial={"filters": 2, "windows": [128]})  # fmt: skip
    run = new_state(dataclasses.replace(wanted, family=family), CPU)
    corpus = load(wanted.data, RATE, wanted.crop_samples, wanted.seed)
    initialize_codebooks(run, corpus.pool)
    with Watch() as watch:
        train_step(run, corpus.pool.draw(8, 6.0, run.generator))
    assert watch.seen == []
    if family == "encodec":
        theirs = EncodecModel(EncodecConfig(**run.model.network.config.to_dict()))
        with watch:  # which would have noticed transformers' padding
            theirs.encoder(corpus.pool.draw(8, 6.0, run.generator))
        assert "_local_scalar_dense" in watch.seen[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_a_step_never_waits_for_a_real_device(tones) -> None:
    device = torch.device("cuda")
    run = new_state(recipe(tones, 50, optimisation={"precision": "bfloat16"}), device)
    corpus = load(run.recipe.data, RATE, run.recipe.crop_samples, run.recipe.seed)
    corpus.pool.to(device)
    initialize_codebooks(run, corpus.pool)
    train_step(run, corpus.pool.draw(8, 6.0, run.generator))
    torch.cuda.set_sync_debug_mode("error")
    try:
        train_step(run, corpus.pool.draw(8, 6.0, run.generator))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("adversarial", [False, True])
def test_a_resumed_run_has_the_losses_of_an_unbroken_one(tones, tmp_path, adversarial: bool) -> None:
    options = {"adversarial": {"filters": 2, "windows": [128, 64], "start_step": 2}} if adversarial else {}
    wanted = recipe(tones, 50, quantisation={"start_step": 1}, **options)
    whole = new_state(wanted, CPU)
    expected = losses_of(whole, 8)

    first = new_state(wanted, CPU)
    assert losses_of(first, 5) == expected[:5]
    save_checkpoint(first, tmp_path)
    second = new_state(wanted, CPU)
    assert resume(second, tmp_path)
    assert second.step == 5
    assert losses_of(second, 3) == expected[5:]
    for ours, theirs in zip(second.average.values, whole.average.values, strict=True):
        assert torch.equal(ours, theirs)


def test_train_goes_on_from_its_checkpoint(tones, tmp_path) -> None:
    trainer.train(recipe(tones, 4), tmp_path, "cpu")
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 4
    trainer.train(recipe(tones, 6), tmp_path, "cpu")
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 6
    steps = [row["step"] for row in json.loads((tmp_path / "history.json").read_text())["validations"]]
    assert steps == [4, 6]


def test_another_recipe_in_the_same_folder_is_refused(tones, tmp_path) -> None:
    trainer.train(recipe(tones, 2), tmp_path, "cpu")
    changed = recipe(tones, 2, losses={"wave": 7.0}, optimisation={"batch": 4})
    with pytest.raises(InputError, match=r"losses.wave, optimisation.batch"):
        trainer.train(changed, tmp_path, "cpu")


def test_a_damaged_checkpoint_is_named(tones, tmp_path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match=r"checkpoint.pt: damaged or not a PyTorch file"):
        trainer.train(recipe(tones, 2), tmp_path, "cpu")


def test_nan_stops_names_the_step_and_keeps_the_checkpoint(tones, tmp_path, monkeypatch) -> None:
    def poisoned(run: TrainingState, waves: torch.Tensor) -> dict[str, torch.Tensor]:
        losses = train_step(run, waves)
        if run.step + 1 == 13:
            losses["mel"] = losses["mel"] * float("nan")
        return losses

    monkeypatch.setattr(trainer, "train_step", poisoned)
    wanted = recipe(tones, 40, optimisation={"checkpoint_every": 5})
    with pytest.raises(InputError, match=r"step 13: a loss is not finite.*the last checkpoint is kept"):
        trainer.train(wanted, tmp_path, "cpu")
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 10
    assert all(tensor.isfinite().all() for tensor in state["model"].values())
    assert not (tmp_path / "model").exists()


def test_a_time_limit_ends_with_an_exported_folder(tones, tmp_path) -> None:
    numbers = trainer.train(recipe(tones, 100_000, optimisation={"max_seconds": 2.0}), tmp_path, "cpu")
    assert 1 < numbers["step"] < 100_000
    assert EncodecModel.from_pretrained(tmp_path / "model").config.sampling_rate == RATE


def test_a_time_limit_before_the_first_step_is_named(tones, tmp_path) -> None:
    wanted = recipe(tones, 50, quantisation={"start_step": 49}, optimisation={"max_seconds": 1.0})
    with pytest.raises(InputError, match=r"max_seconds is 1.0: that passed after \d+ steps, before the codebooks"):
        trainer.train(wanted, tmp_path, "cpu")


def test_the_rate_warms_up_and_falls_with_steps_or_time(tones) -> None:
    run = new_state(recipe(tones, 100), CPU)
    group = run.optimiser.param_groups[0]

    def rate(step: int, share: float) -> float:
        run.step = step
        set_learning_rates(run, share)
        return group["lr"] / 3e-3

    assert rate(0, 0.0) == pytest.approx(0.1)
    assert rate(10, 0.0) == pytest.approx(1.0)
    assert rate(50, 0.5) == pytest.approx(0.505)
    assert rate(99, 1.0) == pytest.approx(0.01)
    assert trainer.progress(dataclasses.replace(run.recipe.optimisation, max_seconds=10.0), 20, 4.0) == 0.4
    assert trainer.progress(run.recipe.optimisation, 20, 4.0) == 0.2


def test_training_leaves_the_global_stream_alone(tones, tmp_path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    trainer.train(recipe(tones, 2), tmp_path, "cpu")
    assert torch.equal(torch.rand(1), expected)


def test_a_decoder_trained_further_decodes_the_same_codes_better(tones, tmp_path) -> None:
    """As transformers loads both folders; the type in which they are stored changes no code either."""
    trainer.train(recipe(tones, 40), tmp_path / "first")
    start = {"model": str(tmp_path / "first" / "model"), "decoder_only": True}
    further = recipe(tones, 60, start=start)
    trainer.train(further, tmp_path / "further")
    waves = load(further.data, RATE, further.crop_samples, 0).pool.draw(16, 0.0, torch.Generator().manual_seed(1))
    before, after = (EncodecModel.from_pretrained(tmp_path / run / "model").eval() for run in ("first", "further"))
    with torch.inference_mode():
        codes = before.encode(waves).audio_codes
        assert torch.equal(after.encode(waves).audio_codes, codes)
        distances = [
            SpectralLosses(RATE, (256,))(model.decode(codes, [None])[0], waves)[0] for model in (before, after)
        ]
    assert distances[1] < distances[0]


def test_all_of_a_tokeniser_can_be_trained_further(tones, tmp_path) -> None:
    trainer.train(recipe(tones, 40), tmp_path / "first")
    first = audio_tokenizer(str(tmp_path / "first" / "model"))
    run = new_state(recipe(tones, 20, start={"model": str(tmp_path / "first" / "model")}), CPU)
    wave = torch.randn(1, 1, 3200, generator=torch.Generator().manual_seed(0))
    assert torch.equal(run.model.tokenizer().encode(wave), first.encode(wave))  # nothing is lost at the start
    losses_of(run, 3)
    now = run.model.tokenizer().network.state_dict()
    changed = {
        name.split(".")[0] for name, tensor in first.network.state_dict().items() if not torch.equal(tensor, now[name])
    }
    assert changed == {"encoder", "decoder", "quantizer"}


def test_a_tokeniser_of_another_shape_is_named(tones) -> None:
    with pytest.raises(InputError, match=r"start.model is mini, whose tokeniser has .*sampling_rate 32000, not 8000"):
        new_state(recipe(tones, 20, start={"model": "mini"}), CPU)


def test_dac_trains_in_the_same_loop(tones, tmp_path) -> None:
    wanted = recipe(tones, 3, shape={"decoder_filters": 32, "codebook_dim": 4})
    numbers = trainer.train(dataclasses.replace(wanted, family="dac"), tmp_path, "cpu")
    assert numbers["step"] == 3
    assert audio_tokenizer(str(tmp_path / "model")).num_codebooks == 2


def test_compare_prints_both_systems(tones, tmp_path, capsys) -> None:
    trainer.train(recipe(tones, 1), tmp_path, "cpu")
    report = tmp_path / "report.json"
    arguments = [str(tmp_path / "model"), str(tones), "--clips", "2", "--seconds", "2", "--output", str(report)]
    assert compare_with_opus.main(arguments) == 0
    table = json.loads(report.read_text())
    assert table["tokenizer"]["kbps"] == pytest.approx(50 * 2 * 6 / 1000)
    assert table["opus"]["log_mel_db"] < table["tokenizer"]["log_mel_db"]
    assert "opus" in capsys.readouterr().out
    assert compare_with_opus.main([str(tmp_path), str(tones)]) == 2
