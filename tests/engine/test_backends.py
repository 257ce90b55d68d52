"""The back ends give the results of the modules, free their memory, and are not used where they cannot run."""

import copy
import dataclasses
import gc
import multiprocessing
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch

import musicgen
from musicgen.engine import Scheduler
from musicgen.engine.backends.openvino import encodec
from musicgen.engine.backends.openvino.pool import OpenVinoPool
from musicgen.engine.backends.torch.pool import TorchPool
from musicgen.engine.selection import Engine
from musicgen.lm import Conditions
from musicgen.tokenizers import EncodecTokenizer
from tests.conftest import TEXTS

OPTIONS = musicgen.GenerationOptions(top_k=20)


@pytest.fixture
def tokenizer(text_model) -> EncodecTokenizer:
    return copy.deepcopy(text_model.tokenizer)


@pytest.mark.parametrize("frames", [1, 99, 100, 101, 250])
def test_the_decoder_in_slices_is_the_network_in_one_pass(tokenizer: EncodecTokenizer, frames: int) -> None:
    codes = torch.randint(0, tokenizer.codebook_size, (2, tokenizer.num_codebooks, frames))
    assert isinstance(tokenizer.engine, encodec.Upsampler)
    compiled = tokenizer.decode(codes)
    expected = tokenizer.model.decode(codes)
    torch.testing.assert_close(compiled, expected, atol=1e-5, rtol=0)
    tokenizer.engine = None
    torch.testing.assert_close(tokenizer.decode(codes), expected, atol=1e-6, rtol=0)


def test_the_decoder_follows_its_weights(tokenizer: EncodecTokenizer) -> None:
    codes = torch.randint(0, tokenizer.codebook_size, (1, tokenizer.num_codebooks, 20))
    before = tokenizer.decode(codes)
    with torch.no_grad():
        tokenizer.tail[-1].conv.bias.add_(1.0)
    torch.testing.assert_close(tokenizer.decode(codes), before + 1.0, atol=1e-5, rtol=0)


def test_padding_that_the_graph_does_not_support_is_left_to_pytorch(tokenizer: EncodecTokenizer) -> None:
    assert encodec.supports(tokenizer)
    tokenizer.model.config.pad_mode = "reflect"
    assert not encodec.supports(tokenizer)


@pytest.mark.parametrize("kind", ["text", "melody"])
def test_openvino_gives_the_logits_of_pytorch(audiocraft_folder, kind: str) -> None:
    """Rows of different lengths, with padding in the prefix and with positions of their own, that are admitted and released."""
    lm = musicgen.load(audiocraft_folder(kind)).lm
    generator = torch.Generator().manual_seed(0)
    dim, books = lm.config.dim, lm.config.num_codebooks
    vectors = torch.randn(2, 9, dim, generator=generator)
    mask = torch.tensor([[True] * 9, [True] * 4 + [False] * 3 + [True] * 2])
    conditions = Conditions(vectors, mask) if kind == "text" else Conditions(prefix=vectors, prefix_mask=mask)
    pools = [OpenVinoPool(Engine(lm).backends["openvino"].compiled.get(), lm, 6, 120), TorchPool(lm, 6, 120, 9)]
    slots: list[list] = []

    def join(steps: int, positions: torch.Tensor | None = None) -> None:
        codes = torch.randint(0, 20, (2, books, steps), generator=generator)
        given = dataclasses.replace(conditions, positions=positions)
        (one, logits), (other, expected) = (pool.admit(codes, given) for pool in pools)
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
        assert one.rows == other.rows
        slots.append([one, other])

    def step(count: int) -> None:
        for _ in range(count):
            codes = torch.randint(0, 20, (pools[0].used, books, 1), generator=generator)
            logits, expected = (pool.step(codes) for pool in pools)
            # The pools number the rows differently once a clip was released: only rows of the same number are compared.
            for one, other in slots:
                if one.rows == other.rows:
                    torch.testing.assert_close(logits[one.rows], expected[other.rows], atol=1e-4, rtol=1e-4)
            for pool in pools:
                pool.advance()

    join(1)
    step(3)
    join(5)
    step(30)
    # The first 25 steps come after the others, as of music in the order of fill-in-the-middle.
    join(40, torch.cat([torch.arange(30, 55), torch.arange(15)]).expand(2, -1))
    step(5)
    assert [pool.used for pool in pools] == [6, 6]
    with pytest.raises(ValueError, match="do not fit"):
        pools[0].admit(torch.zeros(2, books, 1, dtype=torch.int64), conditions)
    for slot, pool in zip(slots.pop(), pools, strict=True):
        pool.release(slot)
    step(3)
    join(2)
    step(3)
    for both in slots:
        for slot, pool in zip(both, pools, strict=True):
            pool.release(slot)
    assert [pool.used for pool in pools] == [0, 0]


def _child(model: musicgen.MusicGen, expected: torch.Tensor) -> None:
    torch.set_num_threads(1)
    os._exit(0 if torch.equal(model.generate_codes(TEXTS, 0.5, seed=3, options=OPTIONS), expected) else 3)


@pytest.mark.parametrize("precision", ["float32", "int4"])
def test_a_fork_generates_too(audiocraft_folder, precision: str) -> None:
    """A fork has none of the threads of OpenVINO and Numba: it uses PyTorch."""
    model = musicgen.load(audiocraft_folder("text"), "cpu", precision)
    codes = model.generate_codes(TEXTS, 0.5, seed=3, options=OPTIONS)
    child = multiprocessing.get_context("fork").Process(target=_child, args=(model, codes))
    child.start()
    child.join(timeout=60)
    # With int4, PyTorch does not quantise the activations, so the codes may differ.
    assert child.exitcode in ((0,) if precision == "float32" else (0, 3))


def test_an_unloaded_model_is_freed(audiocraft_folder) -> None:
    model = musicgen.load(audiocraft_folder("text"))
    model.generate(TEXTS, 0.2, seed=0)
    held = [weakref.ref(model), weakref.ref(model.lm), weakref.ref(model.engine.backends["openvino"].compiled)]
    del model
    gc.collect()
    assert [one() for one in held] == [None] * 3


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["text", "melody", "stereo", "mini", "mini-melody", "mini-stereo-melody"])
def test_cuda_graphs_give_the_clips_of_the_modules(audiocraft_folder, kind: str) -> None:
    from musicgen.engine.backends.triton.pool import (
        TritonPool,  # here, as PyTorch's wheels for the CPU alone lack Triton
    )

    embedded = kind.startswith("mini")
    model = musicgen.load(kind if embedded else audiocraft_folder(kind), "cuda")
    with Scheduler(model, slots=3) as scheduler:
        handles = [scheduler.submit(text, 6.0, seed=seed, options=OPTIONS) for seed, text in enumerate([*TEXTS, ""])]
        waves = [handle.result() for handle in handles]
        assert isinstance(scheduler._pool, TritonPool) == embedded  # the others' heads are too small for its kernels
        assert scheduler._pool._graphs
    engine, model.engine = model.engine, None
    for seed, (text, wave) in enumerate(zip([*TEXTS, ""], waves, strict=True)):
        codes = model.generate_codes(text, 6.0, seed=seed, options=OPTIONS)
        torch.testing.assert_close(wave, model.decode(codes)[0].cpu(), atol=1e-3, rtol=0)
        model.engine = engine
        assert torch.equal(model.generate_codes(text, 6.0, seed=seed, options=OPTIONS), codes)
        model.engine = None


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["mini", "mini-stereo-melody"])
def test_steps_on_a_gpu_do_not_synchronise(name: str) -> None:
    model = musicgen.load(name, "cuda")
    begun: list[int] = []

    def progress(done: int, _: int) -> None:
        begun.append(done)
        if len(begun) == 3:  # by then everything is compiled and captured
            torch.cuda.set_sync_debug_mode("error")

    try:
        model.generate_codes(TEXTS, 2.0, seed=0, options=OPTIONS, progress=progress)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(begun) > 50


def test_openvino_sends_no_telemetry(tmp_path: Path) -> None:
    """Not to Google Analytics, as it does on import unless prevented, with an identifier in the home folder."""
    program = (
        "import musicgen.engine.backends.openvino.runtime, openvino.tools.ovc.telemetry_utils as utils\n"
        "from openvino.tools.ovc import telemetry_stub\n"
        "assert utils.tm is telemetry_stub, utils.tm"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []
