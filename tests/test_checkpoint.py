"""Loading by name, from caches and folders, and refusing what is unknown, damaged or unsafe."""

import json
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

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
        ("what is this?", r"known models: mini, .*facebook/musicgen-melody-large and \d+ more"),
        ("../../no-such-folder/passwd", "unknown model '../../no-such-folder/passwd'"),
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
    state = {"best_state": {}, "xp.cfg": "solver: musicgen"}
    for content, message in (
        ({"weights": torch.zeros(3)}, "not an exported audiocraft checkpoint"),
        (torch.zeros(3), "holds a Tensor where a checkpoint holds names and values"),
        ([1, 2], "holds a list where a checkpoint holds names and values"),
        (state | {"best_state": torch.zeros(3)}, "'best_state' does not hold tensors by name"),
        (state | {"best_state": {"x": 3}}, "'best_state' does not hold tensors by name"),
        (state | {"xp.cfg": "a: [1"}, r"the configuration inside \(xp.cfg\) is damaged YAML"),
        (state | {"xp.cfg": "just words"}, "is no list of settings"),
        (state | {"xp.cfg": None}, "is no list of settings"),
        (state | {"xp.cfg": "fuser: 3\ntransformer_lm: 4"}, r"transformer_lm\.norm_first is False"),
    ):
        torch.save(content, folder / "state_dict.bin")
        with pytest.raises(CheckpointError, match=message) as caught:
            musicgen.load(folder)
        assert "\n" not in str(caught.value)


def test_pickles_that_want_code_are_refused_in_every_file(copy: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()

    class Attack:
        def __reduce__(self):
            return (shutil.rmtree, (str(victim),))

    (copy / "model.safetensors").unlink()
    torch.save({"x": Attack()}, copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: refused: .*could run code"):
        musicgen.load(copy)
    (copy / "pytorch_model.bin").rename(copy / "pytorch_model-00001-of-00001.bin")
    index = {"weight_map": {"x": "pytorch_model-00001-of-00001.bin"}}
    (copy / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"pytorch_model-00001-of-00001\.bin: refused: .*could run code"):
        musicgen.load(copy)
    # The form before PyTorch 1.6: a plain pickle.
    torch.save({"x": Attack()}, copy / "pytorch_model-00001-of-00001.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"pytorch_model-00001-of-00001\.bin: refused: .*could run code"):
        musicgen.load(copy)
    assert victim.is_dir()


def test_pickles_that_unpack_to_more_than_they_are_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    path = copy / "pytorch_model.bin"
    torch.save({"x": torch.zeros(20_000_000)}, copy / "large.bin")
    with zipfile.ZipFile(copy / "large.bin") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in plain.namelist():
            packed.writestr(entry, plain.read(entry))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: refused"):
        musicgen.load(copy)
    for large in (torch.zeros(1).expand(10**9), torch.empty(10**9, device="meta")):
        torch.save({"x": large}, path)
        with pytest.raises(
            CheckpointError, match=r"a tensor of shape \[1000000000\] for which the file holds no such data"
        ):
            musicgen.load(copy)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n", "a Git LFS pointer, .*'git lfs pull'"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "a web page, not a checkpoint .*download it again"),
        (b"", "empty: download it again"),
        (struct.pack("<Q", 2**62) + b"{}", "damaged .*download it again"),
        (
            struct.pack("<Q", 64) + b'{"x":{"dtype":"F32","shape":[9000000000],"data_offsets":[0,4]}}  ',
            "damaged .*download",
        ),
    ],
)
def test_what_stands_in_the_place_of_weights_is_named(
    content: bytes, message: str, copy: Path, audiocraft_folder
) -> None:
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"model\.safetensors: {message}"):
        musicgen.load(copy)
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=rf"pytorch_model\.bin: {message}"):
        musicgen.load(copy)
    theirs = audiocraft_folder("text")
    (theirs / "state_dict.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"state_dict\.bin: "):
        musicgen.load(theirs)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_what_stands_in_the_place_of_settings_is_named(name: str, copy: Path) -> None:
    for content, message in (
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
        (b"", "empty: download it again"),
        (b"[]", "not a MusicGen model|tokeniser's files are damaged"),
    ):
        (copy / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=message) as caught:
            musicgen.load(copy)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [torch.int8, torch.float8_e4m3fn, torch.uint8])
def test_quantised_weights_are_refused(kind: torch.dtype, copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(copy / "model.safetensors")
    for key in [key for key in state if "lm_heads" in key]:
        state[key] = state[key].to(kind)
    save_file(state, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"heads\.weight' holds \w+, so the checkpoint is quantised"):
        musicgen.load(copy)


def test_an_adapter_is_named(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"a LoRA adapter \(PEFT\), not a model: load its base"):
        musicgen.load(tmp_path)


def _set(config: dict[str, Any], path: str, value: Any) -> None:
    *parts, last = path.split(".")
    for part in parts:
        config = config.setdefault(part, {})
    config[last] = value


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("decoder.num_hidden_layers", 10**9, "the configuration says 1000000000 layers, the weights hold 2"),
        ("decoder.num_hidden_layers", -1, "the configuration says -1 layers, the weights hold 2"),
        ("decoder.num_hidden_layers", 1, "the configuration says 1 layers, the weights hold 2"),
        ("decoder.num_hidden_layers", "many", "the configuration cannot be followed"),
        ("decoder.num_codebooks", 10**9, "the configuration says 1000000000 codebooks, the weights hold 4"),
        ("decoder.num_codebooks", 2, "the configuration says 2 codebooks, the weights hold 4"),
        ("decoder.hidden_size", 10**8, "the configuration says"),
        ("decoder.hidden_size", -32, "dim is -32: a language model needs 1 at least"),
        ("decoder.num_attention_heads", 0, "num_heads is 0: a language model needs 1 at least"),
        ("decoder.num_attention_heads", -4, "num_heads is -4: a language model needs 1 at least"),
        ("decoder.vocab_size", 10**9, "the configuration says"),
        ("decoder.ffn_dim", 10**12, "the configuration says"),
        ("text_encoder.num_layers", 10**9, "the configuration says 1000000000 layers, the weights hold 2"),
        ("text_encoder.d_model", 10**9, "the configuration says"),
        ("text_encoder.vocab_size", 10**12, "the configuration says"),
        ("audio_encoder.codebook_size", 2**40, "the configuration says"),
        ("audio_encoder.hidden_size", 10**8, "the configuration says"),
        ("audio_encoder.num_filters", 10**7, "the configuration says"),
        ("audio_encoder.target_bandwidths", [1e12], r"the configuration says \d+ quantisers, the weights hold 4"),
        ("audio_encoder.num_lstm_layers", 10**9, "the configuration says 1000000000 LSTM layers, the weights hold 2"),
        ("audio_encoder.num_residual_layers", 10**9, "num_residual_layers is 1000000000"),
        ("audio_encoder.upsampling_ratios", [0, 5, 4, 4], "the configuration cannot be followed"),
        ("musicgen.max_duration", 1e12, r"a context of 1e\+12 s"),
        ("musicgen.max_duration", -1, "a context of -1 s"),
        ("musicgen.text_length", 10**9, "texts of 1000000000 vectors"),
        ("musicgen.pattern", {"kind": "delay", "num_codebooks": 4, "delays": [0, 1, 2, 10**9]}, "the pattern's delays"),
        ("musicgen.pattern", {"kind": "delay", "codebooks": 4}, "the configuration cannot be followed"),
        ("musicgen", 3, "the section 'musicgen' is 3"),
    ],
)
def test_numbers_are_compared_with_the_tensors_before_anything_is_built(
    path: str, value: Any, message: str, copy: Path
) -> None:
    config = json.loads((copy / "config.json").read_text())
    _set(config, path, value)
    (copy / "config.json").write_text(json.dumps(config))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=message) as caught:
        musicgen.load(copy)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name",
    [
        "decoder.model.decoder.layers.1.fc1.weight",
        "text_encoder.encoder.final_layer_norm.weight",
        "audio_encoder.decoder.layers.1.lstm.weight_hh_l0",
        "enc_to_dec_proj.bias",
    ],
)
def test_weights_that_are_no_numbers_are_named(name: str, value: float, copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    tensors[name].view(-1)[-1] = value
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(CheckpointError, match="holds NaN or infinite values"):
        musicgen.load(copy)


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
        with pytest.raises(InputError, match=f"the device '{name}' is not available here"):
            pick_device(name)


@pytest.mark.parametrize("entry", catalog.PUBLISHED, ids=lambda entry: entry.name)
def test_the_catalogues_sizes_are_the_models(entry: catalog.Entry) -> None:
    """Counted on transformers' own classes at the published shapes, without memory for the weights."""
    from transformers import (
        EncodecConfig,
        EncodecModel,
        HubertConfig,
        HubertModel,
        MusicgenDecoderConfig,
        MusicgenForCausalLM,
        MusicgenMelodyDecoderConfig,
        MusicgenMelodyForCausalLM,
        T5Config,
        T5EncoderModel,
    )

    width, layers, rate = (1024, 24, 16_000) if "audio" in entry.name else (768, 12, 32_000)
    shape = {
        "hidden_size": entry.dim, "num_hidden_layers": entry.num_layers, "num_attention_heads": entry.num_heads,
        "ffn_dim": 4 * entry.dim, "num_codebooks": entry.num_codebooks,
    }  # fmt: skip
    with torch.device("meta"):
        decoder_only = entry.melody or entry.style  # without cross-attention
        if decoder_only:
            decoder = MusicgenMelodyForCausalLM(MusicgenMelodyDecoderConfig(**shape))
        else:
            decoder = MusicgenForCausalLM(MusicgenDecoderConfig(**shape))
        t5 = T5EncoderModel(T5Config(d_model=width, d_ff=4 * width, num_layers=layers, num_heads=width // 64, d_kv=64))
        encodec = EncodecModel(
            EncodecConfig(
                target_bandwidths=[2.2], sampling_rate=rate, num_filters=64, upsampling_ratios=[8, 5, 4, rate // 8000],
                codebook_size=2048, use_causal_conv=False, use_conv_shortcut=False,
            )
        )  # fmt: skip
    projections = (width + 1) * entry.dim + (((12 if entry.melody else 512) + 1) * entry.dim if decoder_only else 0)
    trained = sum(p.numel() for name, p in decoder.named_parameters() if "embed_positions" not in name)
    assert entry.lm_parameters == trained + projections
    others = sum(p.numel() for p in t5.parameters()) + sum(p.numel() for p in encodec.parameters())
    if entry.style:
        with torch.device("meta"):
            layer = torch.nn.TransformerEncoderLayer(512, 8, 2048)
            networks = [HubertModel(HubertConfig()), torch.nn.Linear(768, 512), *[layer] * 8]
        others += sum(p.numel() for network in networks for p in network.parameters())
    assert entry.download_bytes == pytest.approx(4 * (entry.lm_parameters + others), rel=0.005)


@pytest.mark.parametrize(
    "wrap", ["_orig_mod.{}", "module.{}", "module._orig_mod.{}", "base_model.model.{}", "model.{}", "decoder"]
)
def test_weights_saved_from_a_wrapped_module_load(wrap: str, folder: Path, tmp_path: Path) -> None:
    """As `torch.compile`, `DistributedDataParallel`, PEFT and Lightning name them, of the whole or of a part."""
    shutil.copytree(folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    named = {
        wrap.format(name) if "{}" in wrap else name.replace("decoder.model.", "decoder._orig_mod.model."): tensor
        for name, tensor in weights.items()
    }
    assert named.keys() != weights.keys()
    save_file(named, tmp_path / "model" / "model.safetensors")
    ours, theirs = musicgen.load(tmp_path / "model").state_dict(), musicgen.load(folder).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("form", ["model.safetensors", "pytorch_model.bin"])
def test_placeholders_of_a_sharded_training_are_named(form: str, copy: Path) -> None:
    state = load_file(copy / "model.safetensors")
    state["decoder.lm_heads.3.weight"] = torch.zeros(0)
    (copy / "model.safetensors").unlink()
    (save_file if form.endswith("safetensors") else torch.save)(state, copy / form)
    with pytest.raises(CheckpointError, match=rf"{form}: 'decoder\.lm_heads\.3\.weight' is empty: .*weights gathered$"):
        musicgen.load(copy)


def test_adapters_that_are_not_merged_are_named(copy: Path) -> None:
    """A PEFT model's own state, saved as if it were the model."""
    from peft import LoraConfig, get_peft_model
    from transformers import MusicgenForConditionalGeneration

    model = get_peft_model(
        MusicgenForConditionalGeneration.from_pretrained(copy), LoraConfig(target_modules=["q_proj"])
    )
    for kept in ("base_layer", "lora_A"):
        state = {name: value for name, value in model.state_dict().items() if "lora_" not in name or kept in name}
        save_file({name: value.clone() for name, value in state.items()}, copy / "model.safetensors")
        with pytest.raises(CheckpointError, match=r"with adapters that are not merged into it .*merge_and_unload"):
            musicgen.load(copy)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("checkpoint.th", r"a checkpoint of a training: .*\(audiocraft\.utils\.export\)"),
        ("last.ckpt", "a checkpoint of a training: export the model with the program that trained it"),
        ("model.gguf", r"weights in llama\.cpp's format"),
        ("model.onnx", "a graph for ONNX Runtime"),
        ("musicgen-stereo-melody.pt", r"weights without a config\.json"),
        ("model.safetensors", r"weights without a config\.json"),
    ],
)
def test_weights_in_other_forms_are_named(name: str, kind: str, tmp_path: Path, folder: Path) -> None:
    (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match=rf"no MusicGen model: .*\({name} is {kind}"):
        musicgen.load(tmp_path)
    with pytest.raises(
        CheckpointError, match=rf"{name}: a file, and a model is a folder .*\({name} is {kind}"
    ) as caught:
        musicgen.load(tmp_path / name)
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: a file of a model: load its folder, \S+model\d*$"):
        musicgen.load(folder / "model.safetensors")
    if name in ("model.gguf", "model.onnx"):
        shutil.copy(folder / "config.json", tmp_path)
        with pytest.raises(CheckpointError, match=rf"model\.safetensors: missing: {name} is {kind}"):
            musicgen.load(tmp_path)


def test_a_model_in_a_subfolder_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "run" / "model")
    (tmp_path / "run" / "history.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"no MusicGen model.*There is one in \S+/run/model: load that folder"):
        musicgen.load(tmp_path / "run")
