"""Loading multi-band diffusion from its published file, which contains for each band a configuration, a U-Net, and the level of
the band in music."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from musicgen import catalog, config_checks
from musicgen.checkpoint.audiocraft_names import block_names, split_cross_attention
from musicgen.checkpoint.module_building import build, build_meta
from musicgen.checkpoint.omegaconf_values import CLASSES, plain
from musicgen.checkpoint.tensors import Names, gather, read_pickle
from musicgen.decoders import MultiBandDiffusion
from musicgen.decoders.multiband import Band
from musicgen.decoders.noise_schedule import NUM_STEPS, NoiseSchedule
from musicgen.decoders.unet import LAYERS, UNet, UNetShape
from musicgen.errors import CheckpointError
from musicgen.folders import is_folder

MOST_BANDS = 64
"""More frequency bands than that, and their filters would be longer than clips."""


def load() -> MultiBandDiffusion:
    """The published decoder, from the hub or from a folder of its name.

    Raises:
        CheckpointError: It is not available, damaged, or of another kind.
    """
    from musicgen.checkpoint import hub

    name = catalog.MULTI_BAND.name
    folder = Path(name) if is_folder(name) else hub.download(name, _needed, "networks of multi-band diffusion")
    return read(folder / catalog.MULTI_BAND.file)


def read(path: Path) -> MultiBandDiffusion:
    """The decoder in a file."""
    package = {key: plain(value) for key, value in read_pickle(path, CLASSES).items()}
    for name in ("sample_rate", "n_bands"):
        config_checks.check_positive_integer(name, package.get(name), str(path))
    bands = []
    for index in range(package["n_bands"]):
        source, parts = f"{path} (band {index})", package.get(index)
        if not isinstance(parts, dict) or {"cfg", "model_state", "processor_state"} - parts.keys():
            raise CheckpointError(f"{path}: no configuration and weights of band {index} of {package['n_bands']}")
        config = plain(parts["cfg"])
        bands.append(config_checks.wrap_errors(lambda: _band(config, parts, package["sample_rate"], source), source))  # noqa: B023
    if len({band.network.shape.condition for band in bands}) != 1:
        raise CheckpointError(f"{path}: the bands read vectors of different widths")
    return MultiBandDiffusion(bands, package["sample_rate"])


def _needed(names: Any) -> list[str]:
    if catalog.MULTI_BAND.file not in names:
        raise CheckpointError(f"{catalog.MULTI_BAND.name!r}: no {catalog.MULTI_BAND.file} in this repository")
    return [catalog.MULTI_BAND.file]


def _band(config: Mapping[str, Any], parts: Mapping[str, Any], rate: int, source: str) -> Band:
    shape, weights = _shape(config, source), split_cross_attention(parts["model_state"], source)
    names: Names = {name: [name] for name in build_meta(lambda: UNet(shape), source).state_dict()} | _transformer_names(
        shape
    )
    unexpected = sorted(weights.keys() - {part for stored in names.values() for part in stored})
    if unexpected:
        raise CheckpointError(f"{source}: the tensor {unexpected[0]!r} is none that the configuration speaks of")
    network = build(lambda: UNet(shape), gather(names, weights, source), source)
    gains, offsets = _levels(config["processor"], parts["processor_state"], source)
    return Band(network, _schedule(config["schedule"], source), gains, offsets, rate)


def _shape(config: Mapping[str, Any], source: str) -> UNetShape:
    unet = config["diffusion_unet"]
    said = {
        "channels": (config["channels"], (1,)),
        "model": (config.get("model", "unet"), ("unet",)),
        "schedule.num_steps": (config["schedule"]["num_steps"], (NUM_STEPS,)),
    }
    _check(said, source)
    if unet.get("codec_dim") is None:
        raise CheckpointError(f"{source}: diffusion_unet.codec_dim is not set: this network reads no codes")
    bottleneck = "none"
    if unet.get("transformer"):
        bottleneck = "cross" if unet.get("cross_attention") else "transformer"
    elif unet.get("bilstm"):
        bottleneck = "lstm"
    numbers = {
        name: config_checks.check_positive_integer(f"diffusion_unet.{name}", unet.get(name, default), source)
        for name, default in (("hidden", 24), ("depth", 3), ("max_channels", 10_000), ("kernel", 4), ("stride", 2),
                              ("res_blocks", 1), ("norm_groups", 4))
    }  # fmt: skip
    return UNetShape(
        **numbers,
        growth=float(unet.get("growth", 2.0)),
        step_everywhere=bool(unet.get("emb_all_layers", False)),
        bottleneck=bottleneck,  # type: ignore[arg-type]
        condition=config_checks.check_positive_integer("diffusion_unet.codec_dim", unet["codec_dim"], source),
    )


def _schedule(config: Mapping[str, Any], source: str) -> NoiseSchedule:
    said = {
        "schedule.repartition": (config.get("repartition", "power"), ("power",)),
        "schedule.n_bands": (config.get("n_bands"), (None,)),
        # `rescale` is used at a step that the twenty steps do not visit.
    }
    _check(said, source)
    return NoiseSchedule(
        first=float(config.get("beta_t0", 1e-4)),
        last=float(config.get("beta_t1", 0.02)),
        exponent=float(config.get("beta_exp", 1.0)),
        clip=float(config.get("clip", 5.0) or 0.0),
        noise_scale=float(config.get("noise_scale", 1.0)),
    )


def _levels(
    config: Mapping[str, Any], state: Mapping[str, torch.Tensor], source: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gains and the offsets of the frequency bands, from the sums that training kept."""
    if not config["use"]:
        return torch.zeros(0), torch.zeros(0)
    _check({"processor.name": (config["name"], ("multi_band_processor",))}, source)
    count = config_checks.check_positive_integer("processor.n_bands", config.get("n_bands", 8), source)
    sums = {name: state[name].float() for name in ("sum_x", "sum_x2", "sum_target_x2")}
    if count > MOST_BANDS or any(tensor.shape != (count,) for tensor in sums.values()):
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in sums.items())
        raise CheckpointError(f"{source}: processor.n_bands is {count}, the weights hold {shapes}")
    total = state["counts"].float()
    mean = sums["sum_x"] / total
    deviation = (sums["sum_x2"] / total - mean**2).clamp(min=0).sqrt()
    gains = (deviation / (sums["sum_target_x2"] / total)) ** float(config.get("power_std", 1.0))
    if not bool(torch.isfinite(gains).all() and torch.isfinite(mean).all()):
        raise CheckpointError(f"{source}: the levels of music in processor_state are not finite")
    return gains, mean


def _check(said: Mapping[str, tuple[Any, tuple[Any, ...]]], source: str) -> None:
    """Refuse settings that ask for another computation."""
    for name, (value, supported) in said.items():
        if value not in supported:
            raise CheckpointError(f"{source}: {name} is {value!r}: {supported[0]!r} is supported")


def _transformer_names(shape: UNetShape) -> Names:
    if shape.bottleneck not in ("transformer", "cross"):
        return {}
    names: Names = {}
    for i in range(LAYERS):
        layer = f"transformer.layers.{i}"
        names |= block_names(layer, layer, cross_attention=shape.bottleneck == "cross")
    return names
