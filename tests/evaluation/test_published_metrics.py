"""The paper's metrics from files to scores, at random weights, against the definitions worked by hand in float64."""

import contextlib
import io

import numpy as np
import pytest
import torch
from scipy import linalg

from evaluation.clips.clip import normalise_loudness
from evaluation.embedders.cache import Cache
from evaluation.embedders.registry import Embedders
from evaluation.embedders.weights import Weights
from evaluation.pipeline.scoring import score
from evaluation.suites.items import load_items
from musicgen import audio
from tests.evaluation.test_scoring import QUIET, reference_folder, samples_folder, suite_of

METRICS = ("fad_vggish_torch", "kl", "clap")


@pytest.fixture(scope="module")
def scored(tmp_path_factory, vggish_weights, passt_weights, laion_clap_standin):
    folder = tmp_path_factory.mktemp("published")
    _, clap_weights = laion_clap_standin
    references = reference_folder(folder / "references", 3, 2.0)
    samples = samples_folder(folder / "ours", "ours", 3, 2.4)
    suite = suite_of(folder, METRICS)
    weights = Weights({"vggish": vggish_weights, "passt": passt_weights, "clap": clap_weights})
    found = score(suite, load_items(suite, references), [samples], Embedders(weights), Cache(folder / "cache"), QUIET)
    files = sorted(samples.glob("*.flac"))
    return {each.metric: each for each in found.systems[0].scores}, sorted(references.glob("*.wav")), files


def test_every_score_names_its_weights(scored, vggish_weights):
    scores, _, _ = scored
    from evaluation.embedders import weights

    assert dict(scores["fad_vggish_torch"].weights) == {"vggish": weights.sha256(vggish_weights)}
    assert set(scores["kl"].weights) == {"passt"}
    assert set(scores["clap"].weights) == {"clap"}


def test_fad_is_the_packages(scored, vggish_weights):
    """Files read by the package, and its formula."""
    from frechet_audio_distance.utils import load_audio_task
    from torchvggish import vggish_input

    from tests.evaluation.embedders.test_networks import peer_vggish

    scores, references, files = scored
    network = peer_vggish(vggish_weights)
    sets = []
    for part in (references, files):
        rows = []
        for file in part:
            wave = load_audio_task(str(file), 16_000, 1)
            with torch.no_grad():
                rows.append(network(vggish_input.waveform_to_examples(wave, 16_000)).double().numpy())
        sets.append(np.concatenate(rows))
    (mean_r, mean_g), (cov_r, cov_g) = [s.mean(0) for s in sets], [np.cov(s, rowvar=False) for s in sets]
    root = np.trace(linalg.sqrtm(cov_r @ cov_g)).real
    expected = ((mean_r - mean_g) ** 2).sum() + np.trace(cov_r) + np.trace(cov_g) - 2 * root
    assert scores["fad_vggish_torch"].value == pytest.approx(expected, rel=1e-4)


def test_kl_is_audiocrafts_by_hand(scored, passt_weights):
    from hear21passt.models import passt as theirs
    from hear21passt.models.preprocess import AugmentMelSTFT

    scores, references, files = scored
    with contextlib.redirect_stdout(io.StringIO()):
        network = theirs.get_model(arch="passt_20sec", pretrained=False, input_tdim=2000).eval()
        mel = AugmentMelSTFT(n_mels=128, sr=32_000, win_length=800, hopsize=320, n_fft=1024, freqm=48, timem=192,
                             htk=False, fmin=0.0, fmax=None, norm=1, fmin_aug_range=10, fmax_aug_range=2000).eval()  # fmt: skip
    network.load_state_dict(torch.load(passt_weights))
    values = []
    for reference, file in zip(references, files, strict=True):
        wave = audio.read(reference).wave[0]
        made = normalise_loudness(audio.read(file).wave[0])[: len(wave)]
        with torch.no_grad():
            p, q = (network(mel(each[None])[:, None])[0].double().softmax(-1) for each in (wave, made))
        values.append(float((p * (p.log() - (q + 1e-6).log())).sum()))
    assert scores["kl"].value == pytest.approx(np.mean(values), rel=1e-3, abs=1e-7)
    assert list(scores["kl"].clips.values()) == pytest.approx(values, rel=1e-2, abs=1e-7)


def test_clap_is_laion_claps_cosine(scored, laion_clap_standin):
    reference, _ = laion_clap_standin
    scores, references, files = scored
    from julius import resample_frac

    waves = [normalise_loudness(audio.read(file).wave[0]) for file in files]
    sounds = [
        reference.get_audio_embedding_from_data(resample_frac(wave, 32_000, 48_000)[None], use_tensor=True)
        for wave in waves
    ]
    texts = reference.get_text_embedding([file.with_suffix(".txt").read_text() for file in references], use_tensor=True)
    expected = (
        torch.nn.functional.cosine_similarity(torch.cat(sounds).double(), texts.double(), eps=1e-8).mean().detach()
    )
    assert scores["clap"].value == pytest.approx(float(expected), abs=1e-5)
