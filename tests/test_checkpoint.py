"""Loading by name, from caches and folders, and refusing what is unknown, damaged or unsafe."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import musicgen
from musicgen import catalog
from musicgen.checkpoint import find, pick_device
from musicgen.errors import CheckpointError, InputError
from tests import standins


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standins.write(standins.transformers_model(), tmp_path_factory.mktemp("model"))


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_import_is_quick_and_touches_neither_torch_nor_the_network() -> None:
    program = """
import socket, sys, time
def refuse(*arguments, **named):
    raise AssertionError("the network was used")
socket.socket.connect = socket.getaddrinfo = refuse
start = time.perf_counter()
import musicgen
musicgen.GenerationOptions(temperature=0.9)
assert "torch" not in sys.modules and "transformers" not in sys.modules, "a heavy import"
assert musicgen.load and musicgen.MusicGen and musicgen.Audio and musicgen.save
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_loads_from_the_hub_cache(folder: Path, hub_cache: Path) -> None:
    standins.publish(hub_cache, "facebook/musicgen-small", folder)
    model = musicgen.load("facebook/musicgen-small")
    assert model.name == "facebook/musicgen-small"
    assert model.generate(["drums"], 0.2, seed=0).shape == (1, 1, 6_400)


def test_loads_an_audiocraft_repository_from_the_hub_cache(audiocraft_folder, hub_cache: Path) -> None:
    standins.publish(hub_cache, "somebody/finetuned", audiocraft_folder("melody"))
    assert musicgen.load("somebody/finetuned").melody is not None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("facebook/musicgen-smal", "did you mean 'facebook/musicgen-small'"),
        ("melody", "unknown model 'melody' .and no such folder.: did you mean 'facebook/musicgen-melody'"),
        ("stereo-small", "did you mean 'facebook/musicgen-stereo-small'"),
        ("what is this?", "known models: .*facebook/musicgen-stereo-melody-large"),
        ("../../etc/passwd", "unknown model '../../etc/passwd'"),
        ("a/b/c", "unknown model 'a/b/c'"),
        (
            "facebook/musicgen-large",
            "is not on this machine and the hub cannot be reached .HF_HUB_OFFLINE is set.*folder",
        ),
    ],
)
def test_unknown_and_unreachable_names(name: str, message: str, hub_cache: Path) -> None:
    assert hub_cache.is_dir()
    with pytest.raises(CheckpointError, match=message):
        find(name)


def test_no_network_is_said_in_one_line(tmp_path: Path) -> None:
    """A machine whose connections are refused, not one that is told to stay offline."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= {"HF_HOME": str(tmp_path), "HF_ENDPOINT": f"http://127.0.0.1:{port}"}
    command = [sys.executable, "-m", "musicgen", "generate", "x", "--model", "facebook/musicgen-small"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path.cwd(), check=False)
    assert result.returncode == 2
    assert "error: 'facebook/musicgen-small' is not on this machine and the hub cannot be reached" in result.stderr
    assert "Traceback" not in result.stderr


def test_folders_without_a_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither config\.json nor state_dict\.bin inside"):
        musicgen.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="a checkpoint of the type 'bert', not a MusicGen model"):
        musicgen.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not JSON"):
        musicgen.load(tmp_path)


def test_damaged_weights_are_named(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged .*download it again"):
        musicgen.load(copy)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: missing"):
        musicgen.load(copy)


def test_missing_and_misshapen_tensors_are_named(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    lost = "decoder.model.decoder.layers.1.fc1.weight"
    save_file({k: v for k, v in tensors.items() if k != lost}, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match=rf"1 tensors are missing, among them '{lost}'"):
        musicgen.load(copy)
    save_file(tensors | {lost: torch.zeros(3, 3)}, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"'blocks\.1\.ffn_in\.weight' has the shape \[3, 3\], .*\[96, 32\]"):
        musicgen.load(copy)


def test_missing_and_damaged_tokenisers_are_named(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="the text tokeniser's files are damaged"):
        musicgen.load(copy)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json and no spiece\.model"):
        musicgen.load(copy)


def test_a_pickle_that_wants_code_is_refused(audiocraft_folder, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()

    class Attack:
        def __reduce__(self):
            return (shutil.rmtree, (str(victim),))

    for file in ("state_dict.bin", "compression_state_dict.bin"):
        folder = audiocraft_folder("text")
        torch.save({"best_state": Attack(), "xp.cfg": ""}, folder / file)
        with pytest.raises(CheckpointError, match=rf"{file}: refused: .*could run code"):
            musicgen.load(folder)
    assert victim.is_dir()


def test_other_pickles_are_named(audiocraft_folder) -> None:
    folder = audiocraft_folder("text")
    (folder / "state_dict.bin").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match=r"state_dict\.bin: "):
        musicgen.load(folder)
    torch.save({"weights": torch.zeros(3)}, folder / "state_dict.bin")
    with pytest.raises(CheckpointError, match="not an exported audiocraft checkpoint"):
        musicgen.load(folder)


def test_settings_that_our_transformer_does_not_have_are_refused(audiocraft_folder) -> None:
    folder = audiocraft_folder("text")
    package = torch.load(folder / "state_dict.bin", weights_only=True)
    package["xp.cfg"] = package["xp.cfg"].replace("norm_first: true", "norm_first: false")
    torch.save(package, folder / "state_dict.bin")
    with pytest.raises(CheckpointError, match=r"transformer_lm\.norm_first is False: only True is supported"):
        musicgen.load(folder)


def test_shard_names_do_not_lead_out_of_the_folder(copy: Path) -> None:
    secret = copy.parent / "model.safetensors"
    (copy / "model.safetensors").rename(secret)
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "../model.safetensors"}}))
    with pytest.raises(CheckpointError, match="missing"):
        musicgen.load(copy)


def test_save_never_overwrites_and_leaves_nothing_half_written(folder: Path, tmp_path: Path) -> None:
    model = musicgen.load(folder)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "precious").write_text("x")
    with pytest.raises(InputError, match="exists already"):
        musicgen.save(model, tmp_path / "taken")
    with pytest.raises(InputError, match="unknown layout 'pickle'"):
        musicgen.save(model, tmp_path / "out", layout="pickle")
    program = f"""
import resource, signal, musicgen
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
model = musicgen.load({str(folder)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
musicgen.save(model, {str(tmp_path / "full")!r})
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "InputError: cannot write" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]
    model.pattern = musicgen.checkpoint.audiocraft_layout.Pattern("unroll", 4, (0,) * 4, (0, 1, 1, 1))
    with pytest.raises(CheckpointError, match="written for delay patterns, not 'unroll'"):
        musicgen.save(model, tmp_path / "out", layout="audiocraft")
    assert not (tmp_path / "out").exists()


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("cuda:99", "abacus"):
        with pytest.raises(InputError, match=f"the device '{name}' is not to be had here"):
            pick_device(name)


@pytest.mark.parametrize("entry", catalog.PUBLISHED, ids=lambda entry: entry.name)
def test_the_catalogues_sizes_are_the_models(entry: catalog.Entry) -> None:
    """Counted on transformers' own classes at the published shapes, without memory for the weights."""
    from transformers import (
        EncodecConfig,
        EncodecModel,
        MusicgenDecoderConfig,
        MusicgenForCausalLM,
        MusicgenMelodyDecoderConfig,
        MusicgenMelodyForCausalLM,
        T5Config,
        T5EncoderModel,
    )

    shape = {
        "hidden_size": entry.dim, "num_hidden_layers": entry.num_layers, "num_attention_heads": entry.num_heads,
        "ffn_dim": 4 * entry.dim, "num_codebooks": entry.num_codebooks,
    }  # fmt: skip
    with torch.device("meta"):
        if entry.melody:
            decoder = MusicgenMelodyForCausalLM(MusicgenMelodyDecoderConfig(**shape))
        else:
            decoder = MusicgenForCausalLM(MusicgenDecoderConfig(**shape))
        t5 = T5EncoderModel(T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12, d_kv=64))
        encodec = EncodecModel(
            EncodecConfig(
                target_bandwidths=[2.2], sampling_rate=32_000, num_filters=64, upsampling_ratios=[8, 5, 4, 4],
                codebook_size=2048, use_causal_conv=False, use_conv_shortcut=False,
            )
        )  # fmt: skip
    projections = (768 + 1) * entry.dim + ((12 + 1) * entry.dim if entry.melody else 0)
    trained = sum(p.numel() for name, p in decoder.named_parameters() if "embed_positions" not in name)
    assert entry.lm_parameters == trained + projections
    others = sum(p.numel() for p in t5.parameters()) + sum(p.numel() for p in encodec.parameters())
    assert entry.download_bytes == pytest.approx(4 * (entry.lm_parameters + others), rel=0.005)
