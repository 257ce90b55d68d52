"""Sharded weights (FSDP) on two processes: the losses of one process, and checkpoints that any number of processes reads.

Accelerate shards on accelerators only, so this calls PyTorch's `fully_shard` itself, over gloo on the CPU, and everything
that comes after it is the trainer's own: moving average, checkpoint, resume, the whole model for export.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.fsdp import fully_shard

import musicgen
from musicgen.training.lm.checkpointing import TrainingState, gather_model, resume, save_checkpoint
from musicgen.training.lm.config import LMRecipe
from musicgen.training.lm.dataloader import Batch
from musicgen.training.lm.network import Network
from musicgen.training.lm.optimiser import optimiser
from musicgen.training.moving_average import MovingAverage
from tests import standins
from tests.training.lm.conftest import recipe_values

WORLD = 2
STEPS = 4


def start(recipe: LMRecipe, folder: str, rank: int, world: int) -> TrainingState:
    model = musicgen.load(folder, "cpu")
    shell = musicgen.load(folder, "cpu") if rank == 0 else None
    model.lm.requires_grad_(True)
    network = Network(model, train_text=False)
    if world > 1:
        for block in network.lm.blocks:
            fully_shard(block)
        fully_shard(network)
    accelerator = SimpleNamespace(
        num_processes=world, is_main_process=rank == 0, scaler=None,
        wait_for_everyone=dist.barrier if world > 1 else lambda: None,
    )  # fmt: skip
    learning = SimpleNamespace(optimizer=optimiser(network, recipe.optimisation))
    average = MovingAverage(list(network.parameters()), 0.5)
    return TrainingState(recipe, accelerator, network, network, learning, average, shell)  # type: ignore[arg-type]


def step(run: TrainingState, rank: int, world: int) -> float:
    """One step on this process's rows of a batch of four."""
    generator = torch.Generator().manual_seed(run.step)
    codes = torch.randint(0, 64, (4, 4, 12), generator=generator)
    rows = list(range(rank, 4, world))
    batch = Batch(codes[rows], torch.full((len(rows),), 12), ["drums", "guitar", "", "bass"][rank::world], None)
    inputs = run.unwrapped.inputs(batch, 64)
    loss = (run.network(inputs).codes / (4 * 12)).mean()
    (loss * world).backward()
    run.optimiser.optimizer.step()
    run.optimiser.optimizer.zero_grad()
    run.average.update()
    run.step += 1
    total = loss.detach().clone()
    if world > 1:
        dist.all_reduce(total)
    return float(total)


def work(rank: int, world: int, values: dict, folder: str, output: str) -> None:
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{output}.rendezvous", rank=rank, world_size=world)
    recipe = LMRecipe.from_dict(values)
    run = start(recipe, folder, rank, world)
    losses = [step(run, rank, world) for _ in range(STEPS)]
    save_checkpoint(run, Path(output))
    with run.average:
        model = gather_model(run)
    losses += [step(run, rank, world) for _ in range(2)]
    again = start(recipe, folder, rank, world)
    assert resume(again, Path(output))
    gone_on = [step(again, rank, world) for _ in range(2)]
    assert gone_on == losses[STEPS:]
    if rank == 0:
        assert model is not None
        torch.save({"losses": losses, "lm": model.lm.state_dict()}, f"{output}/result.pt")
    if world > 1:
        dist.barrier()  # one that is gone early takes the connections of the other's last steps with it
        dist.destroy_process_group()


@pytest.mark.slow
def test_sharded_weights_learn_and_go_on_like_whole_ones(music: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    folder = str(standins.write(standins.transformers_model(), tmp_path / "model"))
    values = recipe_values(music, tokenizer_folder, start={"model": folder})
    values["shape"], values["text"] = {}, {}
    mp.spawn(work, (WORLD, values, folder, str(tmp_path / "two")), nprocs=WORLD)
    work(0, 1, values, folder, str(tmp_path / "one"))
    ours, theirs = (torch.load(tmp_path / name / "result.pt", weights_only=True) for name in ("two", "one"))
    torch.testing.assert_close(torch.tensor(ours["losses"]), torch.tensor(theirs["losses"]), atol=1e-4, rtol=0)
    for name, value in theirs["lm"].items():
        torch.testing.assert_close(ours["lm"][name], value, atol=2e-3, rtol=0)
    # What two processes wrote, one goes on from.
    alone = start(LMRecipe.from_dict(values), folder, 0, 1)
    assert resume(alone, tmp_path / "two")
    assert step(alone, 0, 1) == pytest.approx(ours["losses"][STEPS], abs=1e-4)
