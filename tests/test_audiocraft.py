"""audiocraft's layout: its settings are followed or refused by name, and what is exported loads as the same model."""

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import MusicgenMelodyForConditionalGeneration

import musicgen
from musicgen.errors import CheckpointError, InputError
from musicgen.model import MusicGen
from tests import standins
from tests.conftest import GOLDEN, TEXTS

GREEDY = musicgen.GenerationOptions(do_sample=False, guidance_scale=3.0)
LM, ENCODEC = "state_dict.bin", "compression_state_dict.bin"

Edit = Callable[[dict[str, Any]], Any]


def edit(folder: Path, change: Edit, file: str = LM) -> Path:
    """Change the configuration inside a checkpoint's file."""
    package = torch.load(folder / file, weights_only=True)
    config = yaml.safe_load(package["xp.cfg"])
    change(config)
    torch.save(package | {"xp.cfg": yaml.safe_dump(config)}, folder / file)
    return folder


def put(path: str, value: Any) -> Edit:
    """The change that sets the value at a dotted path; `...` removes it."""

    def change(config: dict[str, Any]) -> None:
        *parts, last = path.split(".")
        for part in parts:
            config = config[part]
        if value is ...:
            del config[last]
        else:
            config[last] = value

    return change


def golden_codes(kind: str) -> torch.Tensor:
    return load_file(GOLDEN / f"lm_{kind}" / "golden.safetensors")["gen1/codes"].long()


def first_codes(model: MusicGen, kind: str) -> torch.Tensor:
    more = {"melody": str(GOLDEN / "chroma" / "melody_a.wav"), "separate": False} if kind == "melody" else {}
    return model.generate_codes(TEXTS[:1], 0.8, options=GREEDY, **more)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("text", "interleave_stereo_codebooks", ...),
        ("text", "fuser.prepend", ...),
        ("text", "fuser.sum", ...),
        ("text", "fuser.cross_attention_pos_emb", ...),
        ("text", "transformer_lm.hidden_scale", ...),
        ("text", "transformer_lm.positional_embedding", ...),
        ("text", "codebooks_pattern.delay", ...),
        ("text", "conditioners.description.t5.normalize_text", ...),
        ("text", "solver", ...),
        ("text", "lm_model", ...),
        ("melody", "fuser.cross", ...),
        ("melody", "fuser.prepend", ["description", "self_wav"]),  # the order there does not matter to audiocraft
        ("melody", "conditioners.args", {"merge_text_conditions_p": 0.25}),
    ],
)
def test_what_is_absent_is_audiocrafts_default(kind: str, path: str, value: Any, audiocraft_folder) -> None:
    folder = edit(audiocraft_folder(kind), put(path, value))
    assert torch.equal(first_codes(musicgen.load(folder), kind), golden_codes(kind))


def test_the_first_models_way_to_name_a_pattern(audiocraft_folder) -> None:
    folder = edit(audiocraft_folder("text"), put("codebooks_pattern.modeling", None))
    with pytest.raises(CheckpointError, match=r"no setting 'transformer_lm\.q_modeling'"):
        musicgen.load(folder)
    edit(folder, put("transformer_lm.q_modeling", "delay"))
    assert torch.equal(first_codes(musicgen.load(folder), "text"), golden_codes("text"))


def test_empty_steps_of_a_parallel_pattern(audiocraft_folder) -> None:
    folder = edit(
        audiocraft_folder("text"), put("codebooks_pattern", {"modeling": "parallel", "parallel": {"empty_initial": 2}})
    )
    assert musicgen.load(folder).pattern.layout(3).steps.tolist() == [[3, 4, 5]] * 4
    edit(folder, put("codebooks_pattern.parallel.empty_initial", -1))
    with pytest.raises(CheckpointError, match="empty_initial -1 and flatten_first 0 must not be negative"):
        musicgen.load(folder)


@pytest.mark.parametrize("kind", ["text", "melody"])
def test_the_tensors_names_without_memory_efficient_attention(kind: str, audiocraft_folder) -> None:
    folder = audiocraft_folder(kind)
    package = torch.load(folder / LM, weights_only=True)
    for name in list(package["best_state"]):
        for part in ("self_attn.", "cross_attention."):
            if f".{part}" in name:
                package["best_state"][name.replace(part, f"{part}mha.")] = package["best_state"].pop(name)
    torch.save(package, folder / LM)
    edit(folder, put("transformer_lm.memory_efficient", False))
    assert torch.equal(first_codes(musicgen.load(folder), kind), golden_codes(kind))


@pytest.mark.parametrize("wrapper", ["model.", "module.", "_orig_mod."])
def test_best_weights_of_a_wrapped_module(wrapper: str, audiocraft_folder) -> None:
    """As training loops outside audiocraft (Lightning's, say) put them into an exported file."""
    folder = audiocraft_folder("text")
    package = torch.load(folder / LM, weights_only=True)
    package["best_state"] = {f"{wrapper}{name}": value for name, value in package["best_state"].items()}
    torch.save(package, folder / LM)
    assert torch.equal(first_codes(musicgen.load(folder), "text"), golden_codes("text"))


def test_checkpoints_of_a_training(audiocraft_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """With FSDP the best weights lie elsewhere; one that was not exported holds its configuration as a class of OmegaConf."""
    folder = audiocraft_folder("text")
    package = torch.load(folder / LM, weights_only=True)
    sharded = package | {"best_state": {}, "fsdp_best_state": {"model": package["best_state"]}}
    torch.save(sharded, folder / LM)
    assert torch.equal(first_codes(musicgen.load(folder), "text"), golden_codes("text"))
    kind = type("DictConfig", (), {"__module__": "omegaconf.dictconfig"})
    module = types.ModuleType("omegaconf.dictconfig")
    module.DictConfig = kind
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    monkeypatch.setitem(sys.modules, "omegaconf.dictconfig", module)
    torch.save(package | {"xp.cfg": kind()}, folder / LM)
    with pytest.raises(
        CheckpointError, match=r"\(omegaconf\.dictconfig\.DictConfig\).*export it with audiocraft\.utils"
    ):
        musicgen.load(folder)


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"),
    [
        ("text", "fuser.cross_attention_pos_emb", True, "fuser.cross_attention_pos_emb is True: only False is supported"),
        ("text", "fuser.cross", [], "fuser.cross is [] and fuser.prepend [] for the conditions ['description']"),
        ("text", "fuser.sum", ["description"], "fuser.sum is ['description']: only [] is supported"),
        ("text", "fuser.input_interpolate", ["description"], "fuser.input_interpolate is ['description']"),
        ("text", "transformer_lm.positional_scale", 0.5, "transformer_lm.positional_scale is 0.5: only 1 is supported"),
        ("text", "transformer_lm.max_period", 5000, "transformer_lm.max_period is 5000: only 10000 is supported"),
        ("text", "transformer_lm.positional_embedding", "rope", "transformer_lm.positional_embedding is 'rope'"),
        ("text", "transformer_lm.two_step_cfg", True, "transformer_lm.two_step_cfg is True"),
        ("text", "transformer_lm.norm_first", ..., "norm_first is False, which audiocraft takes where it is absent"),
        ("text", "transformer_lm.causal", ..., "transformer_lm.causal is False, which audiocraft takes where it is absent"),
        ("text", "conditioners.description.t5.normalize_text", True, "t5.normalize_text is True: only False"),
        ("text", "conditioners.description.t5.finetune", True, "t5.finetune is True: only False"),
        ("text", "conditioners.genre", {"model": "lut", "lut": {}}, "the condition 'genre' is of the kind 'lut'"),
        ("text", "interleave_stereo_codebooks.per_timestep", True, "interleave_stereo_codebooks.per_timestep is True"),
        ("text", "codebooks_pattern.modeling", "spiral", "unknown codebooks_pattern.modeling 'spiral'"),
        ("text", "dataset.segment_duration", ..., "has no setting 'dataset.segment_duration'"),
        ("text", "dataset.segment_duration", "long", "the configuration cannot be followed (could not convert"),
        ("text", "dataset.segment_duration", 1e9, "a context of 1e+09 s: above 0 and at most 600 s is possible"),
        ("text", "sample_rate", "${sample_rate}", ""),
        ("melody", "conditioners.self_wav.chroma_stem.argmax", False, "chroma_stem.argmax is False: only True"),
        ("melody", "conditioners.self_wav.chroma_stem.radix2_exp", 12, "chroma_stem.radix2_exp is 12: only 14"),
        ("melody", "conditioners.self_wav.chroma_stem.n_chroma", 24, "chroma_stem.n_chroma is 24: only 12"),
        ("melody", "conditioners.self_wav.chroma_stem.sample_rate", 16000, "chroma_stem.sample_rate is 16000: only 32000"),
    ],
)  # fmt: skip
def test_settings_that_change_the_music_are_refused_by_name(
    kind: str, path: str, value: Any, message: str, audiocraft_folder
) -> None:
    folder = edit(audiocraft_folder(kind), put(path, value))
    if not message:  # not read by a text model: it is the tokeniser's file that says it
        assert torch.equal(first_codes(musicgen.load(folder), kind), golden_codes(kind))
        return
    with pytest.raises(CheckpointError) as caught:
        musicgen.load(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("compression_model", "dac", "compression_model is 'dac': only 'encodec' is supported"),
        ("encodec.renormalize", True, "encodec.renormalize is True: only False is supported"),
        ("seanet.activation", "ReLU", "seanet.activation is 'ReLU': only 'ELU' is supported"),
        ("seanet.decoder", {"n_filters": 8}, "seanet.decoder.n_filters is not supported"),
        ("seanet.norm", "spectral_norm", "the configuration cannot be followed"),
        ("seanet.ratios", [0], "the configuration cannot be followed"),
        ("seanet.lstm", 10**9, "the configuration says 1000000000 LSTM layers, the weights hold 2"),
        ("rvq.n_q", 10**9, "the configuration says 1000000000 quantisers, the weights hold 4"),
        ("seanet.n_filters", 10**8, "the configuration cannot be followed"),
        ("rvq.bins", 2**30, "the configuration says"),
        ("sample_rate", "${sample_rate}", "the setting 'sample_rate' stands for itself"),
    ],
)
def test_tokenisers_that_cannot_be_followed(path: str, value: Any, message: str, audiocraft_folder) -> None:
    folder = edit(audiocraft_folder("text"), put(path, value), ENCODEC)
    with pytest.raises(CheckpointError) as caught:
        musicgen.load(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"solver": "jasco", "lm_model": "flow_matching"}, "a JASCO model"),
        ({"lm_model": "mamba"}, "a language model of the kind 'mamba'"),
    ],
)
def test_models_of_another_kind_are_named(changes: dict[str, Any], name: str, audiocraft_folder) -> None:
    folder = audiocraft_folder("text")
    for path, value in changes.items():
        edit(folder, put(path, value))
    with pytest.raises(
        CheckpointError, match=f"{name}: only MusicGen, MusicGen-Style, AudioGen and MAGNeT models are supported"
    ):
        musicgen.load(folder)


def test_files_of_another_kind_are_named(audiocraft_folder) -> None:
    folder = audiocraft_folder("text")
    (folder / ENCODEC).rename(folder / LM)
    with pytest.raises(CheckpointError, match="an audio tokeniser, not a language model"):
        musicgen.load(folder)
    (folder / LM).rename(folder / ENCODEC)
    with pytest.raises(CheckpointError, match=r"an audio tokeniser \(EnCodec\) alone: .*state_dict\.bin, is missing"):
        musicgen.load(folder)
    torch.save({"sample_rate": 32_000, "n_bands": 4}, folder / LM)
    with pytest.raises(CheckpointError, match="a multi-band diffusion decoder"):
        musicgen.load(folder)


def without_conditions(folder: Path) -> Path:
    """The melody model's language model as `conditioner=none` trains one."""
    package = torch.load(folder / LM, weights_only=True)
    for name in [name for name in package["best_state"] if name.startswith("condition_provider.")]:
        del package["best_state"][name]
    torch.save(package, folder / LM)

    def change(config: dict[str, Any]) -> None:
        config["conditioners"] = None
        config["fuser"] = {"sum": [], "prepend": [], "cross": [], "input_interpolate": []}

    return edit(folder, change)


def test_a_model_without_conditions_is_transformers_decoder(audiocraft_folder, tmp_path: Path) -> None:
    model = musicgen.load(without_conditions(audiocraft_folder("melody")))
    with pytest.raises(InputError, match="trained without descriptions and cannot follow 'a drum'"):
        model.generate(["a drum"], 0.2)
    codes = model.generate_codes(["", None], 0.8, options=GREEDY)

    musicgen.save(musicgen.load(audiocraft_folder("melody")), tmp_path / "whole")
    theirs = MusicgenMelodyForConditionalGeneration.from_pretrained(tmp_path / "whole").decoder
    layout = model.pattern.layout(codes.shape[2])
    sequence = layout.build(codes[:1], model.lm.config.special_token)[:, :, :-1]
    with torch.no_grad():
        logits = theirs(input_ids=sequence[0]).logits[None]
    assert torch.equal(layout.revert_logits(logits)[0].argmax(-1), codes[:1])
    assert torch.equal(codes[0], codes[1])

    with pytest.raises(CheckpointError, match="the transformers layout has no model without text"):
        musicgen.save(model, tmp_path / "out")
    musicgen.save(model, tmp_path / "out", layout="audiocraft")
    assert torch.equal(musicgen.load(tmp_path / "out").generate_codes(["", None], 0.8, options=GREEDY), codes)


def text_model(name: str, folder: Path, cache: Path, shape: dict[str, Any]) -> MusicGen:
    """A model whose text encoder is published as `name`."""
    whole = standins.transformers_model(**shape)
    whole.config.text_encoder.name_or_path = name
    standins.write(whole, folder / "whole")
    t5 = folder / "t5"
    whole.text_encoder.save_pretrained(t5)
    standins.add_text_tokenizer(t5)
    standins.publish(cache, name, t5)
    return musicgen.load(folder / "whole")


@pytest.mark.parametrize("shape", [{}, {"gated": True}, {"stereo": True}, {"text_width": 32}], ids=str)
def test_an_export_names_the_text_encoder_and_loads_as_the_same_model(
    shape: dict[str, Any], hub_cache: Path, tmp_path: Path
) -> None:
    """`text_width` 32 is the model's own width: transformers has no projection there, audiocraft always has one."""
    name = "google/flan-t5-small" if shape.get("gated") else "t5-small"
    model = text_model(name, tmp_path, hub_cache, shape)
    musicgen.save(model, tmp_path / "out", layout="audiocraft")
    config = yaml.safe_load(torch.load(tmp_path / "out" / LM, weights_only=True)["xp.cfg"])
    assert config["conditioners"]["description"]["t5"]["name"] == name
    again = musicgen.load(tmp_path / "out")
    codes = model.generate_codes(TEXTS, 0.4, options=GREEDY)
    assert torch.equal(again.generate_codes(TEXTS, 0.4, options=GREEDY), codes)
    assert not torch.equal(model.generate_codes(TEXTS[::-1], 0.4, options=GREEDY), codes)
    # Once more through the transformers layout, which keeps the name.
    musicgen.save(again, tmp_path / "back")
    musicgen.save(musicgen.load(tmp_path / "back"), tmp_path / "out2", layout="audiocraft")
    assert torch.equal(musicgen.load(tmp_path / "out2").generate_codes(TEXTS, 0.4, options=GREEDY), codes)


def test_a_melody_export_is_the_same_model(audiocraft_folder, tmp_path: Path) -> None:
    musicgen.save(musicgen.load(audiocraft_folder("melody")), tmp_path / "out", layout="audiocraft")
    assert torch.equal(first_codes(musicgen.load(tmp_path / "out"), "melody"), golden_codes("melody"))


def test_exports_that_would_make_other_music_are_refused(
    hub_cache: Path, audiocraft_folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from musicgen.__main__ import main

    assert main(["export", "mini", str(tmp_path / "out"), "--layout", "audiocraft"]) == 2
    assert (
        "this model does not say which one it has: keep an encoder of its own in the transformers layout, or pass its name"
        in capsys.readouterr().err
    )
    arguments = ["export", "mini", str(tmp_path / "out"), "--layout", "audiocraft", "--text-encoder", "t5-base"]
    assert main(arguments) == 2
    assert "this model's is not t5-base, so only the transformers layout holds it" in capsys.readouterr().err
    assert hub_cache.is_dir()
    melody = musicgen.load(audiocraft_folder("melody"))
    for name, message in (("my-t5", "'my-t5' is none that audiocraft takes"), ("t5-11b", "is not on this machine")):
        with pytest.raises(CheckpointError, match=message):
            musicgen.save(melody, tmp_path / "out", layout="audiocraft", text_encoder=name)
    melody.melody.length = 100
    with pytest.raises(CheckpointError, match="235 chroma frames for 30 s: this model has 100"):
        musicgen.save(melody, tmp_path / "out", layout="audiocraft")
    melody.melody.length, melody.text.length = 235, 16
    with pytest.raises(CheckpointError, match="no texts of a fixed length: this model's have 16"):
        musicgen.save(melody, tmp_path / "out", layout="audiocraft")
    assert not (tmp_path / "out").exists()
