"""Training of the language model: recipe + music -> checkpoints, curves, samples and a model's folder.

    OUTPUT/tokens/         the token shards, unless the recipe names others
    OUTPUT/checkpoints/    step-NNNNNNNN.pt, the newest `every.keep`
    OUTPUT/samples/        step-NNNNNNNN-1.flac, …: clips of held-out captions, also shown in TensorBoard
    OUTPUT/adapter/        with `start.lora_rank`: the adapter, in PEFT's format
    and the files of `musicgen.training.trainer`

With `accelerate launch`, every process runs this.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from musicgen import audio, checkpoint, provenance
from musicgen.audio import Audio
from musicgen.cancellation import Cancellation
from musicgen.checkpoint import adapters as lora
from musicgen.checkpoint import components
from musicgen.checkpoint.conditioners import others
from musicgen.conditioners.t5 import T5Encoder
from musicgen.conditioners.text_tokenizer import TextTokenizer
from musicgen.errors import InputError
from musicgen.fill_in_the_middle import PATTERNS
from musicgen.generators import AutoregressiveGenerator
from musicgen.model import MusicGen
from musicgen.training.lm.auxiliary_losses import REGISTRY
from musicgen.training.lm.checkpointing import TrainingState, gather_model, new_state, resume, save_checkpoint
from musicgen.training.lm.clap_text import CODEBOOKS, ClapText
from musicgen.training.lm.clap_windows import ClapWindows
from musicgen.training.lm.config import LMRecipe
from musicgen.training.lm.dataloader import Batch, Cropper, TrainingData, validation_batches
from musicgen.training.lm.initialization import (
    add_adapters,
    audio_tokenizer,
    captions,
    fine_tuned_model,
    new_model,
    new_text_encoder,
    with_conditioners,
)
from musicgen.training.lm.network import Inputs
from musicgen.training.lm.optimiser import learning_rate
from musicgen.training.lm.prepare import check_texts, prepare
from musicgen.training.lm.shards import Index, iterate, read_index
from musicgen.training.trainer import ADAPTER, MODEL, TENSORBOARD, Intervals, Trainer, clock, write_history
from musicgen.transformer import Block

logger = logging.getLogger(__name__)

SAMPLES = 3
SAMPLE_SECONDS = 10.0
SAMPLE_FOLDER = "samples"
_MIXED_PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def train(
    recipe: LMRecipe,
    output: str | os.PathLike[str],
    device: str = "auto",
    *,
    observer: Callable[[TrainingState], object] | None = None,
    cancellation: Cancellation | None = None,
) -> dict[str, Any]:
    """Train a language model, or resume the run in `output`.

    Args:
        recipe: What to train on what.
        output: The run's folder.
        device: "auto" for a GPU where there is one, or "cpu".
        observer: Called in the main process with the state, when the steps begin and after each reading of the losses and each
            validation.
        cancellation: Ends the run after a step, as its last step would; it goes on from there when it is resumed.

    Returns:
        The last validation.

    Raises:
        InputError: The recipe does not fit the model, the music, the machine or the run in `output`, or the loss diverged.
    """
    output = Path(output)
    precision = _precision(recipe.optimisation.precision, gpu=device != "cpu" and torch.cuda.is_available())
    accelerator = Accelerator(mixed_precision=_MIXED_PRECISION[precision], cpu=device == "cpu")
    model, folder, index = _prepare(recipe, output, accelerator)
    melody_frames = 0 if model.melody is None else model.melody.length
    window = 0.0 if recipe.text.clap is None else index.window
    cropper = Cropper(recipe, Fraction(index.rate), recipe.data.seconds, melody_frames, others(model), window)
    data = TrainingData(folder, index, recipe, cropper, accelerator.process_index, accelerator.num_processes)
    run = new_state(recipe, model, accelerator)
    if resume(run, output):
        logger.info("resuming at step %d", run.step)
    seconds = index.frames / float(Fraction(index.rate))
    logger.info(
        "%.1f hours of music in %d clips, %d clips not used; %.1f M trainable weights",
        seconds / 3600, sum(index.train.values()), len(index.not_used),
        sum(p.numel() for p in run.average.parameters) / 1e6,
    )  # fmt: skip
    writer = None
    if accelerator.is_main_process:
        writer = SummaryWriter(str(output / TENSORBOARD), purge_step=run.step)
    try:
        with contextlib.closing(data.batches(run.step, recipe.optimisation.steps)) as batches:
            trainer = LMTrainer(run, batches, cropper, folder, index, output, writer, observer, cancellation)
            trainer.observe()
            trainer.fit()
    finally:
        if writer is not None:
            writer.close()
        accelerator.end_training()
    return run.validations[-1]


def _prepare(recipe: LMRecipe, output: Path, accelerator: Accelerator) -> tuple[MusicGen, str, Index]:
    """The model to train, the folder of the token shards and its index."""
    fine_tuned = fine_tuned_model(recipe) if recipe.start.model else None
    tokenizer = audio_tokenizer(recipe) if fine_tuned is None else fine_tuned.tokenizer
    follows_melody = recipe.shape.melody if fine_tuned is None else fine_tuned.melody is not None
    heard = "mix" if fine_tuned is not None and fine_tuned.melody and not fine_tuned.melody.separated else "separated"
    clap = None if recipe.text.clap is None else ClapText.load(recipe.text.clap)
    windows = None if clap is None else ClapWindows(clap.embedder, recipe.data.seconds)
    # CLAP hears the music instead: no texts are needed.
    texts = recipe.data if clap is None else replace(recipe.data, texts=False)
    folder = os.path.expanduser(recipe.data.tokens) or str(output / "tokens")  # noqa: PTH111 (it may be a URL)
    with accelerator.main_process_first():
        index = read_index(folder)
        if index is None:
            tokenizer.to(accelerator.device)
            melody = (recipe.data.melody or heard) if follows_melody else "none"
            index = prepare(texts, Path(folder), tokenizer, melody, recipe.seed, accelerator.device, windows)
            tokenizer.to("cpu")
    _check(index, folder, tokenizer, follows_melody)
    _check_embeddings(index, folder, windows)
    check_texts(texts, index.described, index.clips, folder)
    model = fine_tuned
    if model is None:
        # On the CPU, in every process: the same weights from the same seed.
        text: tuple[T5Encoder, TextTokenizer] | ClapText
        if clap is not None:
            with accelerator.main_process_first():
                text = clap.fitted(iterate(folder, index.train), output / CODEBOOKS, recipe.seed)
        elif recipe.text.new is None:
            text = components.text_encoder(recipe.text.encoder)
        else:
            with accelerator.main_process_first():
                spoken = captions(sample.metadata for sample in iterate(folder, index.train))
                text = new_text_encoder(recipe.text.new, spoken, output / "text", recipe.seed)
        model = new_model(recipe, tokenizer, text)
    model = with_conditioners(model, recipe)
    if model.melody is not None:
        model.melody.separated = index.melody == "separated"
    if recipe.data.fill_in_the_middle:
        _check_order(model)
    if not recipe.start.lora_rank:  # an adapter leaves what the model learnt before
        model.fill_in_the_middle = recipe.data.fill_in_the_middle > 0
    if recipe.guidance_scale is not None:
        model.generator = AutoregressiveGenerator(recipe.guidance_scale)
    model.lm.requires_grad_(True)
    for projection in (model.text.projection, model.melody and model.melody.projection):
        if projection is not None:
            projection.requires_grad_(True)
    for conditioner in others(model).values():
        conditioner.requires_grad_(True)
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


def _check_order(model: MusicGen) -> None:
    """Refuse fill-in-the-middle for models that cannot learn it."""
    if list(model.conditioners) != ["text"]:
        raise InputError(
            f"data.fill_in_the_middle is for models of text alone, and {model.name} follows "
            f"{' and '.join(model.conditioners)}: leave it out"
        )
    if model.pattern.kind not in PATTERNS:
        raise InputError(
            f"data.fill_in_the_middle needs a pattern that goes frame by frame, and not {model.pattern.kind}: delay, parallel, "
            "or flattening"
        )


def _check_embeddings(index: Index, folder: str, windows: ClapWindows | None) -> None:
    """Refuse tokens without the embeddings of the recipe's CLAP."""
    if windows is not None and (index.embedder, index.window) != (windows.embedder.kind, windows.seconds):
        has = f"{index.embedder}'s of {index.window:g} s" if index.embedder else "none"
        raise InputError(
            f"{folder} holds tokens with other embeddings ({has}) than text.clap needs ({windows.embedder.kind}'s of "
            f"{windows.seconds:g} s): name an empty folder in data.tokens, and they are written anew"
        )


class LMTrainer(Trainer):
    """The loop on a language model."""

    def __init__(
        self,
        run: TrainingState,
        batches: Iterator[Batch],
        cropper: Cropper,
        folder: str,
        index: Index,
        output: Path,
        writer: SummaryWriter | None,
        observer: Callable[[TrainingState], object] | None = None,
        cancellation: Cancellation | None = None,
    ) -> None:
        """batches: of the steps that remain; folder, index: the token shards; writer: in the main process."""
        options, every = run.recipe.optimisation, run.recipe.every
        intervals = Intervals(options.steps, every.log, every.validate, every.checkpoint, every.start)
        super().__init__(
            run, intervals, run.accelerator.device,
            is_main=run.accelerator.is_main_process, cancellation=cancellation,
        )  # fmt: skip
        self.observer = observer
        self.run, self.batches, self.cropper = run, batches, cropper
        self.folder, self.index, self.output, self.writer = folder, index, output, writer

    def observe(self) -> None:
        """Show the state to the observer."""
        if self.observer is not None and self.run.accelerator.is_main_process:
            self.observer(self.run)

    def finished(self) -> bool:
        return self.run.step >= self.run.recipe.optimisation.steps

    def save_checkpoint(self) -> None:
        save_checkpoint(self.run, self.output)

    def train_step(self) -> dict[str, torch.Tensor]:
        """One step on this process's rows. Returns the mean loss over all processes, and how many codes were predicted."""
        run = self.run
        accelerator, options = run.accelerator, run.recipe.optimisation
        batch = next(self.batches)
        inputs = [self._inputs(part) for part in batch.split(options.micro_batch or len(batch.texts))]
        local = torch.stack([part.counts(run.unwrapped.special) for part in inputs]).sum(dim=0)
        counts = accelerator.reduce(local, "sum").clamp(min=1)
        for group in run.optimiser.param_groups:
            group["lr"] = learning_rate(options, run.step)
        weights = torch.tensor(options.codebooks or [1.0] * len(counts), device=accelerator.device)
        weights = weights / weights.mean()
        total = torch.zeros((), device=accelerator.device)
        for number, part in enumerate(inputs):
            last = number + 1 == len(inputs)
            with contextlib.nullcontext() if last else accelerator.no_sync(run.network):
                # The mean over the codes of a codebook, then over codebooks. The factor below undoes the averaging of gradients
                # over processes, because `counts` are of all of them.
                losses = run.network(part)
                loss = (weights * losses.codes / counts).mean()
                for name, auxiliary in run.recipe.auxiliary_losses.active().items():
                    loss = loss + auxiliary.weight * losses.auxiliary[name].sum() / counts[0]
                accelerator.backward(loss * accelerator.num_processes)
            total += (losses.codes / counts).mean().detach()
        if accelerator.sync_gradients:
            accelerator.clip_grad_norm_(run.network.parameters(), options.clip)
        run.optimiser.step()
        run.optimiser.zero_grad()
        run.average.update()
        return {"loss": accelerator.reduce(total, "sum"), "codes": counts.sum()}

    def log(self, means: dict[str, float], seconds_per_step: float) -> str:
        run = self.run
        loss, speed = means["loss"], means["codes"] / seconds_per_step
        run.losses.append((run.step, loss))
        if self.writer is not None:
            self.writer.add_scalar("train/loss", loss, run.step)
            self.writer.add_scalar("train/learning_rate", run.optimiser.param_groups[0]["lr"], run.step)
            self.writer.add_scalar("train/codes_per_second", speed, run.step)
        self.observe()
        left = (run.recipe.optimisation.steps - run.step) * seconds_per_step
        return f"loss {loss:.4f}, {speed:,.0f} codes/s, {clock(left)} left"

    @torch.no_grad()
    def validate(self) -> None:
        """Perplexity of every codebook and the auxiliary losses on the held-out clips; the model's folder; a few samples."""
        run = self.run
        accelerator = run.accelerator
        with run.average:
            record = {"step": run.step, **self._held_out_losses()}
            model = gather_model(run)
        run.validations.append(record)
        if model is not None and self.writer is not None:
            self._write_validation(record, model, self.writer)
        self.observe()
        accelerator.wait_for_everyone()

    def _held_out_losses(self) -> dict[str, Any]:
        run = self.run
        accelerator, special = run.accelerator, run.unwrapped.special
        options = run.recipe.optimisation
        size = max(1, (options.micro_batch or options.batch) // accelerator.num_processes)
        device = accelerator.device
        sums = torch.zeros(self.index.num_codebooks, device=device)
        counts = torch.zeros(self.index.num_codebooks, dtype=torch.int64, device=device)
        auxiliary = {
            name: torch.zeros(len(REGISTRY[name].terms), device=device) for name in run.recipe.auxiliary_losses.active()
        }
        batches = list(validation_batches(self.folder, self.index, self.cropper, size))
        for number in range(-(-len(batches) // accelerator.num_processes)):
            mine = number * accelerator.num_processes + accelerator.process_index
            # Sharded weights are gathered in every pass: all processes take part in each.
            inputs = self._inputs(batches[min(mine, len(batches) - 1)])
            losses = run.network(inputs)
            if mine < len(batches):
                sums, counts = sums + losses.codes, counts + inputs.counts(special)
                auxiliary = {name: total + losses.auxiliary[name] for name, total in auxiliary.items()}
        counts = accelerator.reduce(counts, "sum").clamp(min=1)
        means = accelerator.reduce(sums, "sum") / counts
        record: dict[str, Any] = {"loss": float(means.mean()), "perplexity": means.exp().tolist()}
        if auxiliary:
            record["auxiliary_losses"] = {
                name: dict(
                    zip(REGISTRY[name].terms, (accelerator.reduce(total, "sum") / counts[0]).tolist(), strict=True)
                )
                for name, total in auxiliary.items()
            }
        return record

    def _write_validation(self, record: dict[str, Any], model: MusicGen, writer: SummaryWriter) -> None:
        run = self.run
        writer.add_scalar("validation/loss", record["loss"], run.step)
        for k, value in enumerate(record["perplexity"]):
            writer.add_scalar(f"validation/perplexity_{k + 1}", value, run.step)
        if run.step % run.recipe.every.samples == 0:
            self._write_samples(model, writer)
        writer.flush()
        history = {"losses": run.losses, "validations": run.validations, "not_used": self.index.not_used}
        write_history(self.output, history)
        stored = run.recipe.export
        if stored != "adapter":
            _export(self.output / MODEL, lambda folder: checkpoint.save(model, folder, stored=stored))
        if run.recipe.start.lora_rank:
            self._export_adapter()
        terms = {f"{name} {term}": value for name, loss in record.get("auxiliary_losses", {}).items()
                 for term, value in loss.items()}  # fmt: skip
        tqdm.write(
            f"step {run.step}: validation loss {record['loss']:.4f}, perplexity "
            + " ".join(f"{value:.1f}" for value in record["perplexity"])
            + "".join(f", {name} {value:.3f}" for name, value in terms.items())
        )

    def _export_adapter(self) -> None:
        """Write the adapter by itself too, in PEFT's files, unless the run trains what these cannot hold."""
        start, model = self.run.recipe.start, self.run.export_model
        if model is None or start.text or others(model):
            return
        trained = {
            f"{theirs}.{kind}": parameter.detach()
            for theirs, projection in lora.projections(model).items()
            for kind, parameter in projection.named_parameters()
        }

        def write(folder: Path) -> None:
            lora.save(model.lm, trained, folder, base=start.model, rank=start.lora_rank, alpha=start.lora_alpha)

        _export(self.output / ADAPTER, write)

    def _write_samples(self, model: MusicGen, writer: SummaryWriter) -> None:
        run = self.run
        held_out = iterate(self.folder, self.index.valid)
        texts = [
            self.cropper.description(sample, np.random.default_rng(number))
            for number, sample in enumerate(itertools.islice(held_out, SAMPLES))
        ]
        seconds = min(SAMPLE_SECONDS, run.recipe.data.seconds)
        model.to(run.accelerator.device)
        waves = model.generate(texts, seconds, seed=run.recipe.seed)
        model.to("cpu")
        (self.output / SAMPLE_FOLDER).mkdir(exist_ok=True)
        for number, (text, wave) in enumerate(zip(texts, waves, strict=True)):
            file = self.output / SAMPLE_FOLDER / f"step-{run.step:08d}-{number + 1}.flac"
            clip = audio.normalise_loudness(Audio(wave, model.sample_rate))
            audio.write(file, clip, provenance.system_tags(f"MusicGen {model.name}", text))
            mono = wave.mean(dim=0).cpu()  # TensorBoard plays one channel
            writer.add_audio(f"samples/{number + 1}", mono, run.step, sample_rate=model.sample_rate)
            writer.add_text(f"samples/{number + 1}", text, run.step)

    def _inputs(self, batch: Batch) -> Inputs:
        return self.run.unwrapped.inputs(batch, self.run.recipe.text.max_tokens).to(self.run.accelerator.device)


def _precision(wanted: str, *, gpu: bool) -> str:
    """The precision of the training steps on this machine."""
    if wanted == "float16" and not gpu:
        raise InputError(
            "optimisation.precision is float16: that needs a GPU; on the CPU take auto, bfloat16 or float32"
        )
    if wanted == "auto":
        return "float16" if gpu else "float32"
    return wanted


def _export(folder: Path, write: Callable[[Path], None]) -> None:
    """Replace a folder by what `write` writes into a new one."""
    fresh, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    write(fresh)
    if folder.exists():
        folder.replace(old)
    fresh.replace(folder)
    shutil.rmtree(old, ignore_errors=True)
