"""transformers' own MusicGen at tiny random weights: same files, same numbers, in both directions."""

import dataclasses
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, MusicgenForConditionalGeneration, MusicgenMelodyForConditionalGeneration

import musicgen
from musicgen import patterns
from musicgen.errors import CheckpointError
from musicgen.generators import AutoregressiveGenerator
from tests import standins

PROMPTS = ["slow calm piano music", "a loud rock beat with fast drums and epic guitar", "drums"]
"""Of different lengths: padding must not leak."""

SHAPES = {
    "mono": {},
    "wide": {"width": 48, "heads": 3, "layers": 3, "text_width": 40},
    "same width": {"width": 32, "text_width": 32},
    "two codebooks": {"codebooks": 2, "seed": 1},
    "stereo": {"stereo": True, "seed": 2},
    "stereo, two codebooks": {"stereo": True, "codebooks": 2, "width": 64, "seed": 3},
}
GREEDY = musicgen.GenerationOptions(do_sample=False, guidance_scale=3.0)


@pytest.fixture(scope="module", params=SHAPES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(transformers' model, ours read from its files, the tokeniser)."""
    folder = tmp_path_factory.mktemp("transformers")
    theirs = standins.transformers_model(**SHAPES[request.param])
    standins.write(theirs, folder)
    return theirs, musicgen.load(folder), AutoTokenizer.from_pretrained(folder)


def test_logits_agree(pair) -> None:
    theirs, ours, tokenizer = pair
    num_codebooks = ours.lm.config.num_codebooks
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, ours.lm.config.codebook_size, (3, num_codebooks, 40), generator=generator)
    sequence = ours.pattern.layout(40).build(codes, ours.lm.config.special_token)
    tokens = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    text = ours.text(PROMPTS)
    conditions = ours.fuser({"text": text})
    with torch.no_grad():
        expected = theirs(**tokens, decoder_input_ids=sequence.flatten(0, 1)).logits.unflatten(0, (3, num_codebooks))
        logits = ours.lm(sequence, conditions)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_greedy_generation_with_guidance_agrees(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours, tokenizer = pair
    frames = 200
    decoded = []
    decode = theirs.audio_encoder.decode

    def record(codes: torch.Tensor, *arguments, **named):
        decoded.append(codes[0])
        return decode(codes, *arguments, **named)

    monkeypatch.setattr(theirs.audio_encoder, "decode", record)
    tokens = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    steps = ours.pattern.layout(frames).num_steps
    expected_wave = theirs.generate(**tokens, do_sample=False, guidance_scale=3.0, max_new_tokens=steps)
    # One call for mono, one a side for stereo.
    expected = torch.stack(decoded, dim=2).flatten(1, 2)

    codes = ours.generate_codes(PROMPTS, frames / 50, options=GREEDY)
    assert torch.equal(codes, expected)
    wave = ours.decode(codes)
    assert wave.shape == (3, ours.channels, frames * 640)
    torch.testing.assert_close(wave, expected_wave, atol=1e-4, rtol=0)


def test_waveforms_agree(pair) -> None:
    theirs, ours, _ = pair
    mono = ours.tokenizer.mono if ours.channels == 2 else ours.tokenizer
    codes = torch.randint(
        0, mono.codebook_size, (2, mono.num_codebooks, 33), generator=torch.Generator().manual_seed(1)
    )
    expected = theirs.audio_encoder.decode(codes[None], [None]).audio_values
    torch.testing.assert_close(mono.decode(codes), expected, atol=1e-6, rtol=0)


def test_what_we_export_transformers_loads(pair, tmp_path: Path) -> None:
    theirs, ours, tokenizer = pair
    musicgen.save(ours, tmp_path / "out")
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "out").iterdir()} == {0o644}  # for everybody to read
    again = MusicgenForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    expected, exported = theirs.state_dict(), again.state_dict()
    assert exported.keys() == expected.keys()
    assert all(torch.equal(exported[name], expected[name]) for name in expected)
    tokens = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    mine = AutoTokenizer.from_pretrained(tmp_path / "out")(PROMPTS, padding=True, return_tensors="pt")
    assert torch.equal(tokens.input_ids, mine.input_ids)
    steps = ours.pattern.layout(20).num_steps
    arguments = {"do_sample": False, "guidance_scale": 3.0, "max_new_tokens": steps}
    torch.testing.assert_close(again.generate(**mine, **arguments), theirs.generate(**tokens, **arguments))
    # and with the generation settings that we wrote, not the caller's
    assert again.generation_config.guidance_scale == 3.0
    assert again.generation_config.max_length == ours.pattern.layout(1500).num_steps


def test_the_model_s_own_guidance_scale_is_transformers_default_too(pair, tmp_path: Path, monkeypatch) -> None:
    """A request that names no scale takes the one in the model's folder, and settings of older clips keep theirs."""
    _, ours, tokenizer = pair
    monkeypatch.setattr(ours, "generator", AutoregressiveGenerator(1.7))
    musicgen.save(ours, tmp_path / "out")
    theirs = MusicgenForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    again = musicgen.load(str(tmp_path / "out"), "cpu", "float32")
    tokens = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    expected = theirs.generate(**tokens, do_sample=False, max_new_tokens=again.pattern.layout(20).num_steps)

    def codes(scale: float | None) -> torch.Tensor:
        return again.generate_codes(PROMPTS, 20 / 50, options=dataclasses.replace(GREEDY, guidance_scale=scale))

    torch.testing.assert_close(again.decode(codes(None)), expected, atol=1e-4, rtol=0)
    assert torch.equal(codes(1.7), codes(None))
    assert not torch.equal(codes(30.0), codes(None))


@pytest.mark.parametrize(
    ("text", "message"), [("[", "not a readable"), ('{"guidance_scale": 1e9}', "guidance_scale is")]
)
def test_a_damaged_generation_config_is_named(pair, tmp_path: Path, text: str, message: str) -> None:
    musicgen.save(pair[1], tmp_path / "out")
    (tmp_path / "out" / "generation_config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        musicgen.load(str(tmp_path / "out"), "cpu")


def test_sharded_files_load(tmp_path: Path) -> None:
    theirs = standins.transformers_model()
    standins.write(theirs, tmp_path / "one")
    theirs.save_pretrained(tmp_path / "many", max_shard_size="20KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "many" / name).write_bytes((tmp_path / "one" / name).read_bytes())
    assert len(list((tmp_path / "many").glob("model-*.safetensors"))) > 2
    one, many = musicgen.load(tmp_path / "one"), musicgen.load(tmp_path / "many")
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), many.state_dict().values(), strict=True))


def test_older_files_load(tmp_path: Path) -> None:
    """Older files carry position tables and name weight norm's parts weight_g and weight_v."""
    from safetensors.torch import load_file, save_file

    theirs = standins.transformers_model()
    standins.write(theirs, tmp_path)
    expected = musicgen.load(tmp_path).state_dict()
    tensors = load_file(tmp_path / "model.safetensors")
    old = {
        name.replace(".parametrizations.weight.original0", ".weight_g").replace(
            ".parametrizations.weight.original1", ".weight_v"
        ): value
        for name, value in tensors.items()
    }
    assert old.keys() != tensors.keys()
    old["decoder.model.decoder.embed_positions.weights"] = torch.zeros(2048, 32)
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = musicgen.load(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


@pytest.mark.parametrize("stereo", [False, True])
def test_melody_model_round_trip(stereo: bool, tmp_path: Path) -> None:
    """transformers' melody model: its weights in, the same weights out, its logits for a text and a melody."""
    theirs = standins.transformers_model(melody=True, stereo=stereo, seed=5)
    standins.write(theirs, tmp_path / "in")
    ours = musicgen.load(tmp_path / "in")
    assert ours.melody is not None
    assert ours.melody.length == 235
    musicgen.save(ours, tmp_path / "out")
    again = MusicgenMelodyForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    expected, exported = theirs.state_dict(), again.state_dict()
    assert exported.keys() == expected.keys()
    assert all(torch.equal(exported[name], expected[name]) for name in expected)

    chroma = torch.eye(12)[torch.randint(0, 12, (1, 235), generator=torch.Generator().manual_seed(0))]
    codes = torch.randint(0, 64, (1, ours.lm.config.num_codebooks, 30), generator=torch.Generator().manual_seed(1))
    sequence = ours.pattern.layout(30).build(codes, ours.lm.config.special_token)
    ids, real = ours.text.tokens(PROMPTS[:1])
    text = ours.text(PROMPTS[:1])
    conditions = ours.fuser({"melody": ours.melody.project(chroma), "text": text})
    with torch.no_grad():
        expected_logits = theirs(
            input_ids=ids, attention_mask=real, input_features=chroma, decoder_input_ids=sequence.flatten(0, 1)
        ).logits.unflatten(0, (1, ours.lm.config.num_codebooks))
        logits = ours.lm(sequence, conditions)
    # The prefix takes positions to 270, where the two ways of rounding 10000^x in float32 differ by 3e-5.
    torch.testing.assert_close(logits, expected_logits[:, :, -sequence.shape[2] :], atol=1e-4, rtol=1e-4)


def test_our_settings_survive(tmp_path: Path) -> None:
    """Another pattern, another context length and texts of another length than transformers knows."""
    standins.write(standins.transformers_model(), tmp_path / "in")
    model = musicgen.load(tmp_path / "in")
    model.pattern = patterns.partial_flattening(4)
    model.max_duration = 10.0
    model.text.length = 16
    musicgen.save(model, tmp_path / "out")
    again = musicgen.load(tmp_path / "out")
    assert again.pattern == patterns.partial_flattening(4)
    assert again.max_duration == 10.0
    assert again.text.length == 16


def test_half_size_files_hold_the_rounded_weights(pair, tmp_path: Path) -> None:
    _, ours, _ = pair
    musicgen.save(ours, tmp_path / "half", stored="float16")
    musicgen.save(ours, tmp_path / "whole")
    half, whole = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "whole"))
    assert half < 0.6 * whole
    rounded = musicgen.load(tmp_path / "half").lm.state_dict()
    for name, value in ours.lm.state_dict().items():
        assert torch.equal(rounded[name], value.half().float())
    with pytest.raises(musicgen.InputError, match="cannot store 'float16'"):
        musicgen.save(ours, tmp_path / "other", layout="audiocraft", stored="float16")
