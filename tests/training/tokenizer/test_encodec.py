"""The trainable network against transformers' own forward pass, before and after a round trip through a folder."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from transformers import DacModel, EncodecConfig, EncodecModel

from musicgen.checkpoint.tensors import read_weights
from musicgen.checkpoint.tokenizers import load_tokenizer
from musicgen.tokenizers import DacTokenizer
from musicgen.training.tokenizer.config import Quantisation, Shape
from musicgen.training.tokenizer.dac import DacTrainer
from musicgen.training.tokenizer.encodec import EncodecTrainer, config_of
from tests import standins

TINY = Shape(filters=4, hidden_size=16, codebook_size=64)


def trained_a_little() -> EncodecTrainer:
    torch.manual_seed(0)
    model = EncodecTrainer(TINY, Quantisation())
    generator = torch.Generator().manual_seed(0)
    waves = 0.3 * torch.randn(8, 1, 32_000, generator=generator)
    with torch.no_grad():
        model.initialize_codebooks(model.encode(waves).transpose(1, 2).flatten(0, 1), generator)
        model(waves, generator, quantise=True)
    return model


def test_encode_and_decode_are_transformers_own() -> None:
    model = trained_a_little()
    waves = 0.3 * torch.randn(2, 1, 640 * 30)
    with torch.no_grad():
        latents = model.encode(waves)
        assert latents.shape == (2, 16, 30)
        torch.testing.assert_close(latents, model.network.encoder(waves), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(model.decode(latents), model.network.decoder(latents), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", [EncodecTrainer, DacTrainer])
def test_compiled_convolutions_are_one_graph_with_the_same_result(kind: type[EncodecTrainer | DacTrainer]) -> None:
    torch.manual_seed(0)
    shape = dataclasses.replace(TINY, decoder_filters=64, codebook_dim=4)
    model = kind(shape, Quantisation())
    waves = 0.3 * torch.randn(2, 1, 640 * 20)
    with torch.no_grad():
        expected = model(waves, torch.Generator(), quantise=False)[0]
        model.compile(backend="eager")
        made = model(waves, torch.Generator(), quantise=False)[0]
    torch.testing.assert_close(made, expected)


def test_saved_folder_gives_the_same_codes_and_waves(tmp_path) -> None:
    model = trained_a_little()
    model.save(tmp_path)
    theirs, info = EncodecModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    waves = 0.3 * torch.randn(2, 1, 640 * 50)
    with torch.no_grad():
        quantised = model.codebooks(model.encode(waves))
        made = model.decode(quantised.vectors)
    assert len(quantised.codes.unique()) > 20
    for tokenizer in (
        standins.encodec_tokenizer(theirs),
        load_tokenizer(json.loads((tmp_path / "config.json").read_text()), read_weights(tmp_path), "folder"),
        model.tokenizer(),
    ):
        assert torch.equal(tokenizer.encode(waves), quantised.codes)
        torch.testing.assert_close(tokenizer.decode(quantised.codes), made, atol=1e-5, rtol=0)
    buffers = theirs.quantizer.layers[1].codebook
    assert torch.equal(buffers.cluster_size, model.codebooks.counts[1])
    assert torch.equal(buffers.embed_avg, model.codebooks.embed_sum[1])


def test_half_precision_takes_half_the_room(tmp_path) -> None:
    model = trained_a_little()
    model.save(tmp_path / "whole")
    model.save(tmp_path / "half", torch.float16)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "whole")]
    assert 0.45 < sizes[0] / sizes[1] < 0.6
    waves = 0.3 * torch.randn(1, 1, 640 * 50)
    made = [
        standins.encodec_tokenizer(EncodecModel.from_pretrained(tmp_path / name, dtype=torch.float32))
        for name in ("half", "whole")
    ]
    agreement = (made[0].encode(waves) == made[1].encode(waves)).float().mean()
    assert agreement > 0.9


@pytest.mark.parametrize("codebooks", [1, 3, 4, 7, 8])
@pytest.mark.parametrize("size", [64, 1024, 2048])
@pytest.mark.parametrize("ratios", [(8, 5, 4, 4), (8, 8, 4, 2), (8, 6, 5, 3)])
def test_transformers_counts_our_codebooks(codebooks: int, size: int, ratios: tuple[int, ...]) -> None:
    config = config_of(Shape(codebooks=codebooks, codebook_size=size, ratios=ratios))
    assert config.num_quantizers == codebooks
    theirs = EncodecConfig(**config.to_dict())
    assert theirs.num_quantizers == codebooks
    assert int(1000 * theirs.target_bandwidths[-1] / (theirs.frame_rate * theirs.codebook_nbits)) == codebooks


def test_a_fresh_network_passes_sound_on_at_its_level() -> None:
    torch.manual_seed(0)
    model = EncodecTrainer(dataclasses.replace(TINY, filters=16), Quantisation())
    with torch.no_grad():
        latents = model.encode(torch.randn(2, 1, 32_000))
        made = model.decode(torch.randn(2, 16, 50))
    assert 0.3 < latents.std() < 3
    assert 0.3 < made.std() < 3


def test_one_seed_one_network() -> None:
    torch.manual_seed(3)
    one = EncodecTrainer(TINY, Quantisation()).state_dict()
    torch.manual_seed(3)
    other = EncodecTrainer(TINY, Quantisation()).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_dac_trains_and_its_folder_loads(tmp_path) -> None:
    torch.manual_seed(0)
    shape = Shape(filters=8, decoder_filters=64, codebooks=3, codebook_size=64, codebook_dim=4)
    model = DacTrainer(shape, Quantisation())
    waves = 0.3 * torch.randn(2, 1, 32_000)
    made, penalty = model(waves, torch.Generator(), quantise=True)
    assert made.shape == waves.shape
    (made.square().mean() + penalty).backward()
    assert all(parameter.grad is not None for parameter in model.network.quantizer.parameters())
    model.save(tmp_path)
    theirs = DacTokenizer(DacModel.from_pretrained(tmp_path).eval())
    codes = theirs.encode(waves)
    assert codes.shape == (2, 3, 50)
    torch.testing.assert_close(theirs.decode(codes), made.detach(), atol=1e-5, rtol=0)


def test_dac_looks_codes_up_by_cosine_similarity() -> None:
    """The quantiser by its definition (Kumar et al. 2023, section 3.1), in NumPy: project, normalise, nearest, project back."""
    shape = Shape(ratios=(4, 2), filters=4, decoder_filters=16, codebooks=3, codebook_size=16, codebook_dim=4)
    model = DacTrainer(shape, Quantisation())
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, model.network.config.hidden_size, 11, generator=generator)
    residual, total, codes = latents[0].numpy(), np.zeros_like(latents[0].numpy()), []
    for one in model.network.quantizer.quantizers:
        weights = {
            name: value.detach().numpy() for name, value in one.state_dict().items() if "parametrizations" not in name
        }
        inner, outer = (getattr(one, name).weight.detach().numpy()[..., 0] for name in ("in_proj", "out_proj"))
        low = inner @ residual + weights["in_proj.bias"][:, None]
        book = weights["codebook.weight"]
        unit = book / np.linalg.norm(book, axis=1, keepdims=True)
        codes.append((unit @ low / np.linalg.norm(low, axis=0)).argmax(axis=0))
        part = outer @ book[codes[-1]].T + weights["out_proj.bias"][:, None]
        residual, total = residual - part, total + part
    quantised, found, *_ = model.network.quantizer(latents)
    assert np.array_equal(found[0].numpy(), np.stack(codes))
    np.testing.assert_allclose(quantised[0].detach().numpy(), total, atol=1e-4)
