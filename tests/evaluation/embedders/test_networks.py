"""Each network against the library that published it, at the same random weights."""

import contextlib
import io
import pickle

import numpy as np
import pytest
import torch

from evaluation.embedders import clap, mini, mini_network, passt, vggish
from evaluation.embedders.registry import Embedders
from evaluation.embedders.weights import Weights, read_state_dict
from musicgen.errors import CheckpointError, InputError
from tests.evaluation.conftest import music


def rows_of(embedder, wave, clip_id="a"):
    inputs = embedder.prepare(wave, clip_id)
    return np.concatenate([row for part in inputs for row in embedder.embed(part[None])])


def peer_vggish(file):
    from torchvggish import torchvggish

    network = torchvggish.VGG(torchvggish.make_layers(), postprocess=False)
    network.load_state_dict(torch.load(file))
    network.embeddings = network.embeddings[:-1]  # what frechet-audio-distance does
    return network.eval()


def test_vggish_torch_is_torchvggish(vggish_weights):
    from torchvggish import vggish_input

    wave = music(3.3, 16_000)
    embedder = vggish.VGGishEmbedder("vggish_torch", Weights({"vggish": vggish_weights}))
    examples = vggish_input.waveform_to_examples(wave.double().numpy(), 16_000, return_tensor=True)
    assert torch.stack(embedder.prepare(wave, "a")).numpy() == pytest.approx(examples.detach().numpy(), abs=1e-5)
    with torch.no_grad():
        expected = peer_vggish(vggish_weights)(examples).numpy()
    assert rows_of(embedder, wave) == pytest.approx(expected, rel=1e-4, abs=1e-4 * float(np.abs(expected).max()))


def test_vggish_tf_is_googles_windows_one_by_one():
    """The front end again, window by window, with torchvggish's own log-mel."""
    from torchvggish import mel_features

    wave = music(3.3, 16_000, seed=3)
    embedder = vggish.VGGishEmbedder("vggish_tf", Weights())
    scaled = vggish.quantise_16_bits(wave).double().numpy()
    assert np.abs(scaled).max() == pytest.approx(10 ** (-1 / 20), abs=1e-4)
    scaled = scaled / max(0.1, np.amax(scaled))
    expected = []
    for start in range(0, len(scaled) - 16_000 + 1, 8000):
        mel = mel_features.log_mel_spectrogram(
            scaled[start : start + 16_000], audio_sample_rate=16_000, log_offset=0.01, window_length_secs=0.025,
            hop_length_secs=0.010, num_mel_bins=64, lower_edge_hertz=125, upper_edge_hertz=7500,
        )  # fmt: skip
        assert mel.shape == (98, 64)
        expected.append(mel[:96])
    ours = torch.stack(embedder.prepare(wave, "a"))[:, 0].numpy()
    assert ours.shape == np.stack(expected).shape
    assert ours == pytest.approx(np.stack(expected), abs=1e-5)
    assert len(embedder.prepare(torch.zeros(160_000), "a")) == 19


def test_passt_is_hear21passt_and_leaves_the_random_numbers_alone(passt_weights):
    from hear21passt.base20sec import get_basic_model
    from hear21passt.models import passt as theirs

    def without_download(arch, input_tdim):
        return real(arch=arch, pretrained=False, input_tdim=input_tdim)

    real = theirs.get_model
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr("hear21passt.base20sec.get_model_passt", without_download)
        peer = get_basic_model(mode="logits").eval()
    peer.net.load_state_dict(torch.load(passt_weights))
    wave = music(1.7)
    with torch.no_grad():
        mel = peer.mel(wave[None])
        expected = peer(wave[None]).numpy()
    assert passt.log_mel(wave[None]).numpy() == pytest.approx(mel.numpy(), abs=1e-4)
    embedder = passt.PasstEmbedder(Weights({"passt": passt_weights}))
    before = torch.get_rng_state()
    assert rows_of(embedder, wave) == pytest.approx(expected, abs=2e-4)
    rows_of(embedder, wave)
    assert torch.equal(torch.get_rng_state(), before)
    long = torch.zeros(41 * 32_000 + 4000)
    assert [part.shape[-1] for part in embedder.prepare(long, "a")] == [2000, 2000, 113]
    assert len(embedder.prepare(torch.zeros(40 * 32_000 + 4000), "a")) == 2


def test_clap_is_laion_clap(laion_clap_standin):
    reference, file = laion_clap_standin
    embedder = clap.ClapEmbedder("clap", clap.Network(Weights({"clap": file})))
    texts = ["slow calm piano music", "a loud rock beat"]
    expected = reference.get_text_embedding(texts, use_tensor=True).detach().numpy()
    assert embedder.embed_texts(texts) == pytest.approx(expected, abs=1e-6)
    wave = music(3.0, 48_000)
    expected = reference.get_audio_embedding_from_data(wave[None], use_tensor=True).detach().numpy()
    assert rows_of(embedder, wave) == pytest.approx(expected, abs=1e-5)
    windowed = clap.ClapEmbedder("clap_windowed", clap.Network(Weights({"clap": file})))
    assert rows_of(windowed, wave) == pytest.approx(expected, abs=1e-5)
    assert len(windowed.prepare(torch.zeros(31 * 48_000), "a")) == 4
    assert len(windowed.prepare(torch.zeros(30 * 48_000 + 100), "a")) == 3


def test_clap_crops_longer_clips_by_their_id():
    wave = torch.arange(12 * 48_000, dtype=torch.float32)
    first, again, other = (clap.random_crop(wave, name) for name in ("a", "a", "b"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(first) == clap.WINDOW
    short = torch.tensor([1.0, 2.0, 3.0]).repeat(70_000)
    filled = clap.repeat_padded(short)
    assert torch.equal(filled[:420_000], short.repeat(2))
    assert not filled[420_000:].any()


def test_clap_without_its_tokeniser_is_an_error(laion_clap_standin, monkeypatch):
    _, file = laion_clap_standin
    monkeypatch.setattr(clap, "VOCABULARY", 50_265)
    with pytest.raises(CheckpointError, match="roberta-base is not on this machine"):
        clap.Network(Weights({"clap": file})).embed_texts(["x"])


def test_mini_hears_the_same_loud_or_quiet():
    wave = music(4.0)
    mel = mini_network.log_mel(wave[None])
    assert mel.shape == (1, 80, 201)
    assert torch.allclose(mel, mini_network.log_mel(wave[None] * 0.1), atol=1e-4)


def test_mini_shapes_and_meaning():
    loaded = mini.Network()
    embedders = {name: mini.MiniEmbedder(name, loaded) for name in ("mini", "mini_tags", "mini_clap")}
    rows = {name: rows_of(embedder, music(12.0)) for name, embedder in embedders.items()}
    assert rows["mini"].shape == (12, 64)
    assert rows["mini_tags"].shape[0] == rows["mini_clap"].shape[0] == 2
    assert np.linalg.norm(rows["mini_clap"], axis=1) == pytest.approx([1, 1], abs=1e-5)
    texts = embedders["mini_clap"].embed_texts(["a calm piano piece", "zzz qqq", "a calm piano piece zzz"])
    assert texts.shape == (3, 64)
    assert texts[0] == pytest.approx(texts[2])  # unknown words are left out
    assert mini.FILE.stat().st_size < 3_000_000


def test_weights_that_run_code_are_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return (print, ("ran",))

    torch.save({"state_dict": Attack()}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="could run code"):
        read_state_dict(tmp_path / "w.pt")
    (tmp_path / "torn.pt").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(CheckpointError, match="damaged"):
        read_state_dict(tmp_path / "torn.pt")
    assert pickle  # the reason for the refusal


def test_weights_of_another_network_and_missing_ones(tmp_path, monkeypatch):
    torch.save({"x": torch.zeros(2)}, tmp_path / "w.pt")
    embedder = vggish.VGGishEmbedder("vggish_tf", Weights({"vggish": tmp_path / "w.pt"}))
    with pytest.raises(CheckpointError, match="not the weights of this network"):
        rows_of(embedder, music(2.0, 16_000))
    with pytest.raises(InputError, match="unknown network"):
        Embedders(Weights({"vgish": tmp_path / "w.pt"}))
    with pytest.raises(InputError, match="no such file"):
        Weights({"vggish": tmp_path / "none.pt"})
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match=passt.PUBLISHED.file):
        Weights(download=False).file(passt.PUBLISHED)
