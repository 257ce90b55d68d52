"""The training state of a run, and its checkpoints.

A checkpoint contains unsharded tensors, also with FSDP, so a run may be resumed with another number of processes. Batches are a
function of the step, so the step is the complete state of the data loader.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from musicgen.checkpoint.tensors import read_pickle
from musicgen.errors import CheckpointError, InputError
from musicgen.model import MusicGen
from musicgen.training.lm.config import LMRecipe, StepIntervals
from musicgen.training.lm.initialization import merge_adapters
from musicgen.training.lm.network import Network
from musicgen.training.lm.optimiser import optimiser
from musicgen.training.lm.text_inputs import learns
from musicgen.training.moving_average import MovingAverage
from musicgen.training.trainer import check_same_recipe, write_checkpoint

logger = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
_FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)
_TRAINED = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
"""Frozen weights come from the recipe's model: a checkpoint of adapters holds adapters alone."""


@dataclass
class TrainingState:
    """All that changes from step to step, and what it is made of."""

    recipe: LMRecipe
    accelerator: Accelerator
    network: torch.nn.Module
    """As Accelerate wraps it."""
    unwrapped: Network
    """The same module without its wrapper, for what is not a forward pass."""
    optimiser: Any
    average: MovingAverage
    export_model: MusicGen | None
    """In the main process: a model on the CPU that receives the weights for samples and for the export."""
    step: int = 0
    """Steps done."""
    losses: list[tuple[int, float]] = field(default_factory=list)
    validations: list[dict[str, Any]] = field(default_factory=list)


def new_state(recipe: LMRecipe, model: MusicGen, accelerator: Accelerator) -> TrainingState:
    """The state before the first step. The parameters that require gradients are trained."""
    for name, options in recipe.auxiliary_losses.active().items():
        if options.layer > model.lm.config.num_layers:
            raise InputError(
                f"auxiliary_losses.{name}.layer is {options.layer}: the model has {model.lm.config.num_layers} layers"
            )
    if len(recipe.optimisation.codebooks) not in (0, model.lm.config.num_codebooks):
        raise InputError(
            f"optimisation.codebooks has {len(recipe.optimisation.codebooks)} weights: the model has "
            f"{model.lm.config.num_codebooks} codebooks"
        )
    shell = copy.deepcopy(model) if accelerator.is_main_process else None
    plain = Network(model, train_text=learns(model.text), auxiliary=recipe.auxiliary_losses)
    plain.to_device(accelerator.device)
    wrapped, optimise = accelerator.prepare(plain, optimiser(plain, recipe.optimisation))
    average = MovingAverage(list(wrapped.parameters()), recipe.optimisation.average)
    return TrainingState(recipe, accelerator, wrapped, plain, optimise, average, shell)


def save_checkpoint(run: TrainingState, output: Path) -> None:
    """Write the state atomically and delete the oldest checkpoints. All processes call this."""
    with run.average:
        # Copied, because on the CPU the values are those of the parameters, which get the weights of the step back.
        averaged = copy.deepcopy(get_model_state_dict(run.network, options=_TRAINED))
    state = {
        "recipe": run.recipe.as_dict(),
        "step": run.step,
        "losses": run.losses,
        "validations": run.validations,
        "network": get_model_state_dict(run.network, options=_TRAINED),
        "average": averaged,
        "optimiser": get_optimizer_state_dict(run.network, run.optimiser.optimizer, options=_FULL),
        "scaler": None if run.accelerator.scaler is None else run.accelerator.scaler.state_dict(),
    }
    if run.accelerator.is_main_process:
        folder = output / CHECKPOINTS
        folder.mkdir(parents=True, exist_ok=True)
        write_checkpoint(folder / f"step-{run.step:08d}.pt", state)
        for old in _checkpoints(output)[: -run.recipe.every.keep]:
            old.unlink(missing_ok=True)
    run.accelerator.wait_for_everyone()


def resume(run: TrainingState, output: Path) -> bool:
    """Load the newest checkpoint in `output` that is not damaged; False if there is none."""
    for path in reversed(_checkpoints(output)):
        try:
            state = read_pickle(path)
        except CheckpointError as error:
            logger.warning("%s: skipped (%s)", path, error)
            continue
        recipe = LMRecipe.from_dict(state["recipe"])
        check_same_recipe(output, _comparable(recipe), _comparable(run.recipe))
        _load(run, state)
        return True
    return False


def latest_recipe(output: Path) -> LMRecipe:
    """The recipe of the run that lies in `output`."""
    found = _checkpoints(output)
    if not found:
        raise InputError(f"{output} holds no checkpoint of a run")
    return LMRecipe.from_dict(read_pickle(found[-1])["recipe"])


def _load(run: TrainingState, state: dict[str, Any]) -> None:
    processes = run.accelerator.num_processes
    shared = StateDictOptions(full_state_dict=True, broadcast_from_rank0=processes > 1)
    _set_trained(run, state["average"])
    run.average.values = [parameter.detach().clone() for parameter in run.average.parameters]
    _set_trained(run, state["network"])
    set_optimizer_state_dict(run.network, run.optimiser.optimizer, state["optimiser"], options=shared)
    if run.accelerator.scaler is not None and state["scaler"] is not None:
        run.accelerator.scaler.load_state_dict(state["scaler"])
    run.step, run.validations = state["step"], state["validations"]
    run.losses = [(int(step), float(loss)) for step, loss in state["losses"]]


def _set_trained(run: TrainingState, values: dict[str, Any]) -> None:
    """Load the weights of a checkpoint. Raises CheckpointError where one that is trained is missing."""
    several = run.accelerator.num_processes > 1
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=several, strict=False)
    missing = set_model_state_dict(run.network, values, options=options).missing_keys
    trained = {name for name, parameter in run.network.named_parameters() if parameter.requires_grad}
    lacking = sorted(trained.intersection(missing))
    if lacking:
        raise CheckpointError(f"the checkpoint lacks {lacking[0]!r}: it is of another training")


def gather_model(run: TrainingState) -> MusicGen | None:
    """In the main process, the model with the present weights, on the CPU. All processes call this."""
    state = get_model_state_dict(run.network, options=_FULL)
    if run.export_model is None:
        return None
    train_text = run.unwrapped.encoder is not None
    Network(run.export_model, train_text=train_text, auxiliary=run.recipe.auxiliary_losses).load_state_dict(state)
    if run.recipe.start.lora_rank == 0:
        return run.export_model
    # Adapters are merged into a copy, because the model receives their weights again later.
    merged = copy.copy(run.export_model)
    merged._modules = dict(run.export_model._modules)
    merged.lm = merge_adapters(run.export_model.lm)
    return merged


def _checkpoints(output: Path) -> list[Path]:
    return sorted((output / CHECKPOINTS).glob("step-*.pt"))


def _comparable(recipe: LMRecipe) -> dict[str, Any]:
    """The settings that a resumed run must share: all except its length, paths, and intervals."""
    data = replace(recipe.data, path=".", tokens="", workers=0)
    return replace(
        recipe, every=StepIntervals(), data=data, optimisation=replace(recipe.optimisation, steps=1)
    ).as_dict()
