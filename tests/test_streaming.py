"""The parts of a stream, joined, are the whole: for any parts, mono and stereo, EnCodec and DAC, across windows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel

import musicgen
from musicgen.audio import Audio
from musicgen.errors import CheckpointError, InputError
from musicgen.tokenizers import DacTokenizer, EncodecTokenizer, StereoTokenizer
from musicgen.tokenizers.dac import dac_radius
from musicgen.tokenizers.encodec import encodec_radius
from tests import standins
from tests.conftest import GOLDEN, TEXTS

SAMPLED = musicgen.GenerationOptions(top_k=20)


def encodec(**changes) -> EncodecTokenizer:
    torch.manual_seed(0)
    config = EncodecConfig(**(standins.encodec_config(4).to_dict() | changes))
    model = EncodecModel(config)
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_()
    return standins.encodec_tokenizer(model)


def dac() -> DacTokenizer:
    torch.manual_seed(0)
    shape = {"encoder_hidden_size": 4, "decoder_hidden_size": 32, "codebook_size": 32, "hidden_size": 64}
    model = DacModel(DacConfig(**shape, sampling_rate=44_100)).eval()
    for module in model.modules():  # fresh weights are so small that every waveform would be silence
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d | nn.Embedding):
            nn.init.normal_(module.weight, std=0.5 / module.weight[0].numel() ** 0.5)
    return DacTokenizer(model)


TOKENIZERS = {
    "mono": encodec,
    "stereo": lambda: StereoTokenizer(encodec()),
    "causal": lambda: encodec(use_causal_conv=True),
    "deep": lambda: encodec(
        num_residual_layers=3, upsampling_ratios=[4, 2], pad_mode="reflect", target_bandwidths=[4 * 4_000 * 6 / 1000]
    ),
    "dac": dac,
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest):
    return TOKENIZERS[request.param]()


def codes_of(tokenizer, frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randint(0, tokenizer.codebook_size, (2, tokenizer.num_codebooks, frames), generator=generator)


def parts_of(tokenizer, codes: torch.Tensor, sizes: list[int]) -> list[torch.Tensor]:
    decoder = tokenizer.stream_decoder()
    parts = codes.split(sizes, dim=2)
    return [decoder.push(part, last=i == len(parts) - 1) for i, part in enumerate(parts)]


@pytest.mark.parametrize(
    "sizes",
    [[1] * 60, [60], [25, 25, 10], [1, 58, 1], [7, 13, 2, 1, 30, 7]],
    ids=["one by one", "at once", "halves", "edges", "ragged"],
)
def test_parts_join_to_the_whole(tokenizer, sizes: list[int]) -> None:
    codes = codes_of(tokenizer, 60)
    whole = tokenizer.decode(codes)
    assert whole.std() > 0.01
    torch.testing.assert_close(torch.cat(parts_of(tokenizer, codes, sizes), dim=2), whole, atol=1e-5, rtol=0)


MONO = encodec()


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_any_parts_join_to_the_whole(sizes: list[int]) -> None:
    codes = codes_of(MONO, sum(sizes))
    joined = torch.cat(parts_of(MONO, codes, sizes), dim=2)
    torch.testing.assert_close(joined, MONO.decode(codes), atol=1e-5, rtol=0)


def test_frames_come_out_as_soon_as_what_they_depend_on_is_there(tokenizer) -> None:
    decoder = tokenizer.stream_decoder()
    codes = codes_of(tokenizer, 30)
    heard = 0
    for frame in range(29):
        heard += decoder.push(codes[:, :, frame : frame + 1]).shape[2]
        assert heard == max(0, frame + 1 - decoder.delay) * tokenizer.hop


def test_nothing_beyond_the_delay_matters(tokenizer) -> None:
    delay = tokenizer.stream_decoder().delay
    codes = codes_of(tokenizer, 40)
    changed = codes.clone()
    changed[:, :, 11 + delay :] = (changed[:, :, 11 + delay :] + 1) % tokenizer.codebook_size
    difference = (tokenizer.decode(changed) - tokenizer.decode(codes)).abs()
    assert difference[:, :, : 11 * tokenizer.hop].max() < 1e-6
    assert difference[:, :, (11 + delay) * tokenizer.hop :].max() > 1e-4


def test_the_published_shape_waits_for_a_tenth_of_a_second() -> None:
    config = EncodecConfig(sampling_rate=32_000, upsampling_ratios=[8, 5, 4, 4], use_causal_conv=False)
    assert encodec_radius(config) == 2
    assert dac_radius(DacConfig()) <= 12


def test_what_cannot_be_decoded_in_parts_is_refused() -> None:
    with pytest.raises(CheckpointError, match="normalises over time"):
        encodec(norm_type="time_group_norm").stream_decoder()


@pytest.fixture(scope="module", params=["text", "melody", "stereo"])
def model(request: pytest.FixtureRequest, audiocraft_folder):
    return musicgen.load(audiocraft_folder(request.param))


@pytest.mark.parametrize("chunk", [0.02, 0.5, 1.7, 100.0])
def test_a_stream_is_what_generate_returns(model, chunk: float) -> None:
    arguments = {"seed": 5, "options": SAMPLED}
    if model.melody is not None:
        arguments |= {"melody": str(GOLDEN / "chroma" / "melody_a.wav"), "separate": False}
    steps: list[int] = []
    parts = list(model.stream(TEXTS[0], 2.0, chunk=chunk, progress=lambda done, _: steps.append(done), **arguments))
    whole = model.generate([TEXTS[0]], 2.0, **arguments)[0]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=0)
    assert steps == list(range(1, len(steps) + 1))
    if chunk == 0.5:
        assert [part.shape[1] for part in parts] == [16_000, 16_000, 16_000, 16_000]


def test_a_stream_across_windows_and_from_given_audio(model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "max_duration", 0.64)
    given = Audio(torch.randn(model.channels, 16_000, generator=torch.Generator().manual_seed(0)) * 0.1, 32_000)
    arguments = {"seed": 5, "options": SAMPLED, "continue_from": given}
    parts = list(model.stream(TEXTS[0], 3.0, chunk=0.3, **arguments))
    whole = model.generate([TEXTS[0]], 3.0, **arguments)[0]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=0)


def test_a_stream_starts_before_the_piece_is_made(model) -> None:
    made: list[int] = []
    stream = model.stream(TEXTS[0], 20.0, seed=0, progress=lambda done, _: made.append(done))
    assert next(stream).shape == (model.channels, 16_000)
    # Half a second is 25 frames; the decoder looks 5 ahead and the pattern is 3 late.
    assert made[-1] <= 25 + 5 + 3
    stream.close()


def test_a_stream_is_checked_when_it_is_asked_for(model) -> None:
    with pytest.raises(InputError, match="duration is 0 s"):
        model.stream(TEXTS[0], 0)
    with pytest.raises(InputError, match="chunk is 0 s"):
        model.stream(TEXTS[0], 1.0, chunk=0)


@pytest.mark.parametrize(
    "changes",
    [{}, {"use_causal_conv": False}, {"dilation_growth_rate": 3, "num_residual_layers": 2, "residual_kernel_size": 5}],
)
@pytest.mark.parametrize("samples", [32_000 * 4, 32_000 * 3 + 777, 16_001])
def test_long_audio_is_encoded_in_blocks_and_gives_the_same_codes(
    monkeypatch: pytest.MonkeyPatch, changes: dict, samples: int
) -> None:
    """A whole clip takes 9 MB for each second in EnCodec's first layers."""
    tokenizer = encodec(**changes)
    wave = 0.3 * torch.randn(1, 1, samples)
    whole = tokenizer.encode(wave)
    longest = 0
    first = tokenizer.model.encoder.layers[0]
    forward = first.forward

    def watched(x: torch.Tensor) -> torch.Tensor:
        nonlocal longest
        longest = max(longest, x.shape[-1])
        return forward(x)

    monkeypatch.setattr(first, "forward", watched)
    monkeypatch.setattr("musicgen.tokenizers.encodec.WHOLE_SECONDS", 0.4)
    assert tokenizer.encode(wave).equal(whole)
    assert longest < 12_000
