"""Training of an audio tokeniser: recipe + audio -> checkpoints, curves and a folder to load.

OUTPUT/checkpoint.pt   the state to resume from
and the files of `musicgen.training.trainer`; the model's folder is written at the end
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from musicgen.errors import InputError
from musicgen.training.tokenizer.checkpointing import TrainingState, new_state, resume, save_checkpoint
from musicgen.training.tokenizer.config import Optimisation, TokenizerRecipe
from musicgen.training.tokenizer.data import AudioData, load
from musicgen.training.tokenizer.metrics import evaluate
from musicgen.training.tokenizer.train_step import initialize_codebooks, set_learning_rates, train_step
from musicgen.training.trainer import MODEL, TENSORBOARD, Intervals, Trainer, clock, write_history

logger = logging.getLogger(__name__)


def train(recipe: TokenizerRecipe, output: str | os.PathLike[str], device: str = "auto") -> dict[str, float]:
    """Train a tokeniser, or resume the run in `output`.

    Args:
        recipe: What to train on what.
        output: The run's folder.
        device: "auto" for a GPU where there is one, or a name of PyTorch's.

    Returns:
        The last validation.

    Raises:
        InputError: The recipe does not fit the audio or the run in `output`, or a loss diverged.
    """
    started = time.monotonic()
    output = Path(output)
    run = new_state(recipe, _device(device))
    resumed = resume(run, output)
    data = load(recipe.data, recipe.shape.sample_rate, recipe.crop_samples, recipe.seed)
    data.pool.to(run.device)
    minutes = data.pool.samples.numel() / recipe.shape.sample_rate / 60
    logger.info("%.1f minutes of audio, %d files held out, %d not used", minutes, len(data.held_out), len(data.failed))
    if resumed:
        logger.info("resuming at step %d", run.step)
    if recipe.optimisation.compile:
        run.model.compile()
    with SummaryWriter(str(output / TENSORBOARD), purge_step=run.step) as writer, _fast_matrices(run.device):
        TokenizerTrainer(run, data, output, writer, started - run.seconds).fit()
    with run.average:
        run.model.save(output / MODEL, getattr(torch, recipe.export))
    return run.validations[-1]


class TokenizerTrainer(Trainer):
    """The loop on a tokeniser."""

    name = "tokenizer"

    def __init__(
        self, run: TrainingState, data: AudioData, output: Path, writer: SummaryWriter, started: float
    ) -> None:
        """started: `time.monotonic` of the run's beginning, its earlier sessions counted in."""
        options = run.recipe.optimisation
        intervals = Intervals(options.steps, options.log_every, options.validate_every, options.checkpoint_every)
        super().__init__(run, intervals, run.device)
        self.run, self.data, self.output, self.writer, self.started = run, data, output, writer, started

    def finished(self) -> bool:
        if self._progress() < 1:
            return False
        if not self.can_validate():
            raise InputError(
                f"optimisation.max_seconds is {self.run.recipe.optimisation.max_seconds}: that passed after {self.run.step} "
                "steps, before the codebooks began to learn (reading the audio counts too)"
            )
        return True

    def can_validate(self) -> bool:
        return self.run.step > self.run.recipe.quantisation.start_step

    def save_checkpoint(self) -> None:
        self.run.seconds = time.monotonic() - self.started
        save_checkpoint(self.run, self.output)

    def train_step(self) -> dict[str, torch.Tensor]:
        run, pool = self.run, self.data.pool
        set_learning_rates(run, min(1.0, self._progress()))
        if run.step == run.recipe.quantisation.start_step:
            initialize_codebooks(run, pool)
        waves = pool.draw(run.recipe.optimisation.batch, run.recipe.data.gain_db, run.generator)
        return train_step(run, waves)

    def log(self, means: dict[str, float], seconds_per_step: float) -> str:
        run, options = self.run, self.run.recipe.optimisation
        for name, value in means.items():
            self.writer.add_scalar(f"loss/{name}", value, run.step)
        self.writer.add_scalar("seconds_per_step", seconds_per_step, run.step)
        self.writer.add_scalar("learning_rate", run.optimiser.param_groups[0]["lr"], run.step)
        time_left = (options.max_seconds or math.inf) - (time.monotonic() - self.started)
        left = max(0.0, min((options.steps - run.step) * seconds_per_step, time_left))
        return f"mel {means['mel']:.3f}, stft {means['stft']:.3f}, {seconds_per_step:.3f} s/step, {clock(left)} left"

    def validate(self) -> None:
        run, data = self.run, self.data
        with run.average:
            tokenizer = run.model.tokenizer().to(run.device)
        numbers = evaluate(tokenizer, [wave for _, wave in data.held_out], run.device)
        run.validations.append({"step": run.step, **numbers})
        for name, value in numbers.items():
            self.writer.add_scalar(f"validation/{name}", value, run.step)
        self.writer.flush()
        history = {
            "validations": run.validations,
            "held_out": [name for name, _ in data.held_out],
            "not_used": data.failed,
            "left_out": data.left_out,
            "seconds_of_audio": round(data.pool.samples.numel() / run.recipe.shape.sample_rate, 1),
        }
        write_history(self.output, history)
        tqdm.write(
            f"step {run.step}: log-mel distance {numbers['log_mel_db']:.2f} dB, chroma agreement "
            f"{numbers['chroma_agreement']:.1%}, SI-SDR {numbers['si_sdr_db']:.1f} dB"
        )

    def _progress(self) -> float:
        return progress(self.run.recipe.optimisation, self.run.step, time.monotonic() - self.started)


def progress(options: Optimisation, step: int, seconds: float) -> float:
    """How much of the training is done, 0 to 1: the larger share of steps or of time."""
    return max(step / options.steps, seconds / (options.max_seconds or math.inf))


@contextlib.contextmanager
def _fast_matrices(device: torch.device) -> Iterator[None]:
    """Inside, a GPU may use TF32 for float32 matrices, and its fastest convolutions."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.benchmark = before[1]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
