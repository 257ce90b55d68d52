"""The training loop: recipe + audio -> checkpoints, curves and, at the end, a folder to load.

    OUTPUT/checkpoint.pt   everything a killed run goes on from, written whole or not at all
    OUTPUT/history.json    the validations, and the files that could not be used
    OUTPUT/tensorboard/    the same numbers and the losses, for TensorBoard
    OUTPUT/model/          the tokeniser as transformers loads it (moving average of the weights)

The host waits for the device only where it reads the losses, every `log_every` steps. A loss that is not finite stops the run
there and names the first such step. It knows nothing of which network it trains.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from musicgen import audio
from musicgen.errors import InputError
from musicgen.training.tokenizer.checkpointing import (
    CHECKPOINT,
    TrainingState,
    averaged,
    new_state,
    resume,
    save_checkpoint,
)
from musicgen.training.tokenizer.config import Optimisation, TokenizerRecipe
from musicgen.training.tokenizer.data import AudioData, load
from musicgen.training.tokenizer.metrics import evaluate
from musicgen.training.tokenizer.train_step import initialize_codebooks, set_learning_rates, train_step

logger = logging.getLogger(__name__)

HISTORY = "history.json"
MODEL = "model"


def train(recipe: TokenizerRecipe, output: str | os.PathLike[str], device: str = "auto") -> dict[str, float]:
    """Train a tokeniser into the folder `output`, or go on with the run that lies there. Returns the last validation."""
    began = time.monotonic()
    output = Path(output)
    run = new_state(recipe, _device(device))
    resumed = resume(run, output)
    corpus = load(recipe.data, recipe.shape.sample_rate, recipe.crop_samples, recipe.seed)
    corpus.pool.to(run.device)
    minutes = corpus.pool.samples.numel() / recipe.shape.sample_rate / 60
    logger.info(
        "%.1f minutes of audio, %d files held out, %d not used", minutes, len(corpus.held_out), len(corpus.failed)
    )
    if resumed:
        logger.info("going on from step %d", run.step)
    if recipe.optimisation.compile:
        run.model.compile()
    began -= run.seconds
    with SummaryWriter(str(output / "tensorboard"), purge_step=run.step) as writer, _fast_matrices(run.device):
        _loop(run, corpus, output, writer, began)
    with averaged(run):
        run.model.save(output / MODEL, getattr(torch, recipe.export))
    return run.history[-1]


def _loop(run: TrainingState, corpus: AudioData, output: Path, writer: SummaryWriter, began: float) -> None:
    options = run.recipe.optimisation
    sums: dict[str, torch.Tensor] = {}
    bad_step = torch.full((), -1, dtype=torch.int64, device=run.device)
    mark = time.monotonic(), run.step
    with tqdm(total=options.steps, initial=run.step, desc="tokenizer", unit="step", disable=None) as bar:
        while (share := _share_done(options, run.step, time.monotonic() - began)) < 1:
            set_learning_rates(run, share)
            if run.step == run.recipe.quantisation.start_step:
                initialize_codebooks(run, corpus.pool)
            losses = train_step(run, corpus.pool.draw(options.batch, run.recipe.data.gain_db, run.generator))
            run.step += 1
            finite = torch.stack(list(losses.values())).isfinite().all()
            bad_step = torch.where((bad_step < 0) & ~finite, run.step, bad_step)
            sums = {name: sums[name] + loss if name in sums else loss for name, loss in losses.items()}
            every = (options.log_every, options.validate_every, options.checkpoint_every, options.steps)
            if any(run.step % interval == 0 for interval in every):
                _stop_if_bad(int(bad_step), output)
                since, first = mark
                means = {name: float(total) / (run.step - first) for name, total in sums.items()}
                mark, sums = (time.monotonic(), run.step), {}
                pace = (mark[0] - since) / (run.step - first)
                _report(run, means, pace, bar, writer, _seconds_left(options, run.step, mark[0] - began, pace))
            if run.step % options.validate_every == 0 and run.step > run.recipe.quantisation.start_step:
                _validate(run, corpus, output, writer)
            if run.step % options.checkpoint_every == 0:
                run.seconds = time.monotonic() - began
                save_checkpoint(run, output)
    _stop_if_bad(int(bad_step), output)
    if run.step <= run.recipe.quantisation.start_step:
        raise InputError(
            f"optimisation.max_seconds is {options.max_seconds}: that passed after {run.step} steps, before the codebooks "
            "began to learn (reading the audio counts too)"
        )
    if not run.history or run.history[-1]["step"] != run.step:
        _validate(run, corpus, output, writer)
    run.seconds = time.monotonic() - began
    save_checkpoint(run, output)


def _validate(run: TrainingState, corpus: AudioData, output: Path, writer: SummaryWriter) -> None:
    with averaged(run):
        tokenizer = run.model.tokenizer().to(run.device)
    numbers = evaluate(tokenizer, [wave for _, wave in corpus.held_out], run.device)
    run.history.append({"step": run.step, **numbers})
    for name, value in numbers.items():
        writer.add_scalar(f"validation/{name}", value, run.step)
    writer.flush()
    values = {
        "validations": run.history,
        "held_out": [name for name, _ in corpus.held_out],
        "not_used": corpus.failed,
        "left_out": corpus.left_out,
        "seconds_of_audio": round(corpus.pool.samples.numel() / run.recipe.shape.sample_rate, 1),
    }
    audio.write_bytes(output / HISTORY, (json.dumps(values, indent=1) + "\n").encode())
    tqdm.write(
        f"step {run.step}: log-mel distance {numbers['log_mel_db']:.2f} dB, chroma agreement "
        f"{numbers['chroma_agreement']:.1%}, SI-SDR {numbers['si_sdr_db']:.1f} dB"
    )


def _report(
    run: TrainingState, means: dict[str, float], pace: float, bar: tqdm[Any], writer: SummaryWriter, left: float
) -> None:
    for name, value in means.items():
        writer.add_scalar(f"loss/{name}", value, run.step)
    writer.add_scalar("seconds_per_step", pace, run.step)
    writer.add_scalar("learning_rate", run.optimiser.param_groups[0]["lr"], run.step)
    line = f"mel {means['mel']:.3f}, stft {means['stft']:.3f}, {pace:.3f} s/step, {left / 60:.1f} min left"
    if bar.disable:  # no terminal: a log file gets lines
        logger.info("step %d: %s", run.step, line)
    bar.set_postfix_str(line, refresh=False)
    bar.update(run.step - bar.n)


def _stop_if_bad(bad_step: int, output: Path) -> None:
    if bad_step >= 0:
        kept = "the last checkpoint is kept" if (output / CHECKPOINT).is_file() else "there is no checkpoint yet"
        raise InputError(
            f"step {bad_step}: a loss is not finite, training stops ({kept}): lower optimisation.learning_rate, "
            "or use precision float32"
        )


def _share_done(options: Optimisation, step: int, seconds: float) -> float:
    """0 at the start, 1 at the end: the larger share of steps or of time."""
    return max(step / options.steps, seconds / (options.max_seconds or math.inf))


def _seconds_left(options: Optimisation, step: int, seconds: float, pace: float) -> float:
    return max(0.0, min((options.steps - step) * pace, (options.max_seconds or math.inf) - seconds))


@contextlib.contextmanager
def _fast_matrices(device: torch.device) -> Iterator[None]:
    """Inside, float32 products on a GPU may use TF32 and its fastest convolutions."""
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
