"""Training on CLAP's embeddings: of the music while training, of the text afterwards (the paper's table A.1)."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import nn
from transformers.models.encodec.modeling_encodec import EncodecConfig, EncodecResidualVectorQuantizer

import musicgen
from experiments.mini_clap import MiniClap
from musicgen import audio, checkpoint
from musicgen.audio import Audio
from musicgen.conditioners.clap import ClapConditioner, ClapOptions
from musicgen.errors import CheckpointError, InputError
from musicgen.lm import Conditions
from musicgen.quantiser import ResidualQuantiser
from musicgen.training.lm.clap_text import fit_codebooks
from musicgen.training.lm.clap_windows import ClapWindows, of_crop
from musicgen.training.lm.config import LMRecipe
from musicgen.training.lm.dataloader import Batch, Cropper, validation_batches
from musicgen.training.lm.network import Network
from musicgen.training.lm.shards import Sample, iterate, read_index
from musicgen.training.lm.trainer import train
from tests import clap_standin
from tests.training.lm.conftest import recipe_values

TEXTS = ["slow guitar", "fast drums and a long text"]
SMALL = {"embedder": "mini_clap", "num_quantisers": 3, "num_entries": 8}


@pytest.fixture(scope="module")
def undescribed(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tones without any text."""
    folder = tmp_path_factory.mktemp("undescribed")
    for file in music.glob("*.flac"):
        shutil.copy(file, folder)
    return folder


def values_of(music: Path, tokenizer: Path, clap: dict, **sections: dict) -> dict:
    values = recipe_values(music, tokenizer, **sections)
    values["text"] = {"clap": clap}
    return values


@pytest.fixture(scope="module")
def trained(undescribed: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("clap")
    train(LMRecipe.from_dict(values_of(undescribed, tokenizer_folder, SMALL)), output, "cpu")
    return output


def losses(output: Path) -> list[float]:
    return [value for _, value in json.loads((output / "history.json").read_text())["losses"]]


def test_windows_are_heard_one_by_one() -> None:
    clap = MiniClap.load()
    clip = Audio(torch.randn(1, 5 * 32_000 + 9_000, generator=torch.Generator().manual_seed(0)) * 0.1, 32_000)
    windows = ClapWindows(clap, 2.0)
    found = windows(clip)
    assert found.shape == (4, clap.dim)  # they begin at 0, 1, 2 and 3 s
    for start in range(4):
        alone = clap.audio(Audio(clip.wave[:, start * 32_000 : (start + 2) * 32_000], 32_000))
        np.testing.assert_allclose(found[start], alone.numpy(), atol=1e-5)
    assert ClapWindows(clap, 30.0).seconds == 10.0  # what the network hears at once
    short = ClapWindows(clap, 10.0)(clip)
    np.testing.assert_allclose(short, clap.audio(clip)[None].numpy(), atol=1e-5)


def test_a_crop_has_the_embedding_of_its_windows() -> None:
    embeddings = np.arange(30, dtype=np.float32)[:, None]
    assert of_crop(embeddings, 0.0, 4.0, 4.0) == [0.0]
    assert of_crop(embeddings, 2.6, 4.0, 4.0) == [3.0]
    assert of_crop(embeddings, 40.0, 4.0, 4.0) == [29.0]  # the end of the clip
    # A crop of 30 s is three windows of 10 s, which begin at 2, 12 and 22 s.
    assert of_crop(embeddings, 2.0, 30.0, 10.0) == [12.0]


def test_embeddings_before_normalisation_are_those_of_the_metric() -> None:
    from evaluation.embedders.mini import MiniEmbedder, Network

    theirs = MiniEmbedder("mini_clap", Network())
    wave = torch.randn(3 * 32_000, generator=torch.Generator().manual_seed(0)) * 0.1
    (expected,) = theirs.embed(torch.stack(theirs.prepare(wave, "")))
    clap = MiniClap.load()
    mine = clap.audio(Audio(wave[None], 32_000))
    assert abs(float(mine.norm()) - 1) > 0.01
    torch.testing.assert_close(mine / mine.norm(), torch.from_numpy(expected[0]), atol=1e-5, rtol=0)
    texts = nn.functional.normalize(clap.texts(TEXTS), dim=-1)
    torch.testing.assert_close(texts, torch.from_numpy(theirs.embed_texts(TEXTS)), atol=1e-5, rtol=0)


def test_codes_are_those_of_transformers_quantiser() -> None:
    """transformers' residual quantiser of EnCodec with our codebooks: the same codes, the same sums."""
    theirs = EncodecResidualVectorQuantizer(
        EncodecConfig(
            codebook_size=16, codebook_dim=8, hidden_size=8, target_bandwidths=[1.2], upsampling_ratios=[8, 5, 4, 2]
        )
    )
    mine = ResidualQuantiser(len(theirs.layers), 16, 8)
    mine.codebooks.normal_(generator=torch.Generator().manual_seed(0))
    for layer, codebook in zip(theirs.layers, mine.codebooks, strict=True):
        layer.codebook.embed.copy_(codebook)
    vectors = torch.randn(40, 8, generator=torch.Generator().manual_seed(1))
    codes = theirs.encode(vectors.t()[None])[:, 0]  # [Q, B, T] of vectors [B, D, T]
    assert len(codes) > 1
    assert torch.equal(mine.encode(vectors, len(codes)).t(), codes)
    torch.testing.assert_close(mine(vectors, len(codes)), theirs.decode(codes[:, None])[0].t(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("normalise", [True, False])
def test_codebooks_are_kmeans_of_the_music(normalise: bool) -> None:
    """The first codebook is as good as scikit-learn's k-means; each further one lowers the error."""
    generator = np.random.default_rng(0)
    centres = generator.normal(0, 3, (6, 5))
    clips = [
        Sample(np.zeros((1, 1)), None, {}, (centres[i % 6] + generator.normal(0, 0.3, (40, 5))).astype(np.float32))
        for i in range(12)
    ]
    vectors = np.concatenate([clip.embeddings for clip in clips if clip.embeddings is not None])
    if normalise:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    options = ClapOptions(normalise, num_quantisers=3, num_entries=12)
    quantiser = ResidualQuantiser(3, 12, 5)
    quantiser.codebooks.copy_(fit_codebooks(options, clips, 0))
    errors = [
        float((torch.from_numpy(vectors) - quantiser(torch.from_numpy(vectors), q)).square().sum()) for q in (1, 2, 3)
    ]
    assert errors[0] < 1.25 * KMeans(12, n_init=3, random_state=0).fit(vectors).inertia_
    assert errors[2] < 0.7 * errors[1] < 0.5 * errors[0]


def test_the_loss_is_that_of_the_condition_at_inference(trained: Path) -> None:
    """In a row without text the model reads what it reads of no text; in the others, the projected embedding."""
    model = musicgen.load(trained / "model", "cpu")
    assert isinstance(model.text, ClapConditioner)
    network = Network(model, train_text=False)
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 64, (2, 4, 20), generator=generator)
    embeddings = torch.randn(2, 64, generator=generator)
    embeddings[1] = 0.0
    inputs = network.inputs(Batch(codes, torch.tensor([20, 20]), ["", ""], None, embeddings=embeddings), 64)
    unit = embeddings[:1] / embeddings[:1].norm()
    read = model.text.projection(model.text.quantiser(unit))[:, None]
    nothing = model.text([None])
    for row, (values, mask) in enumerate([(read, torch.ones(1, 1, dtype=torch.bool)), (nothing.values, nothing.mask)]):
        one = Batch(codes[row : row + 1], torch.tensor([20]), [""], None, embeddings=embeddings[row : row + 1])
        sequence = network.inputs(one, 64).sequence
        logits = model.lm(sequence[:, :, :-1], Conditions(values, mask))
        targets = sequence[:, :, 1:]
        known = targets != network.special
        logs = logits.log_softmax(-1).gather(-1, targets.clamp(max=63)[..., None])[..., 0]
        torch.testing.assert_close(
            network(network.inputs(one, 64)).codes, -(logs * known).sum(dim=(0, 2)), atol=1e-3, rtol=0
        )
    assert inputs.text["absent"].tolist() == [False, True]


def test_a_model_learns_from_music_without_texts_and_follows_texts(trained: Path, undescribed: Path) -> None:
    curve = losses(trained)
    assert curve[-1] < curve[0]
    index = read_index(str(trained / "tokens"))
    assert index is not None
    assert (index.embedder, index.window, index.described) == ("mini_clap", 1.0, 0)
    clap = MiniClap.load()
    heard = [ClapWindows(clap, 1.0)(audio.read(file).mono()) for file in undescribed.glob("*.flac")]
    for sample in iterate(str(trained / "tokens"), index.train):
        assert any(
            np.allclose(sample.embeddings, one, atol=1e-4) for one in heard if len(one) == len(sample.embeddings)
        )
    model = musicgen.load(trained / "model", "cpu")
    assert model.text.options == ClapOptions(True, True, 3, 8, "mini_clap")
    assert model.text.quantiser.codebooks.any()
    read = model.text(TEXTS)
    unit = nn.functional.normalize(clap.texts(TEXTS), dim=-1)
    torch.testing.assert_close(read.values[:, 0], model.text.projection(model.text.quantiser(unit)), atol=1e-5, rtol=0)
    assert model.generate(TEXTS, 0.4, seed=1).shape[0] == 2


def test_condition_dropout_drops_the_embedding(trained: Path, undescribed: Path, tokenizer_folder: Path) -> None:
    index = read_index(str(trained / "tokens"))
    assert index is not None
    dropped = LMRecipe.from_dict(values_of(undescribed, tokenizer_folder, SMALL, dropout={"all": 1.0}))
    cropper = Cropper(dropped, Fraction(index.rate), 1.0, 0, window=index.window)
    (sample, *_) = iterate(str(trained / "tokens"), index.train)
    row = cropper.training(sample, np.random.default_rng(0))
    batch = cropper.batch([row, cropper.validation(sample, np.random.default_rng(0))])
    assert batch.embeddings is not None
    assert batch.embeddings.any(dim=1).tolist() == [False, True]
    assert all(one.embeddings is not None for one in validation_batches(str(trained / "tokens"), index, cropper, 2))


@pytest.mark.parametrize("change", [{"normalise": False}, {"quantise": False}])
def test_each_step_can_be_left_out(
    undescribed: Path, tokenizer_folder: Path, trained: Path, tmp_path: Path, change: dict
) -> None:
    values = values_of(undescribed, tokenizer_folder, SMALL | change, data={"tokens": str(trained / "tokens")})
    train(LMRecipe.from_dict(values), tmp_path, "cpu")
    text = musicgen.load(tmp_path / "model", "cpu").text
    assert vars(text.options).items() >= change.items()
    assert bool(text.quantiser.codebooks.any()) == text.options.quantise


def test_a_run_that_was_stopped_goes_on(
    trained: Path, undescribed: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "again")
    for file in sorted((tmp_path / "again" / "checkpoints").glob("*.pt"))[1:]:
        file.unlink()
    before = (tmp_path / "again" / "clap-codebooks.npy").read_bytes()
    (tmp_path / "again" / "clap-codebooks.npy").unlink()
    train(LMRecipe.from_dict(values_of(undescribed, tokenizer_folder, SMALL)), tmp_path / "again", "cpu")
    assert losses(tmp_path / "again") == pytest.approx(losses(trained), abs=1e-5)
    assert (tmp_path / "again" / "clap-codebooks.npy").read_bytes() == before


def test_it_trains_on_the_papers_clap(
    hub_cache: Path, undescribed: Path, tokenizer_folder: Path, tmp_path: Path
) -> None:
    """laion_clap at random weights: what the shards hold is what its own module hears in the same second."""
    few = tmp_path / "music"
    few.mkdir()
    for file in sorted(undescribed.glob("*.flac"))[:4]:
        shutil.copy(file, few)
    (tmp_path / "weights").mkdir()
    values = values_of(
        few, tokenizer_folder, {"num_quantisers": 2, "num_entries": 4},
        optimisation={"steps": 2}, every={"validate": 2},
    )  # fmt: skip
    with clap_standin.published(hub_cache, tmp_path / "weights") as (reference, _):
        train(LMRecipe.from_dict(values), tmp_path / "out", "cpu")
        index = read_index(str(tmp_path / "out" / "tokens"))
        assert index is not None
        assert (index.embedder, index.window) == ("laion_clap", 1.0)
        (sample, *_) = iterate(str(tmp_path / "out" / "tokens"), index.valid)
        heard = [
            reference.get_audio_embedding_from_data(
                audio.read(file, rate=32_000).mono().resampled(48_000).wave[:, :48_000], use_tensor=True
            )[0].detach()
            for file in few.iterdir()
        ]
        mine = nn.functional.normalize(torch.from_numpy(sample.embeddings[0]), dim=-1)
        assert min(float((mine - one).abs().max()) for one in heard) < 1e-3
        model = musicgen.load(tmp_path / "out" / "model", "cpu")
        assert model.text.options.embedder == "laion_clap"
        assert model.text(["slow guitar"]).values.any()


def test_what_does_not_fit_is_said(trained: Path, undescribed: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    tokens = {"tokens": str(trained / "tokens")}
    longer = values_of(undescribed, tokenizer_folder, SMALL, data=tokens | {"seconds": 2.0})
    with pytest.raises(
        InputError, match=r"other embeddings \(mini_clap's of 1 s\) than text.clap needs \(mini_clap's of 2 s\)"
    ):
        train(LMRecipe.from_dict(longer), tmp_path / "longer", "cpu")
    with pytest.raises(CheckpointError, match="the joint embedding is of the kind 'maxi_clap'"):
        train(
            LMRecipe.from_dict(values_of(undescribed, tokenizer_folder, {"embedder": "maxi_clap"})),
            tmp_path / "x",
            "cpu",
        )
    values = values_of(undescribed, tokenizer_folder, SMALL)
    with pytest.raises(InputError, match=r"text.clap takes the place of T5: leave text.new and text.length out"):
        LMRecipe.from_dict(values | {"text": {"clap": SMALL, "new": {}}})
    with pytest.raises(InputError, match=r"text.clap is for new models"):
        LMRecipe.from_dict({"text": {"clap": SMALL}, "start": {"model": "mini"}, "data": {"path": "x"}})
    config = json.loads((trained / "model" / "config.json").read_text())
    shutil.copytree(trained / "model", tmp_path / "other")
    config["musicgen"]["clap"]["embedder"] = "unknown"
    (tmp_path / "other" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="the joint embedding is of the kind 'unknown'"):
        checkpoint.load(tmp_path / "other", "cpu")


def test_other_models_have_no_embeddings(music: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    train(
        LMRecipe.from_dict(recipe_values(music, tokenizer_folder, optimisation={"steps": 1}, every={"validate": 1})),
        tmp_path,
        "cpu",
    )
    index = read_index(str(tmp_path / "tokens"))
    assert index is not None
    assert (index.embedder, index.window) == ("", 0.0)
    assert all(sample.embeddings is None for sample in iterate(str(tmp_path / "tokens"), index.train))
    values = values_of(music, tokenizer_folder, SMALL, data={"tokens": str(tmp_path / "tokens")})
    with pytest.raises(InputError, match=r"other embeddings \(none\) than text.clap needs"):
        train(LMRecipe.from_dict(values), tmp_path / "clap", "cpu")
