"""Shared fixtures: no test reaches the network, and every model is tiny and random.

The stand-ins have the layout and the names of the published files; only their sizes differ.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# Before any import that reads them. laion_clap and transformers would otherwise ask the network at import.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="musicgen-tests-")
atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)

import pytest  # noqa: E402
import torch  # noqa: E402

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported: its kernels run here too, slowly

from tests import standins  # noqa: E402

GOLDEN = Path(__file__).parent / "golden"
TEXTS = ["slow calm piano music", "a loud rock beat with fast drums and epic guitar"]
"""The two descriptions that the golden numbers were made with."""

torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(scope="session")
def hub_cache():
    """The hub cache of this test session; `standins.publish` puts models into it."""
    cache = Path(os.environ["HF_HOME"]) / "hub"
    standins.publish(cache, "t5-base", GOLDEN / "t5_tiny")
    return cache


@pytest.fixture(scope="session")
def audiocraft_folder(hub_cache, tmp_path_factory):  # noqa: ARG001 (puts T5 into the cache)
    """kind -> folder with the golden checkpoints in audiocraft's own files."""

    def make(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(f"audiocraft-{kind}")
        shutil.copy(GOLDEN / f"lm_{kind}" / "state_dict.bin", folder)
        shutil.copy(GOLDEN / "encodec" / "compression_state_dict.bin", folder)
        return folder

    return make
