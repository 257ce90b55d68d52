"""Published networks at random weights, in files of the published form; clips with pitch, rhythm and noise."""

import contextlib
import io
import math

import pytest
import torch

from evaluation.embedders import clap as ours
from evaluation.embedders.vggish import VGGish
from musicgen.conditioners.clap import ClapEmbedder
from tests import clap_standin


def music(seconds=3.0, rate=32_000, seed=0):
    """[samples]: a few decaying notes over noise."""
    rng = torch.Generator().manual_seed(seed)
    time = torch.arange(int(seconds * rate)) / rate
    wave = 0.01 * torch.randn(len(time), generator=rng)
    for start in torch.arange(0, seconds, 0.5).tolist():
        pitch = 220 * 2 ** (int(torch.randint(0, 24, (1,), generator=rng)) / 12)
        after = (time - start).clamp(min=0)
        wave += 0.3 * (after > 0) * torch.exp(-3 * after) * torch.sin(2 * math.pi * pitch * after)
    return wave


@pytest.fixture(scope="session")
def vggish_weights(tmp_path_factory):
    """torchvggish's file: the paper's layers at random, spread so that clips differ."""
    torch.manual_seed(1)
    network = VGGish()
    for name, parameter in network.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.kaiming_normal_(parameter)
    file = tmp_path_factory.mktemp("vggish") / "vggish.pth"
    torch.save(network.state_dict(), file)
    return file


@pytest.fixture(scope="session")
def passt_weights(tmp_path_factory):
    """hear21passt's file."""
    from hear21passt.models import passt

    torch.manual_seed(2)
    with contextlib.redirect_stdout(io.StringIO()):
        network = passt.get_model(arch="passt_20sec", pretrained=False, input_tdim=2000)
    file = tmp_path_factory.mktemp("passt") / "passt.pt"
    torch.save(network.state_dict(), file)
    return file


@pytest.fixture(scope="module")
def laion_clap_standin(hub_cache, tmp_path_factory):
    """(laion_clap's module, a file of its weights), as `tests.clap_standin` publishes them."""
    with (
        clap_standin.published(hub_cache, tmp_path_factory.mktemp("clap-evaluation")) as (reference, weights),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(ours, "VOCABULARY", ClapEmbedder.vocabulary)
        yield reference, weights
