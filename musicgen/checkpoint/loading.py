"""Loading a model by its hub name, its embedded name or the path of a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch

from musicgen import catalog
from musicgen.checkpoint import adapter_folders, audiocraft_layout, multiband, transformers_layout, unsupported_formats
from musicgen.checkpoint import adapters as lora
from musicgen.decoders import MultiBandDiffusion
from musicgen.engine import memory
from musicgen.engine import precision as precisions
from musicgen.engine.selection import accelerate
from musicgen.errors import CheckpointError, InputError
from musicgen.folders import is_file, is_folder
from musicgen.lm import LMConfig
from musicgen.model import MusicGen
from musicgen.options import MAX_DURATION
from musicgen.tokenizers import frames_of


def load(
    name: str | os.PathLike[str],
    device: str | torch.device = "auto",
    precision: str = precisions.AUTO,
    *,
    decoder: str = "codec",
    adapters: Sequence[lora.Given] = (),
    folders: bool = True,
) -> MusicGen:
    """A model by its hub name, its embedded name, or the path of a folder in either layout, ready to generate.

    Args:
        name: hub name, embedded name or folder.
        device: "auto" selects CUDA or Apple's MPS if available, otherwise the CPU.
        precision: of the language model: float32 (exact), bfloat16, float16, int8, int4, if the device supports it. "auto"
            selects, for models of the published sizes, bfloat16 on CUDA (float16 before Ampere) and int8 on CPUs with the
            instructions for it, and float32 otherwise. The model's `precision` is the selected one.
        decoder: decodes codes to waveforms: "codec", the tokeniser's decoder, or "mbd", multi-band diffusion, which is
            downloaded separately and is much slower.
        adapters: LoRA adapters in PEFT's format, as folders or hub names, each with an optional weight: `[("my-lora", 0.8)]`.
            Several adapters are summed. The model's `adapters` can change the weights without reloading.
        folders: whether the name may be that of a folder; False for names from untrusted files.

    Raises:
        CheckpointError: for a name that is unknown or cannot be downloaded, for files that are damaged or unsafe, and for an
            adapter of another model.
        InputError: for a device or a precision that is not available, and for a decoder that does not fit the model.
    """
    target = pick_device(device)
    precisions.check(precision, target)
    catalog.check_decoder(decoder)
    folder = find(name, folders=folders)
    # Adapters are added to float32 weights, so that the model is converted after them.
    conversion = precisions.Conversion("float32" if adapters else precision, target)
    model = _layout(_names(folder), str(folder)).load(folder, str(name), conversion)
    _check_lengths(model, str(folder))
    for conditioner in model.named_conditioners.values():
        conditioner.place(target)
    if decoder == MultiBandDiffusion.kind:
        model.decoder = multiband.load()
        model.decoder.check(model.tokenizer)
    if adapters:
        lora.attach(model, adapters)
        conversion = precisions.Conversion(precision, target)
        conversion.start(model.lm.config, autoregressive=model.generator.autoregressive)
        precisions.apply(model.lm, conversion.precision, target)
    model.precision = conversion.precision
    accelerate(model)
    return model.to(target)


def resolve_precision(
    name: str | os.PathLike[str], device: str | torch.device = "auto", precision: str = precisions.AUTO
) -> str | None:
    """The precision of the model that `load` returns for the same arguments, determined without reading its weights.

    Returns: None if it is only known after loading: for "auto" and a model that is not on this machine or in audiocraft's
        layout.
    """
    target = pick_device(device)
    if precision != precisions.AUTO:
        precisions.check(precision, target)
        return precision
    shape = _shape(name)
    return None if shape is None else precisions.resolve(precision, target, shape[0], autoregressive=shape[1])


def step_bytes(name: str | os.PathLike[str], device: str | torch.device, precision: str) -> int | None:
    """The bytes of weights that a decoding step reads, determined without reading the weights.

    Args:
        name: hub name, embedded name or folder.
        device: as for `load`.
        precision: as for `load`.

    Returns: None if they are only known after loading, and for models that do not generate step by step.
    """
    shape, resolved = _shape(name), resolve_precision(name, device, precision)
    return None if shape is None or not shape[1] or resolved is None else memory.weight_bytes(shape[0], resolved)


def _shape(name: str | os.PathLike[str]) -> tuple[LMConfig, bool] | None:
    """The shape of a model's language model, and whether it generates step by step, as far as that is known without reading
    weights or the network."""
    folder = local_folder(name)
    if folder is not None and transformers_layout.is_layout(_names(folder)):
        return transformers_layout.shape(folder)
    published = next((entry for entry in catalog.PUBLISHED if entry.name == str(name)), None)
    if published is None or is_folder(name):
        return None
    config = LMConfig(
        published.dim,
        published.num_heads,
        published.num_layers,
        published.num_codebooks,
        cross_attention=published.cross_attention,
    )
    return config, not published.masked


def local_folder(name: str | os.PathLike[str]) -> Path | None:
    """The folder of a checkpoint on this machine, None for one that would have to be downloaded. name: as of `load`."""
    if str(name) in catalog.embedded():
        return catalog.PRETRAINED / name
    if is_folder(name):
        return Path(name)
    from musicgen.checkpoint import hub

    config = hub.cached(str(name), "config.json")
    return None if config is None else Path(config).parent


def find(name: str | os.PathLike[str], *, folders: bool = True) -> Path:
    """The folder of a checkpoint, downloaded from the hub if need be. folders: as of `load`."""
    folder = Path(name)
    if folders and is_folder(folder):
        try:
            _layout(_names(folder), str(folder))
        except CheckpointError as error:
            inside = _models_inside(folder)
            if not inside:
                raise
            raise CheckpointError(
                f"{error}. There is one in {', '.join(map(str, inside))}: load that folder"
            ) from error
        return folder
    name = str(name)
    if name in catalog.embedded():
        return catalog.PRETRAINED / name
    if folders and is_file(folder):
        raise CheckpointError(_of_file(folder))
    if "/" not in name or not catalog.is_repository(name):
        nor = " (and no such folder)" if folders else ""
        raise CheckpointError(f"unknown model {name!r}{nor}: {catalog.did_you_mean(name)}")
    from musicgen.checkpoint import hub

    return hub.download(name, lambda names: _layout(names, repr(name)).needed(names))


def _of_file(file: Path) -> str:
    """The error message for a file where a folder is expected."""
    if _is_model(_names(file.parent)):
        return f"{file}: a file of a model: load its folder, {file.parent}"
    known = unsupported_formats.describe([file.name])
    return (
        f"{file}: a file, and a model is a folder or a hub name{known and f' ({known})'}: put it into a folder as "
        f"{transformers_layout.WEIGHTS} beside its {transformers_layout.CONFIG} (transformers), or as "
        f"{audiocraft_layout.LM_FILE} beside {audiocraft_layout.TOKENIZER_FILE} (audiocraft)"
    )


def _models_inside(folder: Path) -> list[Path]:
    """The subfolders that are models: what training wrote beside its curves, or a repository of several."""
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and _is_model(_names(path))][:3]


def _is_model(names: Sequence[str]) -> bool:
    return any(layout.is_layout(names) for layout in (transformers_layout, audiocraft_layout))


def _check_lengths(model: MusicGen, source: str) -> None:
    """Refuse lengths that no tensor shows and that generation would take memory by."""
    rate, duration = model.tokenizer.sample_rate, model.max_duration
    if not 1_000 <= rate <= 200_000:
        raise CheckpointError(f"{source}: a sample rate of {rate} Hz")
    if not 0 < duration <= MAX_DURATION:
        raise CheckpointError(
            f"{source}: a context of {duration:g} s: above 0 and at most {MAX_DURATION:g} s is possible"
        )
    pattern, frames = model.pattern, frames_of(model.tokenizer, duration)
    if max(pattern.max_delay, pattern.flatten_first, pattern.empty_initial) > frames:
        raise CheckpointError(f"{source}: the pattern's delays are longer than the context of {frames} frames")
    for conditioner in model.named_conditioners.values():
        conditioner.check(source)


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _layout(names: Sequence[str], source: str) -> ModuleType:
    """The layout of a checkpoint whose files have these names. A repository may hold both: transformers' has its text
    encoder with it."""
    for layout in (transformers_layout, audiocraft_layout):
        if layout.is_layout(names):
            return layout
    if adapter_folders.CONFIG in names:
        raise CheckpointError(
            f"{source}: a LoRA adapter (PEFT), not a model: load its base model with this adapter, ",
            python=f"load(base, adapters=[{source!r}])",
            shell=f"--model BASE --lora {source}",
            page="which the operator does, who puts adapters into the folder of --adapters",
        )
    if transformers_layout.CONFIG in names:
        return transformers_layout  # which says what is missing
    if audiocraft_layout.TOKENIZER_FILE in names:
        raise CheckpointError(
            f"{source}: an audio tokeniser (EnCodec) alone: the language model, {audiocraft_layout.LM_FILE}, is missing"
        )
    known = unsupported_formats.describe(names)
    raise CheckpointError(
        f"{source}: no MusicGen model: neither {transformers_layout.CONFIG} nor {audiocraft_layout.LM_FILE} inside"
        f"{known and f' ({known})'}"
    )


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """The device of this name, if this machine has it."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        picked = torch.device(device)
        torch.empty(0, device=picked)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"the device {str(device)!r} is not available here ({reason}): 'cpu' always is") from error
    return picked
