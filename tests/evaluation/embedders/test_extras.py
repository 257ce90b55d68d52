"""MERT, EnCodec, PANNs, Audiobox Aesthetics at small random weights in files of the published form, against their packages."""

import json

import numpy as np
import pytest
import torch

from evaluation.clips.resampling import resample
from evaluation.embedders import aesthetics, encodec, mert, panns
from evaluation.embedders.cache import Cache
from evaluation.embedders.registry import Embedders
from evaluation.embedders.weights import WEIGHT_NORM, Weights
from evaluation.pipeline.scoring import score
from evaluation.suites.items import load_items
from musicgen.errors import CheckpointError
from tests.evaluation.conftest import music
from tests.evaluation.embedders.test_networks import rows_of
from tests.evaluation.test_scoring import QUIET, reference_folder, samples_folder, suite_of

HUBERT = {
    **mert.CONFIGURATION, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
NARROW = tuple(width // 16 for width in panns.WIDTHS)
SCALES = {axis: {"mean": 5.0 + place, "std": 1.0 + place / 2} for place, axis in enumerate(aesthetics.AXES)}


@pytest.fixture(scope="module")
def mert_folder(tmp_path_factory):
    """The repository as published: config.json, and a pickle whose normalised weights have PyTorch's old names."""
    from transformers import HubertConfig, HubertModel

    folder = tmp_path_factory.mktemp("mert")
    torch.manual_seed(3)
    config = HubertConfig(**{**HUBERT, "mask_time_prob": 0.05})
    state = HubertModel(config).state_dict()
    for name in list(state):
        for old, new in WEIGHT_NORM.items():
            if name.endswith(new):
                state[name.replace(new, old)] = state.pop(name)
    assert "masked_spec_embed" in state
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    return folder


@pytest.fixture(scope="module")
def aesthetics_weights(tmp_path_factory):
    """The package's checkpoint, its WavLM shrunk."""
    from audiobox_aesthetics.model import aes

    small = {
        "encoder_layers": 2, "encoder_embed_dim": 32, "encoder_ffn_embed_dim": 48, "encoder_attention_heads": 4,
        "conv_pos": 16, "conv_pos_groups": 4, "conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2",
    }  # fmt: skip
    settings = {
        "proj_num_layer": 2, "proj_ln": True, "proj_act_fn": "gelu", "proj_dropout": 0, "nth_layer": 3,
        "use_weighted_layer_sum": True, "precision": "bf16", "normalize_embed": True, "output_dim": 1,
    }  # fmt: skip
    file = tmp_path_factory.mktemp("aesthetics") / "checkpoint.pt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aes, "DEFAULT_AUDIO_CFG", aes.WavLMConfig({**vars(aes.DEFAULT_AUDIO_CFG), **small}))
        torch.manual_seed(4)
        network = aes.AesMultiOutput(**settings, target_transform=SCALES)
        for parameter in network.proj_layer.parameters():
            torch.nn.init.normal_(parameter)
        state = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
        torch.save({"state_dict": state, "model_cfg": settings, "target_transform": SCALES}, file)
        yield file


def test_mert_is_transformers_hubert_on_the_feature_extractors_input(mert_folder, monkeypatch):
    from transformers import HubertModel, Wav2Vec2FeatureExtractor

    monkeypatch.setattr(mert, "CONFIGURATION", HUBERT)
    wave = music(1.7, 24_000) + 0.1
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=24_000, do_normalize=True)
    inputs = extractor(wave.numpy(), sampling_rate=24_000, return_tensors="pt").input_values
    with torch.no_grad():
        last = HubertModel.from_pretrained(mert_folder).eval()(inputs).last_hidden_state
    expected = last.max(dim=1).values.numpy()
    embedder = mert.MertEmbedder(Weights({"mert": mert_folder / "pytorch_model.bin"}))
    assert rows_of(embedder, wave) == pytest.approx(expected, abs=1e-5)


@pytest.fixture(scope="module")
def mert_95m_folder(tmp_path_factory):
    """The smaller network's repository, in which the normalisation follows the layers."""
    from transformers import HubertConfig, HubertModel

    torch.manual_seed(6)
    network = HubertModel(HubertConfig(**{**HUBERT, "do_stable_layer_norm": False}))
    folder = tmp_path_factory.mktemp("mert_95m")
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(network.config.to_dict()))
    return folder


def test_mert_95m_is_the_last_layer_of_all_frames_as_in_fadtk(mert_95m_folder, monkeypatch):
    from transformers import HubertModel, Wav2Vec2FeatureExtractor

    monkeypatch.setattr(mert, "CONFIGURATION_95M", {**HUBERT, "do_stable_layer_norm": False})
    monkeypatch.setattr(mert, "LONGEST", 30_000)
    wave = music(1.7, 24_000) + 0.1
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=24_000, do_normalize=True)
    inputs = extractor(wave[:30_000].numpy(), sampling_rate=24_000, return_tensors="pt").input_values
    network = HubertModel.from_pretrained(mert_95m_folder).eval()
    with torch.no_grad():
        layers = network(inputs, output_hidden_states=True).hidden_states
        unscaled = network(wave[None, :30_000]).last_hidden_state[0].numpy()
    embedder = mert.MertFramesEmbedder(Weights({"mert_95m": mert_95m_folder / "pytorch_model.bin"}))
    rows = rows_of(embedder, wave)
    assert rows.shape == (93, 32)  # 75 a second
    assert rows == pytest.approx(layers[-1][0].numpy(), abs=1e-5)
    # Level and offset of the input do not matter.
    assert np.abs(rows - unscaled).max() < 0.02 * np.abs(rows).max()


@pytest.fixture(scope="module")
def panns_standin(tmp_path_factory):
    """(laion_clap's CNN14 with a sixteenth of the channels, the published form of its file)."""
    import laion_clap  # puts its folder on the path, which the next line needs

    assert laion_clap
    from clap_module import pann_model
    from torchlibrosa.stft import LogmelFilterBank, Spectrogram

    torch.manual_seed(7)
    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):  # of 320 MB nothing is filled
        for name in ("Spectrogram", "LogmelFilterBank"):
            patch.setattr(pann_model, name, lambda **_: None)
        network = pann_model.Cnn14(
            sample_rate=32_000, window_size=1024, hop_size=320, mel_bins=64, fmin=50, fmax=14_000, classes_num=527
        )
    network.eval()
    network.spectrogram_extractor = Spectrogram(1024, 320, 1024, "hann", True, "reflect")
    network.logmel_extractor = LogmelFilterBank(32_000, 1024, 64, 50, 14_000, ref=1.0, amin=1e-10, top_db=None)
    network.bn0 = torch.nn.BatchNorm2d(64).eval()
    for number, (inputs, width) in enumerate(zip((1, *NARROW[:-1]), NARROW, strict=True), 1):
        setattr(network, f"conv_block{number}", pann_model.ConvBlock(inputs, width).eval())
    network.fc1, network.fc_audioset = torch.nn.Linear(128, 128), torch.nn.Linear(128, 527)
    network.bn0.running_mean += -20  # of a log-mel in dB
    network.bn0.running_var *= 400
    file = tmp_path_factory.mktemp("panns") / "Cnn14_mAP=0.431.pth"
    torch.save({"model": network.state_dict()}, file)
    return network, file


def test_panns_is_cnn14(panns_standin, monkeypatch, tmp_path):
    network, file = panns_standin
    monkeypatch.setattr(panns, "WIDTHS", NARROW)
    embedder = panns.PannsEmbedder(Weights({"panns": file}))
    wave = music(1.7, 32_000)
    with torch.no_grad():
        mel = network.logmel_extractor(network.spectrogram_extractor(wave[None]))[0, 0]
        expected = network({"waveform": wave[None]})["embedding"].numpy()
    assert panns.log_mel(wave).numpy() == pytest.approx(mel.numpy(), abs=1e-3)
    assert rows_of(embedder, wave) == pytest.approx(expected, abs=1e-4 * float(np.abs(expected).max()))
    assert float(np.abs(expected).max()) > 0
    assert embedder.prepare(wave[: panns.SHORTEST - 1], "x") == []
    assert rows_of(embedder, wave[: panns.SHORTEST]).shape == (1, 128)
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="no tensors under `model`"):
        rows_of(panns.PannsEmbedder(Weights({"panns": tmp_path / "other.pth"})), wave)


def test_published_shapes():
    """As many numbers as the published files have."""
    assert sum(parameter.numel() for parameter in panns.Cnn14().parameters()) == 80_753_615 - 527 * 2049
    from transformers import HubertConfig, HubertModel

    with torch.device("meta"):
        network = HubertModel(HubertConfig(**mert.CONFIGURATION_95M))
    assert (
        sum(parameter.numel() for parameter in network.parameters()) == 94_371_712 - 768
    )  # the vector of masked frames


def test_encodec_is_the_encoder_of_its_own_package(tmp_path):
    from encodec import EncodecModel

    torch.manual_seed(5)
    package = EncodecModel._get_model(
        [24.0], encodec.RATE, 1, causal=True, model_norm="weight_norm", audio_normalize=False, name="x"
    ).eval()
    torch.save(package.state_dict(), tmp_path / "encodec.th")
    wave = music(1.3, encodec.RATE)
    with torch.no_grad():
        expected = package.encoder(wave[None, None])[0].T.numpy()
    embedder = encodec.EncodecEmbedder(Weights({"encodec": tmp_path / "encodec.th"}))
    assert rows_of(embedder, wave) == pytest.approx(expected, abs=1e-4 * float(np.abs(expected).max()))
    assert expected.shape == (98, 128)
    assert embedder.prepare(wave[:300], "x") == []


def test_aesthetics_are_the_packages_marks(aesthetics_weights, tmp_path):
    from audiobox_aesthetics.infer import AesPredictor

    embedders = Embedders(Weights({"aesthetics": aesthetics_weights}))
    predictor = AesPredictor(str(aesthetics_weights))
    for seconds, rate in ((3.0, 16_000), (10.0, 16_000), (12.5, 44_100)):
        wave = music(seconds, rate, seed=int(seconds))
        (expected,) = predictor.forward([{"path": wave[None], "sample_rate": rate}])
        rows = rows_of(embedders["aesthetics"], resample(wave, rate, 16_000))
        ours = np.average(rows[:, :4], axis=0, weights=rows[:, 4])
        assert ours == pytest.approx([expected[axis] for axis in aesthetics.AXES], abs=1e-4)
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    other = aesthetics.AestheticsEmbedder(Weights({"aesthetics": tmp_path / "other.pt"}))
    with pytest.raises(CheckpointError, match="not a checkpoint of audiobox_aesthetics"):
        rows_of(other, wave)


def test_the_extras_from_files_to_scores(
    aesthetics_weights, mert_folder, mert_95m_folder, panns_standin, monkeypatch, tmp_path
):
    monkeypatch.setattr(mert, "CONFIGURATION", HUBERT)
    monkeypatch.setattr(mert, "CONFIGURATION_95M", {**HUBERT, "do_stable_layer_norm": False})
    monkeypatch.setattr(panns, "WIDTHS", NARROW)
    names = (
        "mad", "mad_mini", "aesthetics_ce", "aesthetics_pc", "fad_mert", "fad_song_mert", "fad_panns", "kad_panns",
        "kid_panns",
    )  # fmt: skip
    references = reference_folder(tmp_path / "references", 4, 2.0)
    folders = [samples_folder(tmp_path / name, name, 4, 2.0, seed) for name, seed in (("a", 50), ("b", 90))]
    suite = suite_of(tmp_path, names)
    files = {
        "mert": mert_folder / "pytorch_model.bin",
        "mert_95m": mert_95m_folder / "pytorch_model.bin",
        "panns": panns_standin[1],
        "aesthetics": aesthetics_weights,
    }
    embedders = Embedders(Weights(files))
    found = score(suite, load_items(suite, references), folders, embedders, Cache(tmp_path / "cache"), QUIET)
    scores = {each.metric: each for each in found.systems[0].scores}
    assert all(each.n == 4 and np.isfinite(each.value) for each in scores.values())
    assert set(scores["mad"].weights) == {"mert"}
    assert set(scores["fad_mert"].weights) == set(scores["fad_song_mert"].weights) == {"mert_95m"}
    assert set(scores["kad_panns"].weights) == {"panns"}
    assert (scores["fad_mert"].details["windows"], scores["fad_panns"].details["windows"]) == (4 * 149, 4)
    assert scores["mad"].details["cells"] == 2
    wave = resample(music(2.0, seed=50), 32_000, 16_000)
    rows = rows_of(embedders["aesthetics"], wave)
    assert scores["aesthetics_ce"].clips["00"] == pytest.approx(rows[0, 0], abs=1e-2)
    assert scores["aesthetics_pc"].direction == "neither"
    assert {row.metric for row in found.comparisons} == set(names)
