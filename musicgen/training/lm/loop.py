"""The training loop: recipe + music -> checkpoints, curves and, at the end, a model to load.

    OUTPUT/tokens/        the shards, if the recipe names no other place
    OUTPUT/text/          the vocabulary, if the recipe makes one
    OUTPUT/checkpoints/   everything a killed run goes on from, each written whole or not at all
    OUTPUT/history.json   losses and validations
    OUTPUT/tensorboard/   the same and samples, for TensorBoard
    OUTPUT/model/         the model in the transformers layout (moving average of the weights), new after every validation

One process or many: `accelerate launch -m musicgen train RECIPE --output OUTPUT`. The host waits for the device only where
it reads the losses. A loss that is not finite stops the run there and names the first such step.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shutil
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from musicgen import audio, checkpoint
from musicgen.checkpoint import parts
from musicgen.errors import InputError
from musicgen.model import MusicGen
from musicgen.training.lm.batches import Cropper, TrainingData, validation_batches
from musicgen.training.lm.config import LMRecipe
from musicgen.training.lm.descriptions import MERGED
from musicgen.training.lm.guides import KINDS, NAMES
from musicgen.training.lm.network import Inputs
from musicgen.training.lm.optimiser import rate
from musicgen.training.lm.prepare import prepare
from musicgen.training.lm.shards import Index, iterate, read_index
from musicgen.training.lm.start import (
    add_adapters,
    audio_tokenizer,
    captions,
    fine_tuned_model,
    new_model,
    new_text,
)
from musicgen.training.lm.state import FOLDER, Run, resume, save_checkpoint, start_run, whole_model
from musicgen.transformer import Block

logger = logging.getLogger(__name__)

HISTORY = "history.json"
MODEL = "model"
SAMPLES = 3
SAMPLE_SECONDS = 10.0
_MIXED = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def train(recipe: LMRecipe, output: str | os.PathLike[str], device: str = "auto") -> dict[str, Any]:
    """Train into the folder `output`, or go on with the run that lies there. Returns the last validation."""
    output = Path(output)
    if recipe.optimisation.precision == "float16" and (device == "cpu" or not torch.cuda.is_available()):
        raise InputError("optimisation.precision is float16: that needs a GPU; on the CPU take bfloat16 or float32")
    accelerator = Accelerator(mixed_precision=_MIXED[recipe.optimisation.precision], cpu=device == "cpu")
    model, folder, index = _begin(recipe, output, accelerator)
    cropper = Cropper(
        recipe, Fraction(index.rate), recipe.data.seconds, 0 if model.melody is None else model.melody.length
    )
    data = TrainingData(folder, index, recipe, cropper, accelerator.process_index, accelerator.num_processes)
    run = start_run(recipe, model, accelerator)
    if resume(run, output):
        logger.info("going on from step %d", run.step)
    seconds = index.frames / float(Fraction(index.rate))
    logger.info(
        "%.1f hours of music in %d clips, %d clips not used; %.1f M weights learn",
        seconds / 3600, sum(index.train.values()), len(index.not_used),
        sum(p.numel() for p in run.average.parameters) / 1e6,
    )  # fmt: skip
    writer = _writer(run, output)
    try:
        _loop(run, data, cropper, folder, index, output, writer)
    finally:
        if writer is not None:
            writer.close()
        accelerator.end_training()
    return run.validations[-1]


def _begin(recipe: LMRecipe, output: Path, accelerator: Accelerator) -> tuple[MusicGen, str, Index]:
    """The model to train, the tokens' folder and its index."""
    fine_tuned = fine_tuned_model(recipe) if recipe.start.model else None
    tokenizer = audio_tokenizer(recipe) if fine_tuned is None else fine_tuned.tokenizer
    follows_melody = recipe.shape.melody if fine_tuned is None else fine_tuned.melody is not None
    heard = "mix" if fine_tuned is not None and fine_tuned.melody and not fine_tuned.melody.separated else "separated"
    folder = recipe.data.tokens or str(output / "tokens")
    with accelerator.main_process_first():
        index = read_index(folder)
        if index is None:
            tokenizer.to(accelerator.device)
            melody = (recipe.data.melody or heard) if follows_melody else "none"
            index = prepare(recipe.data, Path(folder), tokenizer, melody, recipe.seed, accelerator.device)
            tokenizer.to("cpu")
    _check(index, folder, tokenizer, follows_melody)
    model = fine_tuned
    if model is None:
        # On the CPU, in every process: the same weights from the same seed.
        if recipe.text.new is None:
            text = parts.text_encoder(recipe.text.encoder)
        else:
            with accelerator.main_process_first():
                told = captions((sample.metadata for sample in iterate(folder, index.train)), MERGED)
                text = new_text(recipe.text.new, told, output / "text", recipe.seed)
        model = new_model(recipe, tokenizer, text)
    if model.melody is not None:
        model.melody.separated = index.melody == "separated"
    model.lm.requires_grad_(True)
    for projection in (model.text.projection, model.melody and model.melody.projection):
        if projection is not None:
            projection.requires_grad_(True)
    if (recipe.text.new is not None and recipe.text.learn) or recipe.start.text:
        model.text.encoder.requires_grad_(True)
    if recipe.start.lora_rank:
        add_adapters(model.lm, recipe.start.lora_rank, recipe.start.lora_alpha)
    if recipe.optimisation.checkpoint_layers:
        from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import apply_activation_checkpointing

        apply_activation_checkpointing(model.lm, check_fn=lambda module: isinstance(module, Block))
    if recipe.optimisation.compile:
        model.lm.compile()
    return model, folder, index


def _check(index: Index, folder: str, tokenizer: Any, melody: bool) -> None:
    ours = (tokenizer.num_codebooks, tokenizer.codebook_size, tokenizer.channels)
    theirs = (index.num_codebooks, index.codebook_size, index.channels)
    if ours != theirs:
        raise InputError(
            f"{folder} holds tokens of (codebooks, entries, channels) {theirs}, and the tokeniser has {ours}: they were "
            "made for another model"
        )
    if melody and index.melody == "none":
        raise InputError(f"{folder} holds tokens without melodies: a melody model needs them written anew")


def _loop(
    run: Run,
    data: TrainingData,
    cropper: Cropper,
    folder: str,
    index: Index,
    output: Path,
    writer: SummaryWriter | None,
) -> None:
    options, every, accelerator = run.recipe.optimisation, run.recipe.every, run.accelerator
    device = accelerator.device
    summed = torch.zeros((), device=device)
    codes = torch.zeros((), dtype=torch.int64, device=device)
    bad_step = torch.full((), -1, dtype=torch.int64, device=device)
    mark = time.monotonic(), run.step
    bar = tqdm(total=options.steps, initial=run.step, desc="train", unit="step",
               disable=None if accelerator.is_main_process else True)  # fmt: skip
    with bar:
        for batch in data.batches(run.step, options.steps):
            size = options.micro_batch or len(batch.texts)
            inputs = [run.plain.inputs(part, run.recipe.text.max_tokens).to(device) for part in batch.split(size)]
            loss, counted = _update(run, inputs)
            run.step += 1
            bad_step = torch.where((bad_step < 0) & ~loss.isfinite(), run.step, bad_step)
            summed, codes = summed + loss, codes + counted
            intervals = (every.log, every.validate, every.checkpoint, every.samples, options.steps)
            if any(run.step % interval == 0 for interval in intervals):
                _stop_if_bad(int(bad_step), output)
                now, (since, first) = time.monotonic(), mark
                run.losses.append((run.step, float(summed) / (run.step - first)))
                _report(run, (now - since) / (run.step - first), int(codes) / (now - since), bar, writer)
                summed, codes = torch.zeros_like(summed), torch.zeros_like(codes)
            last = run.step == options.steps
            if last or run.step % every.validate == 0:
                _validate(run, cropper, folder, index, output, writer, with_samples=run.step % every.samples == 0)
            if last or run.step % every.checkpoint == 0:
                save_checkpoint(run, output)
            if any(run.step % interval == 0 for interval in intervals):
                mark = time.monotonic(), run.step
    if not run.validations:  # a run that was complete when it was killed
        _validate(run, cropper, folder, index, output, writer, with_samples=False)


def _update(run: Run, inputs: list[Inputs]) -> tuple[torch.Tensor, torch.Tensor]:
    """One step of the optimiser. Returns the mean loss over all processes and the number of codes predicted."""
    accelerator, options = run.accelerator, run.recipe.optimisation
    special = run.plain.special
    local = torch.stack([part.counts(special) for part in inputs]).sum(dim=0)
    counts = accelerator.reduce(local, "sum").clamp(min=1)
    for group in run.optimiser.param_groups:
        group["lr"] = rate(options, run.step)
    weights = torch.tensor(options.codebooks or [1.0] * len(counts), device=accelerator.device)
    weights = weights / weights.mean()
    total = torch.zeros((), device=accelerator.device)
    for number, part in enumerate(inputs):
        alone = number + 1 < len(inputs)
        with accelerator.no_sync(run.network) if alone else contextlib.nullcontext():
            # The mean over all codes of a codebook, then over codebooks. Processes' gradients are averaged: hence the factor.
            losses = run.network(part)
            learnt = (weights * losses.codes / counts).mean()
            if losses.guide is not None:
                learnt = learnt + options.guide * losses.guide.sum() / counts[0]
            accelerator.backward(learnt * accelerator.num_processes)
        total += (losses.codes / counts).mean().detach()
    if accelerator.sync_gradients:
        accelerator.clip_grad_norm_(run.network.parameters(), options.clip)
    run.optimiser.step()
    run.optimiser.zero_grad()
    run.average.update()
    return accelerator.reduce(total, "sum"), counts.sum()


@torch.no_grad()
def _validate(
    run: Run,
    cropper: Cropper,
    folder: str,
    index: Index,
    output: Path,
    writer: SummaryWriter | None,
    *,
    with_samples: bool,
) -> None:
    """Perplexity of every codebook on the clips held out; the model's folder; audio of a few captions."""
    accelerator = run.accelerator
    device, special = accelerator.device, run.plain.special
    size = max(1, (run.recipe.optimisation.micro_batch or run.recipe.optimisation.batch) // accelerator.num_processes)
    with run.average:
        sums = torch.zeros(index.num_codebooks, device=device)
        counts = torch.zeros(index.num_codebooks, dtype=torch.int64, device=device)
        guide = torch.zeros(KINDS, device=device)
        batches = list(validation_batches(folder, index, cropper, size))
        for number in range(-(-len(batches) // accelerator.num_processes)):
            mine = number * accelerator.num_processes + accelerator.process_index
            # Sharded weights are gathered in every pass: all processes take part in each.
            batch = batches[min(mine, len(batches) - 1)]
            inputs = run.plain.inputs(batch, run.recipe.text.max_tokens).to(device)
            losses = run.network(inputs)
            if mine < len(batches):
                sums, counts = sums + losses.codes, counts + inputs.counts(special)
                guide = guide if losses.guide is None else guide + losses.guide
        model = whole_model(run)
    counts = accelerator.reduce(counts, "sum").clamp(min=1)
    means = accelerator.reduce(sums, "sum") / counts
    perplexity = means.exp().tolist()
    run.validations.append({"step": run.step, "loss": float(means.mean()), "perplexity": perplexity})
    guides = (accelerator.reduce(guide, "sum") / counts[0]).tolist() if run.recipe.optimisation.guide else []
    if guides:
        run.validations[-1]["guide"] = guides
    if model is None or writer is None:
        accelerator.wait_for_everyone()
        return
    writer.add_scalar("validation/loss", float(means.mean()), run.step)
    for k, value in enumerate(perplexity):
        writer.add_scalar(f"validation/perplexity_{k + 1}", value, run.step)
    if with_samples:
        _sample(run, model, folder, index, writer)
    writer.flush()
    values = {"losses": run.losses, "validations": run.validations, "not_used": index.not_used}
    audio.write_bytes(output / HISTORY, (json.dumps(values, indent=1) + "\n").encode())
    _export(model, output / MODEL, run.recipe.export)
    tqdm.write(
        f"step {run.step}: validation loss {float(means.mean()):.4f}, perplexity "
        + " ".join(f"{value:.1f}" for value in perplexity)
        + "".join(f", {name} {value:.3f}" for name, value in zip(NAMES, guides, strict=False))
    )
    accelerator.wait_for_everyone()


def _sample(run: Run, model: MusicGen, folder: str, index: Index, writer: SummaryWriter) -> None:
    texts = [str(sample.metadata.get("description") or "") for sample in iterate(folder, index.valid)][:SAMPLES]
    seconds = min(SAMPLE_SECONDS, run.recipe.data.seconds)
    model.to(run.accelerator.device)
    waves = model.generate(texts, seconds, seed=run.recipe.seed)
    model.to("cpu")
    for number, (text, wave) in enumerate(zip(texts, waves, strict=True)):
        # TensorBoard plays one channel.
        mono = wave.mean(dim=0).cpu()
        writer.add_audio(f"samples/{number + 1}", mono, run.step, sample_rate=model.sample_rate)
        writer.add_text(f"samples/{number + 1}", text, run.step)


def _export(model: MusicGen, folder: Path, stored: str) -> None:
    """Replace the folder by the model as it is now."""
    fresh, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    checkpoint.save(model, fresh, stored=stored)
    if folder.exists():
        folder.replace(old)
    fresh.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def _writer(run: Run, output: Path) -> SummaryWriter | None:
    if not run.accelerator.is_main_process:
        return None
    return SummaryWriter(str(output / "tensorboard"), purge_step=run.step)


def _report(run: Run, pace: float, speed: float, bar: tqdm[Any], writer: SummaryWriter | None) -> None:
    step, loss = run.losses[-1]
    left = (run.recipe.optimisation.steps - step) * pace
    line = f"loss {loss:.4f}, {speed:,.0f} codes/s, {_clock(left)} left"
    if writer is not None:
        writer.add_scalar("train/loss", loss, step)
        writer.add_scalar("train/learning_rate", run.optimiser.param_groups[0]["lr"], step)
        writer.add_scalar("train/codes_per_second", speed, step)
    if bar.disable and run.accelerator.is_main_process:  # no terminal: a log file gets lines
        logger.info("step %d: %s", step, line)
    bar.set_postfix_str(line, refresh=False)
    bar.update(step - bar.n)


def _clock(seconds: float) -> str:
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _stop_if_bad(bad_step: int, output: Path) -> None:
    if bad_step >= 0:
        kept = "the last checkpoint is kept" if (output / FOLDER).is_dir() else "there is no checkpoint yet"
        raise InputError(
            f"step {bad_step}: the loss is not finite, training stops ({kept}): lower optimisation.learning_rate, "
            "or use the precision bfloat16 or float32"
        )
