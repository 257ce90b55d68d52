"""List the models that can be loaded by name: their conditions, their sizes, and whether they are on this machine; and the
networks and LoRA adapters that they use."""

from __future__ import annotations

import argparse
from pathlib import Path

from musicgen import catalog, table_text
from musicgen.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--memory", action="store_true", help="memory of each model: weights by precision, KV cache by number of slots"
    )
    parser.add_argument(
        "--adapters", type=Path, metavar="FOLDER", help="list the LoRA adapters in the folders of this one, too"
    )
    parser.add_argument("--slots", type=int, default=4, help="clips made at once, for --memory (default: 4)")


def run(arguments: argparse.Namespace) -> None:
    if arguments.memory:
        _memory(arguments.slots)
    else:
        _list()
        _list_parts()
        _list_adapters(arguments.adapters)


def _list() -> None:
    from musicgen.checkpoint import hub

    rows: list[tuple[str, ...]] = [
        ("name", "makes", "follows", "channels", "weights", "size", "licence", "on this machine")
    ]
    for name in catalog.embedded():
        own = catalog.Embedded.of(name)
        rows.append((*_described(own), _megabytes(own.bytes), "MIT", "embedded"))
    for entry in catalog.PUBLISHED:
        here = "yes" if hub.cached(entry.name, entry.file) else "no"
        rows.append((*_described(entry), _megabytes(entry.download_bytes), catalog.WEIGHTS_LICENCE, here))
    print(table_text.columns(rows))
    print(
        "weights: of the language model; size: float32 files with text encoder and tokeniser, of embedded models all files. A "
        "folder works as a name too."
    )


def _described(model: catalog.Entry | catalog.Embedded) -> tuple[str, ...]:
    return model.name, model.makes, model.follows, model.channels, f"{model.lm_parameters / 1e6:.0f} M"


def _list_parts() -> None:
    """The networks that models use."""
    from musicgen.checkpoint import hub

    rows: list[tuple[str, ...]] = [("used by models", "for", "memory", "licence", "on this machine")]
    for part in catalog.PARTS:
        file = hub.cached(part.name, part.file)
        size = 4 * part.parameters if part.parameters is not None else (file.stat().st_size if file else None)
        memory = _megabytes(size) if size is not None else "as its file"
        rows.append((part.name, part.use, memory, part.licence, "yes" if file else "no"))
    print()
    print(table_text.columns(rows))


def _list_adapters(folder: Path | None) -> None:
    """The LoRA adapters in the hub's cache and in a folder of the user's, if there are any."""
    from musicgen.checkpoint import adapter_folders, hub

    if folder is not None and not folder.is_dir():
        raise InputError(f"--adapters {folder}: no such folder")
    own = {} if folder is None else {str(path): path for path in sorted(folder.iterdir()) if path.is_dir()}
    adapters = adapter_folders.found(hub.cached_with(adapter_folders.CONFIG) | own)
    if not adapters:
        return
    rows: list[tuple[str, ...]] = [("LoRA adapter", "for", "size", "licence")]
    rows += [(one.name, one.base or "-", _megabytes(one.bytes), "its author's") for one in adapters]
    print()
    print(table_text.columns(rows))


def _memory(slots: int) -> None:
    import torch

    from musicgen.engine import memory
    from musicgen.lm import LMConfig

    if slots < 1:
        raise InputError(f"--slots is {slots}: at least one clip is made at once")
    cpu = torch.device("cpu")
    precisions = ("float32", "bfloat16", "int8", "int4")
    rows: list[tuple[str, ...]] = [("weights and cache of", *precisions)]
    for entry in catalog.PUBLISHED:
        config = LMConfig(
            entry.dim, entry.num_heads, entry.num_layers, entry.num_codebooks, cross_attention=entry.cross_attention
        )
        cells = []
        for precision in precisions:
            shape = (config, precision, memory.rows_of(slots))
            positions, tokens = entry.positions(memory.MAX_TOKENS)
            cache = (
                0
                if entry.masked
                else memory.cache_bytes(*shape, positions, cpu) + memory.text_bytes(*shape, tokens, cpu)
            )
            weights = memory.weight_bytes(config, precision) + memory.table_bytes(config, precision)
            cells.append(f"{_megabytes(weights)} + {_megabytes(cache)}")
        rows.append((entry.name, *cells))
    print(table_text.columns(rows))
    beside = sorted({entry.beside_bytes for entry in catalog.PUBLISHED})
    print(
        f"language model's weights + keys and values of {slots} clips at once, each as long as the context, preallocated; "
        f"float16 is as bfloat16. Text encoder and tokeniser add {_megabytes(beside[0])} to {_megabytes(beside[-1])} in "
        "float32."
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
