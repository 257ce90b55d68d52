"""LoRA adapters: what peft makes of the same files on transformers' own classes, and files that do not fit."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import MusicgenForConditionalGeneration, MusicgenMelodyForConditionalGeneration

import musicgen
from evaluation.systems.base import Request, SystemOptions
from evaluation.systems.registry import load_system
from musicgen import audio, checkpoint
from musicgen.__main__ import main
from musicgen.checkpoint.adapters import AdapterSet, read
from musicgen.errors import CheckpointError, InputError
from musicgen.settings import AdapterUse, Settings, SourceFile
from tests import standins

CODEBOOKS = range(4)
COMMUNITY = [
    "enc_to_dec_proj", "q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2",
    *(f"lm_heads.{k}" for k in CODEBOOKS), *(f"embed_tokens.{k}" for k in CODEBOOKS),
]  # fmt: skip
"""The target modules of musicgen-dreamboothing, which made the adapters on the hub."""
CLASSES = {"text": MusicgenForConditionalGeneration, "melody": MusicgenMelodyForConditionalGeneration}


@pytest.fixture(scope="module", params=["text", "melody"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def base(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "model"
    return standins.write(standins.transformers_model(melody=kind == "melody"), folder)


def adapter(base: Path, kind: str, folder: Path, seed: int, targets: list[str] | None = None, **settings) -> Path:
    """An adapter with random factors, written by peft."""
    model = CLASSES[kind].from_pretrained(base)
    targets = list(targets or COMMUNITY)
    if kind == "melody" and "enc_to_dec_proj" in targets:
        targets.append("audio_enc_to_dec_proj")
    config = LoraConfig(**({"r": 3, "lora_alpha": 6, "target_modules": targets} | settings))
    made = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.normal_(0, 0.2, generator=generator)
    made.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def lofi(base: Path, kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapter(base, kind, tmp_path_factory.mktemp("adapters") / "lofi", seed=1)


@pytest.fixture(scope="module")
def punk(base: Path, kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another rank, and fewer modules."""
    return adapter(base, kind, tmp_path_factory.mktemp("adapters") / "punk", 2, ["q_proj", "v_proj"], r=2, lora_alpha=1)


def merged(base: Path, kind: str, weighted: list[tuple[Path, float]], folder: Path) -> Path:
    """The base model with peft's own merge of adapters, as a folder."""
    model = CLASSES[kind].from_pretrained(base)
    for path, weight in weighted:
        # The weight of an adapter scales its alpha.
        scaled = shutil.copytree(path, folder.parent / f"{path.name}-{weight}", dirs_exist_ok=True)
        config = json.loads((scaled / "adapter_config.json").read_text())
        config["lora_alpha"] *= weight
        (scaled / "adapter_config.json").write_text(json.dumps(config))
        model = PeftModel.from_pretrained(model, scaled).merge_and_unload()
    shutil.copytree(base, folder)
    model.save_pretrained(folder)
    return folder


def assert_equal_weights(ours: musicgen.MusicGen, expected: musicgen.MusicGen) -> None:
    state = ours.state_dict()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(
            state[name], value, atol=1e-6, rtol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_adapters_are_pefts(base: Path, kind: str, lofi: Path, punk: Path, tmp_path: Path) -> None:
    weighted = [(lofi, 0.7), (punk, -1.5)]
    expected = musicgen.load(merged(base, kind, weighted, tmp_path / "merged"), "cpu")
    ours = musicgen.load(base, "cpu", adapters=weighted)
    assert_equal_weights(ours, expected)
    plain = musicgen.load(base, "cpu")
    codes = [
        model.generate_codes("x", 1.0, seed=1, options=musicgen.GenerationOptions(do_sample=False))
        for model in (ours, expected, plain)
    ]
    assert torch.equal(codes[0], codes[1])
    assert not torch.equal(codes[0], codes[2])


def test_the_evaluation_takes_adapters(base: Path, kind: str, lofi: Path, punk: Path) -> None:
    if kind != "text":
        pytest.skip("the same for all kinds")
    settings = {"lora": [f"{lofi}:0.7", str(punk)], "do_sample": False}
    system = load_system(str(base), SystemOptions("cpu", 1, settings))
    (clip,) = system.generate([Request("1", "x", 1, 0.5)])
    model = musicgen.load(base, "cpu", adapters=[(lofi, 0.7), punk])
    expected = model.generate("x", 0.5, seed=1, options=musicgen.GenerationOptions(do_sample=False))[0]
    assert torch.equal(clip.wave, expected)
    assert [(use["weight"], len(use["sha256"])) for use in system.settings["lora"]] == [(0.7, 64), (1.0, 64)]
    assert load_system(str(base), SystemOptions("cpu", 1, {"lora": f"{lofi}:0.5"})).model.adapters.weights == {
        str(lofi): 0.5
    }


def test_weights_change_without_loading(base: Path, lofi: Path, punk: Path) -> None:
    model = musicgen.load(base, "cpu", adapters=[lofi, (punk, 0.5)])
    assert model.adapters.weights == {str(lofi): 1.0, str(punk): 0.5}
    before = model.generate_codes("x", 0.5, seed=1)
    model.adapters.use({str(punk): 2.0})
    assert model.adapters.weights == {str(lofi): 0.0, str(punk): 2.0}
    alone = musicgen.load(base, "cpu", adapters=[(punk, 2.0)])
    assert_equal_weights(model, alone)
    assert torch.equal(model.generate_codes("x", 0.5, seed=1), alone.generate_codes("x", 0.5, seed=1))
    model.adapters.use({str(lofi): 1.0, str(punk): 0.5})
    assert torch.equal(model.generate_codes("x", 0.5, seed=1), before)
    model.adapters.use({})
    plain = musicgen.load(base, "cpu").state_dict()
    assert all(torch.equal(value, plain[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_quantised_models_are_quantised_anew(base: Path, lofi: Path, precision: str) -> None:
    model = musicgen.load(base, "cpu", precision, adapters=[(lofi, 0.0)])
    model.adapters.use({str(lofi): 1.0})
    expected = musicgen.load(base, "cpu", precision, adapters=[lofi]).state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert torch.equal(
        model.generate_codes("x", 0.5, seed=1),
        musicgen.load(base, "cpu", precision, adapters=[lofi]).generate_codes("x", 0.5, seed=1),
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True},
        {"rank_pattern": {"fc1": 1}, "alpha_pattern": {"fc1": 5, r"layers\.0\..*q_proj": 9}},
        {"modules_to_save": ["enc_to_dec_proj"], "target_modules": ["fc1"]},
    ],
    ids=["rslora", "patterns", "modules_to_save"],
)
def test_settings_of_adapters(base: Path, kind: str, settings: dict, tmp_path: Path) -> None:
    made = adapter(base, kind, tmp_path / "adapter", 3, ["q_proj", "fc1"], **settings)
    expected = musicgen.load(merged(base, kind, [(made, 1.0)], tmp_path / "merged"), "cpu")
    assert_equal_weights(musicgen.load(base, "cpu", adapters=[made]), expected)


def test_pytorch_files_and_names_on_the_hub(base: Path, lofi: Path, tmp_path: Path, hub_cache: Path) -> None:
    pickled = shutil.copytree(lofi, tmp_path / "pickled")
    torch.save(load_file(lofi / "adapter_model.safetensors"), pickled / "adapter_model.bin")
    (pickled / "adapter_model.safetensors").unlink()
    standins.publish(hub_cache, "somebody/lofi-lora", lofi)
    by_folder = musicgen.load(base, "cpu", adapters=[lofi])
    assert_equal_weights(musicgen.load(base, "cpu", adapters=[pickled]), by_folder)
    assert_equal_weights(musicgen.load(base, "cpu", adapters=["somebody/lofi-lora"]), by_folder)


def test_a_model_with_adapters_is_exported_merged(base: Path, lofi: Path, tmp_path: Path) -> None:
    model = musicgen.load(base, "cpu", adapters=[(lofi, 0.5)])
    musicgen.save(model, tmp_path / "merged")
    again = musicgen.load(tmp_path / "merged", "cpu")
    assert again.adapters is None
    assert_equal_weights(again, model)


def test_the_command_line(base: Path, lofi: Path, punk: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    shared = ["generate", "x", "--model", str(base), "--duration", "0.5", "--seed", "3", "--no-loudness"]
    flags = ["--lora", f"{lofi}:0.5", "--lora", str(punk)]
    assert main([*shared, *flags, "--output", "first.wav"]) == 0
    settings = Settings.of_file("first.wav")
    assert settings.adapters == tuple(
        AdapterUse(path.name, SourceFile.of(path / "adapter_model.safetensors").sha256, weight)
        for path, weight in ((lofi, 0.5), (punk, 1.0))
    )
    expected = musicgen.load(base, "cpu", adapters=[(lofi, 0.5), punk]).generate("x", 0.5, seed=3)[0]
    assert (audio.read("first.wav").wave - expected.clamp(-1, 1)).abs().max() < 2 / 32_768

    repeated = ["generate", "--from-file", "first.wav", "--model", str(base)]
    assert main([*repeated, *flags, "--output", "again.wav"]) == 0
    assert Path("again.wav").read_bytes() == Path("first.wav").read_bytes()
    capsys.readouterr()
    assert main([*repeated, "--output", "no.wav"]) == 2
    told = capsys.readouterr().err
    assert "made with the LoRA adapters 'lofi', 'punk': pass them again as --lora FOLDER:0.5 --lora FOLDER:1" in told
    assert main([*repeated, "--lora", str(lofi), "--output", "other.wav"]) == 0
    assert "are not those that the clip was made with" in capsys.readouterr().err

    assert main(["export", str(base), "merged", *flags]) == 0
    assert_equal_weights(musicgen.load("merged", "cpu"), musicgen.load(base, "cpu", adapters=[(lofi, 0.5), punk]))


def edited(source: Path, folder: Path, config: dict | None = None, tensors=None) -> Path:
    shutil.copytree(source, folder)
    settings = json.loads((folder / "adapter_config.json").read_text()) | (config or {})
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    if tensors:
        save_file(tensors(load_file(folder / "adapter_model.safetensors")), folder / "adapter_model.safetensors")
    return folder


def test_adapters_that_do_not_fit(base: Path, kind: str, lofi: Path, tmp_path: Path) -> None:
    wide = standins.write(standins.transformers_model(width=64, melody=kind == "melody"), tmp_path / "wide")
    with pytest.raises(CheckpointError, match=r"an adapter of another model, trained on .*: its .* is of the shape"):
        musicgen.load(wide, "cpu", adapters=[lofi])
    shallow = standins.write(standins.transformers_model(layers=1, melody=kind == "melody"), tmp_path / "shallow")
    with pytest.raises(CheckpointError, match=r"it changes 'decoder.*layers\.1\..*has no such weight"):
        musicgen.load(shallow, "cpu", adapters=[lofi])

    def broken(name: str, value):
        def change(tensors):
            key = next(key for key in tensors if key.endswith(name))
            return tensors | {key: value(tensors[key])}

        return change

    cases = [
        (edited(lofi, tmp_path / "a", {"peft_type": "IA3"}), "an adapter of the kind 'IA3': only LORA"),
        (edited(lofi, tmp_path / "b", {"use_dora": True}), "the setting 'use_dora' is not supported"),
        (edited(lofi, tmp_path / "c", {"lora_alpha": "x"}), "lora_alpha is 'x'"),
        (edited(lofi, tmp_path / "d", tensors=broken("lora_A.weight", lambda t: t * float("nan"))), "NaN or infinite"),
        (edited(lofi, tmp_path / "e", tensors=broken("lora_A.weight", lambda t: t[:1].clone())), "do not fit together"),
        (base, "no LoRA adapter: adapter_config.json is missing"),
        (tmp_path / "none", "no such folder"),
    ]
    for folder, message in cases:
        with pytest.raises(CheckpointError, match=message) as caught:
            musicgen.load(base, "cpu", adapters=[folder])
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=r"a LoRA adapter .PEFT., not a model: load its base model"):
        musicgen.load(lofi, "cpu")
    with pytest.raises(InputError, match="is given twice"):
        musicgen.load(base, "cpu", adapters=[lofi, (lofi, 2.0)])
    for weight in (11.0, float("nan"), "1"):
        with pytest.raises(InputError, match="the weight of the adapter"):
            musicgen.load(base, "cpu", adapters=[(lofi, weight)])
    model = musicgen.load(base, "cpu", adapters=[lofi])
    with pytest.raises(InputError, match="no adapter 'other' is loaded"):
        model.adapters.use({"other": 1.0})


def test_the_base_copy_is_half_as_large_where_that_is_exact(base: Path, lofi: Path) -> None:
    model = checkpoint.load(base, "cpu")
    half = {name: value.half().float() for name, value in model.lm.state_dict().items()}
    model.lm.load_state_dict(half)
    kept = AdapterSet(model, {"lofi": read(lofi)})._base
    assert {value.dtype for name, value in kept.items() if name.startswith("lm.")} == {torch.float16}
