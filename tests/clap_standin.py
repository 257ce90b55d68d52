"""laion_clap's network at random weights, on a hub that is a folder: in its published form, small."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import RobertaConfig, RobertaModel

from musicgen.conditioners.clap import CHECKPOINT, ClapEmbedder
from tests import standins


@contextmanager
def published(hub_cache: Path, folder: Path) -> Iterator[tuple[Any, Path]]:
    """Inside, the hub has the weights of CLAP. The audio branch has HTSAT-base's widths with one block a stage.

    Args:
        hub_cache: The hub's folder.
        folder: An empty one.

    Yields:
        laion_clap's own module, and the file of its weights.
    """
    letters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *(chr(code) for code in range(33, 127))]
    roberta = RobertaConfig(
        vocab_size=len(letters), num_hidden_layers=1, intermediate_size=64, hidden_size=768, max_position_embeddings=514,
        type_vocab_size=1,
    )  # fmt: skip
    torch.manual_seed(0)
    RobertaModel(roberta).save_pretrained(folder / "roberta")
    (folder / "roberta" / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
    (folder / "roberta" / "merges.txt").write_text("#version: 0.2\n")
    standins.publish(hub_cache, "roberta-base", folder / "roberta")

    import laion_clap  # puts its folder on the path, which the next line needs
    from clap_module import htsat, model

    def shallow(audio_cfg, enable_fusion: bool, fusion_type: str):
        return htsat.HTSAT_Swin_Transformer(
            spec_size=256, patch_size=4, patch_stride=(4, 4), num_classes=audio_cfg.class_num, embed_dim=128,
            depths=[1] * 4, num_heads=[4, 8, 16, 32], window_size=8, config=audio_cfg, enable_fusion=enable_fusion,
            fusion_type=fusion_type,
        )  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "create_htsat_model", shallow)
        patch.setattr(ClapEmbedder, "vocabulary", len(letters))
        reference = laion_clap.CLAP_Module(enable_fusion=False, amodel="HTSAT-base", device="cpu").eval()
        state = {f"module.{name}": tensor for name, tensor in reference.model.state_dict().items()}
        state["module.text_branch.embeddings.position_ids"] = torch.arange(514)[None]
        weights = standins.publish(hub_cache, "lukewys/laion_clap", folder / "roberta") / CHECKPOINT
        torch.save({"epoch": 15, "name": "standin", "state_dict": state}, weights)
        yield reference, weights
