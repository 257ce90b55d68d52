"""The networks that the published files hold, against transformers' own classes: T5's encoder, EnCodec, their configurations,
and the text tokeniser."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoTokenizer,
    EncodecConfig,
    EncodecModel,
    MusicgenDecoderConfig,
    T5Config,
    T5EncoderModel,
)
from transformers.models.t5.modeling_t5 import T5Attention

from musicgen.checkpoint.transformers_layout import DecoderConfig
from musicgen.conditioners import t5
from musicgen.conditioners.text_tokenizer import SENTENCEPIECE, TextTokenizer
from musicgen.errors import CheckpointError
from musicgen.gc_disabled import gc_disabled
from musicgen.tokenizers import encodec_network
from tests import standins
from tests.conftest import GOLDEN

MINI = Path(__file__).parents[1] / "musicgen" / "pretrained" / "mini"
TEXTS = [
    "slow calm piano music", "",
    "A LOUD rock beat,with  fast drums! (140 bpm)", "naïve 日本の音楽 \u00a0 ﬁne\ttab\nline", "🎵" * 5,
    "</s> <pad> <unk> <extra_id_0>",
]  # fmt: skip


def t5_model(**changes) -> T5EncoderModel:
    torch.manual_seed(0)
    shape = {"vocab_size": 80, "d_model": 48, "d_kv": 16, "d_ff": 96, "num_layers": 3, "num_heads": 4}
    model = T5EncoderModel(T5Config(**shape | changes)).eval()
    with torch.no_grad():  # fresh positions are so small that they would not matter
        model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.normal_(0, 2)
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"feed_forward_proj": "gated-gelu"}, {"d_kv": 8, "num_heads": 3}, {"relative_attention_num_buckets": 8},
        {"relative_attention_max_distance": 20, "layer_norm_epsilon": 1e-3},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("length", [1, 7, 150])
def test_t5_gives_transformers_hidden_states_bit_for_bit(changes, length: int) -> None:
    theirs = t5_model(**changes)
    ours = standins.t5_encoder(theirs)
    ids = torch.randint(3, 80, (3, length))
    real = torch.arange(length)[None] < torch.tensor([[length], [(length + 1) // 2], [1]])
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=real.long()).last_hidden_state
        assert torch.equal(ours(ids, real), expected)
        alone = ours(ids[1:2, : (length + 1) // 2], real[1:2, : (length + 1) // 2])
    torch.testing.assert_close(alone, expected[1:2, : (length + 1) // 2], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("buckets", "farthest"), [(32, 128), (8, 20), (64, 512), (6, 16)])
def test_distances_fall_into_t5s_buckets(buckets: int, farthest: int) -> None:
    distance = torch.arange(-600, 601)
    expected = T5Attention._relative_position_bucket(distance, True, buckets, farthest)
    assert torch.equal(t5.distance_buckets(distance, buckets, farthest), expected)


def test_a_new_t5_has_transformers_distributions() -> None:
    shape = {"vocab_size": 80, "d_model": 256, "d_kv": 16, "d_ff": 96, "num_heads": 4}
    theirs, ours = t5_model(**shape), t5.T5Encoder(t5.T5Config(**shape))
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if name in expected and parameter.dim() > 1 and "relative" not in name:
            assert float(parameter.detach().std() / expected[name].detach().std()) == pytest.approx(1, abs=0.1), name


def encodec_model(**changes) -> EncodecModel:
    torch.manual_seed(0)
    config = EncodecConfig(**json.loads(standins.encodec_config(4).to_json_string(use_diff=False)) | changes)
    model = EncodecModel(config).eval()
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_()
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # fresh biases and norms are nearly neutral
            if name.endswith("bias") or ".norm." in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"pad_mode": "reflect"}, {"use_causal_conv": True}, {"use_causal_conv": True, "trim_right_ratio": 0.5},
        {"use_conv_shortcut": True, "compress": 1}, {"num_residual_layers": 3, "dilation_growth_rate": 3},
        {"norm_type": "time_group_norm"}, {"audio_channels": 2}, {"num_lstm_layers": 1, "kernel_size": 5},
        {"upsampling_ratios": [5, 3], "last_kernel_size": 3, "target_bandwidths": [4 * 2134 * 6 / 1000]},
    ],
    ids=str,
)  # fmt: skip
def test_encodec_gives_transformers_codes_and_samples_bit_for_bit(changes) -> None:
    theirs = encodec_model(**changes)
    ours = standins.encodec_tokenizer(theirs).network
    for samples in (1, 700, 32_000 // 4 + 3):
        wave = torch.randn(2, theirs.config.audio_channels, samples)
        with torch.no_grad():
            expected = theirs.encode(wave, bandwidth=theirs.config.target_bandwidths[-1]).audio_codes[0]
            codes = ours.encode(wave)
            assert torch.equal(codes, expected)
            # transformers' own decode wants the codes in chunks.
            latents = theirs.quantizer.decode(expected.transpose(0, 1))
            assert torch.equal(ours.decode(codes), theirs.decoder(latents))
    assert ours.config.num_quantizers == theirs.config.num_quantizers == 4


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (t5.T5Config(), T5Config()),
        (encodec_network.EncodecConfig(), EncodecConfig()),
        (DecoderConfig(), MusicgenDecoderConfig()),
    ],
    ids=["t5", "encodec", "decoder"],
)
def test_defaults_are_transformers(ours, theirs) -> None:
    expected = json.loads(theirs.to_json_string(use_diff=False))
    for name, value in ours.model_dump(mode="json").items():
        assert value == (expected["_name_or_path"] or None if name == "name_or_path" else expected[name]), name


def test_configurations_are_read_by_transformers() -> None:
    ours = t5.T5Config(d_model=24, feed_forward_proj="gated-gelu", name_or_path="t5-base").to_dict()
    assert T5Config(**ours).dense_act_fn == "gelu_new"
    assert T5Config(**ours).d_model == 24
    codec = encodec_network.EncodecConfig(upsampling_ratios=[8, 5, 4, 4], sampling_rate=32_000, target_bandwidths=[2.2])
    theirs = EncodecConfig(**codec.to_dict())
    assert (theirs.hop_length, theirs.frame_rate, theirs.num_quantizers) == (640, 50, 4)
    assert (codec.hop_length, codec.frame_rate, codec.num_quantizers) == (640, 50, 4)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"d_model": "wide"}, "d_model"), ({"num_layers": True}, "num_layers"),
        ({"feed_forward_proj": "swish"}, "feed_forward"),
        ({"num_heads": 0}, "num_heads"), ({"relative_attention_num_buckets": 7}, "relative_attention_num_buckets is 7"),
    ],
)  # fmt: skip
def test_what_no_t5_can_be_is_named(values, named: str) -> None:
    model = t5_model()
    config = json.loads(model.config.to_json_string(use_diff=False)) | values
    with pytest.raises(CheckpointError, match=named):
        standins.load_t5(config, model.state_dict(), "a file")


@pytest.mark.parametrize("folder", [MINI, GOLDEN / "t5_tiny"], ids=["mini", "t5_tiny"])
def test_texts_have_transformers_tokens(folder: Path, tmp_path: Path) -> None:
    ours = TextTokenizer.load(folder)
    theirs = AutoTokenizer.from_pretrained(folder, config=T5Config(), local_files_only=True)
    expected = theirs(TEXTS, padding=True, return_tensors="pt")
    ids, real = ours.encode(TEXTS, padding=theirs.pad_token_id)
    assert torch.equal(ids, expected.input_ids)
    assert torch.equal(real, expected.attention_mask.bool())
    cut = theirs(TEXTS, padding=True, truncation=True, max_length=4, return_tensors="pt")
    assert torch.equal(ours.encode(TEXTS, theirs.pad_token_id, max_tokens=4)[0], cut.input_ids)
    assert (len(ours), ours.unk_token, ours.vocabulary) == (len(theirs), theirs.unk_token, theirs.get_vocab())

    ours.save(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path, config=T5Config(), local_files_only=True)
    assert torch.equal(again(TEXTS, padding=True, return_tensors="pt").input_ids, expected.input_ids)


def test_a_missing_reader_of_sentencepiece_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    (tmp_path / SENTENCEPIECE).write_bytes(b"\n\x0e\n\x05<pad>")
    with pytest.raises(CheckpointError, match="pip install sentencepiece"):
        TextTokenizer.load(tmp_path)


def test_sentencepiece_alone_is_converted(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    (tmp_path / "text.txt").write_text("\n".join(TEXTS[:1] + TEXTS[2:3]) * 40)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"), model_prefix=str(tmp_path / "spiece"), vocab_size=40, pad_id=0, eos_id=1,
        unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    ids, _ = TextTokenizer.load(tmp_path).encode(TEXTS[:1], padding=0)
    assert ids[0].tolist() == [*sentencepiece.SentencePieceProcessor(str(tmp_path / SENTENCEPIECE)).encode(TEXTS[0]), 1]


def test_the_command_line_generates_without_transformers(tmp_path: Path) -> None:
    """Importing its model classes takes longer than generating a short clip; PyTorch's compiler does, too."""
    program = """
import sys
from musicgen.__main__ import main
assert main(["generate", "drums", "-m", "mini", "-d", "0.2", "-o", sys.argv[1]]) in (0, None)
libraries = "transformers", "torch._dynamo", "numba", "sympy", "scipy", "librosa", "pandas", "huggingface_hub"
heavy = [name for name in libraries if name in sys.modules]
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program, tmp_path / "clip.wav"], check=True)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_before_when_the_imports_have_ended(enabled: bool) -> None:
    def fail() -> None:
        with gc_disabled():
            assert not gc.isenabled()
            raise ImportError

    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ImportError):
            fail()
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
