"""Published networks at random weights, in files of the published form; clips with pitch, rhythm and noise."""

import contextlib
import io
import json
import math

import pytest
import torch
from transformers import RobertaConfig, RobertaModel

from evaluation.embedders import clap as ours
from evaluation.embedders.vggish import VGGish
from tests import standins


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
    """(laion_clap's module, a file of its weights): HTSAT-base's widths with one block a stage, a one-layer RoBERTa."""
    folder = tmp_path_factory.mktemp("clap-evaluation")
    letters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *(chr(code) for code in range(33, 127))]
    roberta = RobertaConfig(
        vocab_size=len(letters), num_hidden_layers=1, intermediate_size=64, hidden_size=768,
        max_position_embeddings=514, type_vocab_size=1,
    )  # fmt: skip
    torch.manual_seed(0)
    RobertaModel(roberta).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    standins.publish(hub_cache, "roberta-base", folder)

    import laion_clap  # puts its folder on the path, which the next line needs
    from clap_module import htsat, model

    def shallow(audio_cfg, enable_fusion, fusion_type):
        return htsat.HTSAT_Swin_Transformer(
            spec_size=256, patch_size=4, patch_stride=(4, 4), num_classes=audio_cfg.class_num, embed_dim=128,
            depths=[1] * 4, num_heads=[4, 8, 16, 32], window_size=8, config=audio_cfg, enable_fusion=enable_fusion,
            fusion_type=fusion_type,
        )  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "create_htsat_model", shallow)
        patch.setattr(ours, "VOCABULARY", len(letters))
        reference = laion_clap.CLAP_Module(enable_fusion=False, amodel="HTSAT-base", device="cpu").eval()
        state = {f"module.{name}": tensor for name, tensor in reference.model.state_dict().items()}
        state["module.text_branch.embeddings.position_ids"] = torch.arange(514)[None]
        file = folder / "clap.pt"
        torch.save({"epoch": 15, "state_dict": state}, file)
        yield reference, file
