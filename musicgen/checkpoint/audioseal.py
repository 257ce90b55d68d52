"""AudioSeal's networks, from the hub: facebook/audioseal.

The package reads its checkpoints as pickles that may run code; here they are read as plain values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from musicgen import catalog, extras
from musicgen.checkpoint.omegaconf_values import CLASSES
from musicgen.checkpoint.tensors import read_pickle
from musicgen.errors import CheckpointError
from musicgen.folders import is_folder
from musicgen.watermark import Watermark

EXTRA = "provenance"
CARDS = {"generator_base.pth": "audioseal_wm_16bits", "detector_base.pth": "audioseal_detector_16bits"}
"""File of the repository -> the package's description of its network."""


def load() -> Watermark:
    """The published networks, from the hub or from a folder of their name.

    Raises:
        InputError: the package audioseal is not installed.
        CheckpointError: the weights are not available or damaged.
    """
    from musicgen.checkpoint import hub

    with extras.needed(EXTRA, "the inaudible mark"):
        import audioseal  # noqa: F401
    name = catalog.AUDIOSEAL.name
    folder = Path(name) if is_folder(name) else hub.download(name, _needed, "networks of the inaudible mark")
    generator, detector = (_network(folder / file, card) for file, card in CARDS.items())
    return Watermark(generator, detector)


def is_downloaded() -> bool:
    """Whether package and weights are on this machine."""
    from musicgen.checkpoint import hub

    name = catalog.AUDIOSEAL.name
    return extras.is_installed("audioseal") and (
        is_folder(name) or all(hub.cached(name, file) is not None for file in CARDS)
    )


def _needed(names: Any) -> list[str]:
    if missing := [file for file in CARDS if file not in names]:
        raise CheckpointError(f"{catalog.AUDIOSEAL.name!r}: no {missing[0]} in this repository")
    return list(CARDS)


def _network(path: Path, card: str) -> Any:
    from audioseal import builder, loader

    state = read_pickle(path, CLASSES)
    state = state.get("best_state", state)
    state = state.get("model", state)
    described: Any = loader.load_local_model_config(card)
    described.pop("checkpoint")
    is_generator = path.name == next(iter(CARDS))
    kind = builder.AudioSealWMConfig if is_generator else builder.AudioSealDetectorConfig
    config = loader.AudioSeal.parse_config(described, config_type=kind)
    network: Any = (builder.create_generator if is_generator else builder.create_detector)(config)
    try:
        loader.load_state_dict(network, loader.convert_state_dict_for_scriptable_model(state))
    except (AssertionError, RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{path}: its tensors are not those of {card} ({str(error).splitlines()[0][:120]})"
        ) from error
    return network.eval()
