"""Text, melody, CLAP and separation: batch independence, null conditions, and the libraries' own numbers."""

import copy
import shutil
from pathlib import Path

import pytest
import soundfile
import torch
from torch import nn
from transformers import T5Config, T5EncoderModel

import musicgen
from musicgen import chroma
from musicgen.audio import Audio
from musicgen.checkpoint.joint_embeddings import PublishedClap
from musicgen.conditioners.base import Conditioner
from musicgen.conditioners.clap import ClapConditioner, ClapEmbedder, ClapOptions, read_weights
from musicgen.conditioners.condition import Condition
from musicgen.conditioners.melody import Melody, MelodyConditioner
from musicgen.conditioners.prepared import PreparedCondition
from musicgen.conditioners.separation import DemucsSeparator
from musicgen.conditioners.text import CACHED_TEXTS, T5Conditioner
from musicgen.content_cache import ContentCache
from musicgen.errors import CheckpointError, InputError
from musicgen.quantiser import ResidualQuantiser
from tests import clap_standin, standins
from tests.conftest import TEXTS


@pytest.fixture(scope="module")
def text(audiocraft_folder) -> T5Conditioner:
    return musicgen.load(audiocraft_folder("text")).text


@pytest.mark.parametrize("threads", [1, 2])
def test_a_text_does_not_depend_on_the_texts_beside_it(text: T5Conditioner, threads: int) -> None:
    """Nor on the number of threads: bit for bit, since int8 activations amplify what rounding leaves."""
    texts = [*TEXTS, None, "", "drums", "a b c d e f g h i"]
    torch.set_num_threads(1)
    alone = [copy.deepcopy(text)([one]) for one in texts]
    torch.set_num_threads(threads)
    for order in (texts, texts[::-1], [*texts, "a longer description of a piece " * 3]):
        together = copy.deepcopy(text)(order)
        for i, one in enumerate(order[: len(texts)]):
            expected = alone[texts.index(one)]
            length = expected.mask.shape[1]
            assert together.mask[i].tolist() == [True] * length + [False] * (together.mask.shape[1] - length)
            assert torch.equal(together.values[i, :length], expected.values[0])
            assert not together.values[i, length:].any()


def test_texts_are_encoded_once(text: T5Conditioner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept by what they say, a bounded number of them, while the weights are the same."""
    fresh = copy.deepcopy(text)
    encoded: list[int] = []
    hidden = fresh.hidden
    monkeypatch.setattr(fresh, "hidden", lambda ids, real: encoded.append(len(ids)) or hidden(ids, real))
    fresh(["drums", "flutes", "drums"])
    before = fresh(["drums"])
    assert encoded == [1, 1]
    with torch.no_grad():
        next(fresh.projection.parameters()).mul_(2)
    assert not torch.allclose(fresh(["drums"]).values, before.values)
    assert encoded == [1, 1, 1]
    for number in range(CACHED_TEXTS + 1):
        fresh([f"drums {number}"])
    fresh([f"drums {CACHED_TEXTS}"])
    assert len(encoded) == 3 + CACHED_TEXTS + 1
    fresh(["drums"])  # the least recently used one
    assert len(encoded) == 3 + CACHED_TEXTS + 2


def test_the_conditions_of_a_clip_are_encoded_alone(text: T5Conditioner) -> None:
    """Of any conditioner, and what several clips share once."""
    seen: list[list[int | None]] = []

    class Counting(Conditioner):
        max_length = 3

        def forward(self, prepared):
            seen.append(list(prepared))
            lengths = [one or 1 for one in prepared]
            values = torch.ones(len(prepared), max(lengths), 4) * torch.tensor(lengths)[:, None, None]
            return Condition(values, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])

    given, null = PreparedCondition(Counting(), [2, None, 3, 2]).vectors()
    assert seen == [[2], [None], [3], [None]]
    assert given.mask.sum(dim=1).tolist() == [2, 1, 3, 2]
    assert [row[mask].unique().tolist() for row, mask in zip(given.values, given.mask, strict=True)] == [
        [2],
        [1],
        [3],
        [2],
    ]
    assert null.mask.sum(dim=1).tolist() == [1, 1, 1, 1]
    # A negative prompt as well.
    negative = PreparedCondition(text, TEXTS, "drums").vectors()[1]
    assert torch.equal(negative.values, text(["drums"]).values.expand(2, -1, -1))


def test_no_text_is_one_zero_vector(text: T5Conditioner) -> None:
    condition = text([None, TEXTS[1], ""])
    assert condition.mask.sum(dim=1).tolist() == [1, condition.mask.shape[1], 1]
    assert not condition.values[0].any()
    assert not condition.values[2].any()


def test_texts_of_a_fixed_length_are_followed_by_zero_vectors(text: T5Conditioner) -> None:
    fixed = T5Conditioner(text.encoder, text.tokenizer, text.projection, length=16)
    texts = [*TEXTS, None, "a very long description of a piece " * 4]
    condition, plain = fixed(texts), text(texts)
    longest = plain.mask.shape[1]
    assert longest > 16
    torch.testing.assert_close(condition.values, plain.values, atol=1e-5, rtol=0)
    assert condition.mask.sum(dim=1).tolist() == [16, 16, 16, longest]
    assert fixed(["drums"]).values.shape[1] == 16
    assert fixed(["drums"]).zeroed().mask.all()  # the null text at inference is the one of training
    assert torch.equal(fixed([None]).mask, fixed(["drums"]).mask)


def test_flan_t5_has_the_same_interface(text: T5Conditioner) -> None:
    """FLAN-T5 is T5 with gated feed-forward layers; transformers' own encoder is the oracle."""
    config = T5Config(
        vocab_size=80, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"
    )
    encoder = T5EncoderModel(config).eval()
    flan = T5Conditioner(standins.t5_encoder(encoder), text.tokenizer, nn.Identity())
    condition = flan(TEXTS)
    ids, real = text.tokens(TEXTS[1:])
    with torch.no_grad():
        expected = encoder(input_ids=ids, attention_mask=real).last_hidden_state
    torch.testing.assert_close(condition.values[1:2], expected, atol=1e-5, rtol=1e-5)


def test_a_description_that_is_too_long_is_named(text: T5Conditioner) -> None:
    with pytest.raises(InputError, match=r"has \d+ tokens: the text encoder takes 512"):
        text(["drums " * 1000])


def melody_conditioner() -> MelodyConditioner:
    return MelodyConditioner(nn.Linear(12, 16), length=235)


def test_null_melody_is_bin_0_everywhere() -> None:
    conditioner = melody_conditioner()
    row = conditioner.projection.weight[:, 0] + conditioner.projection.bias
    torch.testing.assert_close(conditioner.null(2).values, row.expand(2, 235, 16))
    assert conditioner.null(2).mask.all()


@pytest.mark.parametrize(
    ("wave", "rate", "message"),
    [
        (torch.zeros(1, 64_000), 32_000, "is silent"),
        (torch.tensor([[1.0], [-1.0]]).expand(2, 64_000), 32_000, "its channels cancel out"),
        (torch.ones(1, 1_600), 32_000, r"is 0\.050 s long: a melody needs 0\.1 s"),
        (torch.ones(7, 192_000), 192_000, "has 7 channels: mono or stereo only"),
        (torch.full((1, 64_000), 0.5), 32_000, "nothing above 20 Hz"),
        (torch.full((2, 4_001), -1.0), 32_000, "nothing above 20 Hz"),
        (0.5 * torch.sin(torch.arange(1, 100_001)[None] * 2 * torch.pi * 8 / 32_000), 32_000, "nothing above 20 Hz"),
        (torch.full((1, 64_000), float("nan")), 32_000, "NaN or infinite"),
        (torch.ones(1, 64_000), 500, "a rate of 500 Hz: it must lie between 4000 and 192000"),
        (torch.ones(1, 4_000 * 601), 4_000, "is 601 s long: a melody may be 600 s"),
    ],
)
def test_melodies_that_cannot_be_followed(wave: torch.Tensor, rate: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        melody_conditioner().prepare(Audio(wave, rate), separate=False)


# A melody more than 60 dB below its offset cannot be told from what resampling makes of the offset.
@pytest.mark.parametrize(("level", "offset"), [(2e-4, 0.0), (2e-3, 0.4), (0.5, 0.0), (0.5, 0.4)])
def test_quiet_melodies_and_those_with_an_offset_are_followed(level: float, offset: float) -> None:
    t = torch.arange(32_000) / 32_000
    for sound in (
        torch.sin(2 * torch.pi * 30 * t),
        torch.rand(32_000, generator=torch.Generator().manual_seed(0)) * 2 - 1,
    ):
        melody_conditioner().prepare(Audio(level * sound[None] + offset, 32_000), separate=False)


def test_files_of_dc_alone_are_refused_at_any_rate(tmp_path: Path) -> None:
    """Resampling leaves a ripple at both ends."""
    for rate in (8_000, 32_000, 44_100):
        soundfile.write(tmp_path / "dc.wav", torch.full((rate * 2,), 0.5).numpy(), rate)
        with pytest.raises(InputError, match=r"dc\.wav holds nothing above 20 Hz"):
            melody_conditioner().prepare(tmp_path / "dc.wav", separate=False)


def test_edited_chroma_frames_are_taken_as_they_are() -> None:
    conditioner = melody_conditioner()
    frames = torch.eye(12)[[0, 4, 7, 4]]
    prepared = conditioner.prepare(frames)
    assert torch.equal(prepared.chroma(8), frames.repeat(2, 1))
    assert torch.equal(prepared.window(2 * chroma.HOP / chroma.SAMPLE_RATE, 30.0).chroma(4), frames[[2, 3, 0, 1]])
    with pytest.raises(InputError, match=r"chroma frames are \[frames, 12\], not \[4, 11\]"):
        conditioner.prepare(frames[:, :11])


def test_window_of_a_recording_starts_again_past_its_end() -> None:
    wave = torch.arange(32_000.0)
    cut = Melody(wave=wave).window(0.75, 0.5).wave
    assert torch.equal(cut, torch.cat([wave[24_000:], wave[:8_000]]))


def test_separation_without_its_model_says_what_to_do(hub_cache: Path) -> None:
    shutil.rmtree(hub_cache / "models--adefossez--HTDemucs", ignore_errors=True)
    with pytest.raises(CheckpointError, match="connect once, or pass separate=False for a clean"):
        DemucsSeparator()(Audio(torch.ones(2, 44_100), 44_100))


def test_separation_keeps_vocals_and_other(hub_cache: Path, tmp_path: Path) -> None:
    """Loaded from the hub cache by Demucs' own code, and compared with Demucs called by hand."""
    from demucs.apply import apply_model
    from demucs.pretrained import get_model

    standins.publish_demucs(hub_cache, tmp_path)
    t = torch.arange(3 * 48_000) / 48_000
    recording = Audio(torch.stack([torch.sin(2 * torch.pi * 440 * t), torch.sin(2 * torch.pi * 220 * t)]) * 0.3, 48_000)
    separated = DemucsSeparator()(recording)
    assert separated.rate == 44_100
    assert separated.wave.shape == (1, recording.resampled(44_100).wave.shape[1])

    model = get_model("hf://htdemucs").eval()
    with torch.no_grad():
        stems = apply_model(model, recording.resampled(44_100).wave[None], shifts=0)[0]
    expected = (stems[model.sources.index("vocals")] + stems[model.sources.index("other")]).mean(dim=0, keepdim=True)
    torch.testing.assert_close(separated.wave, expected)
    # and the melody conditioner uses it, or not
    conditioner = melody_conditioner()
    assert torch.equal(conditioner.prepare(recording).wave, separated.resampled(32_000).wave[0])
    assert torch.equal(conditioner.prepare(recording, separate=False).wave, recording.mono().resampled(32_000).wave[0])


def test_a_recording_is_separated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For another request of the same samples, wherever they lie; not for other samples, another rate or another layout."""
    separator, separated = DemucsSeparator(), []

    def stems(audio: Audio) -> dict[str, Audio]:
        separated.append(audio)
        return {name: Audio(audio.wave * len(separated), 44_100) for name in ("vocals", "other")}

    monkeypatch.setattr(separator, "stems", stems)
    wave = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0))
    first = separator(Audio(wave, 48_000))
    assert torch.equal(separator(Audio(wave.clone(), 48_000)).wave, first.wave)
    assert len(separated) == 1
    changed = wave.clone()
    changed[1, 4999] += 1e-6
    for other in (Audio(changed, 48_000), Audio(wave, 44_100), Audio(wave.reshape(1, -1), 48_000)):
        assert not torch.equal(separator(other).wave, first.wave)
    assert len(separated) == 4


def test_what_is_kept_of_sounds_is_bounded() -> None:
    """In bytes: the sound that was not asked for the longest goes, and one that is larger than all may be is not kept."""
    cache, computed = ContentCache(3 * 400), []

    def ask(value: int, size: int = 100) -> None:
        sound = Audio(torch.full((1, size), float(value)), 8_000)
        assert cache.get(sound, lambda: computed.append(value) or sound).wave.equal(sound.wave)  # type: ignore[func-returns-value]

    for value in (1, 2, 3, 1, 4, 1, 3, 2):
        ask(value)
    assert computed == [1, 2, 3, 4, 2]
    ask(9, 301)
    ask(9, 301)
    assert computed[-2:] == [9, 9]
    ask(2)
    assert computed[-2:] == [9, 9]


@pytest.fixture(scope="module")
def clap(hub_cache: Path, tmp_path_factory: pytest.TempPathFactory):
    """(laion_clap's own module at random weights, our embedder reading them, the file of the weights)."""
    with clap_standin.published(hub_cache, tmp_path_factory.mktemp("clap")) as (reference, weights):
        yield reference, PublishedClap(weights), weights


def test_clap_embeddings_are_laion_claps(clap) -> None:
    reference, embedder, _ = clap
    expected = reference.get_text_embedding(TEXTS, use_tensor=True)
    torch.testing.assert_close(nn.functional.normalize(embedder.texts(TEXTS), dim=-1), expected, atol=1e-6, rtol=0)
    wave = torch.randn(1, 5 * 48_000, generator=torch.Generator().manual_seed(0)) * 0.1
    expected = reference.get_audio_embedding_from_data(wave, use_tensor=True)[0].detach()
    mine = nn.functional.normalize(embedder.audio(Audio(wave, 48_000)), dim=-1)
    torch.testing.assert_close(mine, expected, atol=1e-5, rtol=0)
    longer = Audio(torch.cat([wave, wave, wave], dim=1), 48_000)
    assert embedder.audio(longer).shape == (512,)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("quantise", [True, False])
def test_clap_condition_with_and_without_each_step(clap, normalise: bool, quantise: bool) -> None:
    _, embedder, _ = clap
    projection = nn.Linear(512, 16)
    conditioner = ClapConditioner(embedder, projection, ClapOptions(normalise, quantise))
    conditioner.quantiser.codebooks.normal_(generator=torch.Generator().manual_seed(1)).mul_(0.05)
    condition = conditioner([TEXTS[0], None])
    expected = embedder.texts([TEXTS[0], ""])[0]
    if normalise:
        expected = expected / expected.norm()
    if quantise:
        residual = expected.double()
        for codebook in conditioner.quantiser.codebooks.double():
            residual = residual - codebook[(residual - codebook).square().sum(-1).argmin()]
        expected = (expected.double() - residual).float()
    torch.testing.assert_close(condition.values[0, 0], projection(expected), atol=1e-4, rtol=0)
    assert not condition.values[1].any()
    assert condition.mask.all()


def test_a_model_with_clap_is_saved_and_loaded(clap, audiocraft_folder, tmp_path: Path) -> None:
    _, embedder, _ = clap
    model = musicgen.load(audiocraft_folder("text"))
    model.conditioners["text"] = ClapConditioner(
        embedder, nn.Linear(512, 64), ClapOptions(quantise=True, num_quantisers=3, num_entries=16)
    )
    model.text.quantiser.codebooks.normal_(generator=torch.Generator().manual_seed(1)).mul_(0.05)
    options = musicgen.GenerationOptions(do_sample=False)
    codes = model.generate_codes(TEXTS, 0.4, options=options)
    musicgen.save(model, tmp_path / "clap")
    again = musicgen.load(tmp_path / "clap")
    assert again.text.options == model.text.options
    assert torch.equal(again.generate_codes(TEXTS, 0.4, options=options), codes)


def test_clap_refuses_a_pickle_that_runs_code(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self):
            return (shutil.rmtree, (str(tmp_path / "victim"),))

    (tmp_path / "victim").mkdir()
    torch.save({"state_dict": Attack()}, tmp_path / "clap.pt")
    with pytest.raises(CheckpointError, match="could run code"):
        read_weights(tmp_path / "clap.pt")
    assert (tmp_path / "victim").is_dir()


def test_clap_without_its_tokeniser_is_an_error_not_a_wrong_embedding(clap) -> None:
    _, _, weights = clap
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClapEmbedder, "vocabulary", 50_265)
        with pytest.raises(CheckpointError, match="100 tokens in place of 50265"):
            PublishedClap(weights)


def test_residual_quantiser_is_exact_on_its_own_sums() -> None:
    quantiser = ResidualQuantiser(3, 8, 4)
    generator = torch.Generator().manual_seed(0)
    for q, scale in enumerate((9.0, 1.0, 0.1)):
        quantiser.codebooks[q] = torch.randn(8, 4, generator=generator) * scale
    vectors = torch.randn(50, 4, generator=generator)
    indices = quantiser.encode(vectors)
    assert indices.shape == (50, 3)
    assert torch.equal(quantiser.decode(indices), quantiser(vectors))
    # the first index is the nearest entry of the first codebook
    nearest = torch.cdist(vectors[None], quantiser.codebooks[:1])[0].argmin(-1)
    assert torch.equal(indices[:, 0], nearest)
