"""Models by hub name, downloaded by the real client from a hub on this machine.

`musicgen.load` runs in a process of its own, because the hub's address is read when huggingface_hub is imported."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import MusicgenForConditionalGeneration

import musicgen
from tests import machine, standins
from tests.conftest import GOLDEN, TEXTS
from tests.hub_server import COMMIT, Fault, HubServer

GREEDY = musicgen.GenerationOptions(do_sample=False)
CHUNK = 10 * 2**20
"""Bytes that the client takes at once: what is shorter begins anew after a broken connection."""

PROGRAM = """
import json, resource, signal, sys, warnings
import musicgen
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
greedy = musicgen.GenerationOptions(do_sample=False)
print("ready", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    limit = request.get("limit", resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        codes = musicgen.load(request["name"], "cpu").generate_codes([request["text"]], 0.2, options=greedy)
        answer = {"codes": codes.tolist()}
    except musicgen.CheckpointError as error:
        answer = {"error": str(error)}
    except Exception as error:
        answer = {"traceback": repr(error)}
    print(json.dumps(answer), flush=True)
"""


class Client:
    """A process that loads models by name, with a terminal for its progress bars."""

    def __init__(self, server: HubServer, home: Path) -> None:
        self.cache = home / "hub"
        try:
            ours, theirs = pty.openpty()
        except OSError as error:
            machine.lacks(f"there are no pseudo-terminals ({error}): mount /dev/pts")
        termios.tcsetwinsize(theirs, (24, 120))
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=theirs, text=True,
            env=server.environment(home),
        )  # fmt: skip
        os.close(theirs)
        self._terminal = ours
        self._screen = b""
        threading.Thread(target=self._watch, daemon=True).start()
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def _watch(self) -> None:
        try:
            while part := os.read(self._terminal, 65_536):
                self._screen += part
        except OSError:
            pass  # Linux ends a terminal so

    def ask(self, name: str, **more: object) -> dict[str, object]:
        self._screen = b""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"name": name, "text": TEXTS[0], **more}), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def codes(self, name: str) -> torch.Tensor:
        answer = self.ask(name)
        assert "codes" in answer, answer
        return torch.tensor(answer["codes"])

    def error(self, name: str, **more: object) -> str:
        """The message, which is one line."""
        answer = self.ask(name, **more)
        assert "error" in answer, answer
        message = str(answer["error"])
        assert "\n" not in message
        return message

    def screen(self) -> str:
        time.sleep(0.2)  # what was written last is still on its way
        return self._screen.decode(errors="replace")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)
        os.close(self._terminal)


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with HubServer() as server:
        server.publish("google-t5/t5-base", GOLDEN / "t5_tiny")
        server.renamed["t5-base"] = "google-t5/t5-base"
        yield server


@pytest.fixture(scope="module")
def client(server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(server, tmp_path_factory.mktemp("home"))
    yield client
    client.close()


@pytest.fixture(autouse=True)
def _fresh(server: HubServer) -> None:
    server.faults.clear()
    server.served.clear()
    server.ranges.clear()
    server.requests.clear()
    server.down = 0


@pytest.fixture(scope="module")
def model() -> MusicgenForConditionalGeneration:
    return standins.transformers_model()


@pytest.fixture(scope="module")
def folder(model: MusicgenForConditionalGeneration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standins.write(model, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def expected(folder: Path) -> torch.Tensor:
    return musicgen.load(folder, "cpu").generate_codes([TEXTS[0]], 0.2, options=GREEDY)


def pickled(folder: Path, out: Path, shards: int) -> Path:
    """The same model with its weights in PyTorch's own files, as repositories had them before safetensors."""
    shutil.copytree(folder, out)
    tensors = load_file(out / "model.safetensors")
    (out / "model.safetensors").unlink()
    if shards == 1:
        torch.save(tensors, out / "pytorch_model.bin")
        return out
    names = sorted(tensors)
    where = {name: f"pytorch_model-{i % shards + 1:05d}-of-{shards:05d}.bin" for i, name in enumerate(names)}
    for file in set(where.values()):
        torch.save({name: tensors[name] for name in names if where[name] == file}, out / file)
    index = {"metadata": {}, "weight_map": where}
    (out / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return out


def test_a_model_is_fetched_with_progress_and_only_once(
    server: HubServer, client: Client, folder: Path, expected: torch.Tensor, tmp_path: Path
) -> None:
    both = Path(shutil.copytree(folder, tmp_path / "both"))
    for unneeded in (
        "pytorch_model.bin",
        "state_dict.bin",
        "compression_state_dict.bin",
        "flax_model.msgpack",
        "a.wav",
    ):
        (both / unneeded).write_bytes(b"not to be fetched")
    (both / "sub").mkdir()
    (both / "sub" / "model.safetensors").write_bytes(b"not to be fetched")
    server.publish("one/model", both)
    assert torch.equal(client.codes("one/model"), expected)
    assert "%|" in client.screen()
    assert "Download" in client.screen()
    fetched = {name for name in server.served if name}
    assert fetched == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    server.served.clear()
    assert torch.equal(client.codes("one/model"), expected)
    assert not [name for name in server.served if name]


def test_both_layouts_reach_the_same_model(server: HubServer, client: Client, audiocraft_folder) -> None:
    """audiocraft's files name their text encoder, which comes from the hub too, there under another name by now."""
    theirs = audiocraft_folder("text")
    ours = musicgen.load(theirs, "cpu").generate_codes([TEXTS[0]], 0.2, options=GREEDY)
    server.publish("one/audiocraft", theirs)
    server.repositories["one/audiocraft"].files["README.md"] = b"not to be fetched"
    # A configuration alone, which such repositories have so that the hub counts their downloads.
    server.repositories["one/audiocraft"].files["config.json"] = b"{}"
    assert torch.equal(client.codes("one/audiocraft"), ours)
    fetched = {name for name in server.served if name}
    assert fetched == {
        "state_dict.bin", "compression_state_dict.bin",
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip


@pytest.mark.parametrize("form", ["safetensors", "pickle", "pickles"])
def test_other_forms_of_weights(
    form: str, server: HubServer, client: Client, model, folder: Path, expected: torch.Tensor, tmp_path: Path
) -> None:
    if form == "safetensors":
        out = Path(shutil.copytree(folder, tmp_path / form))
        (out / "model.safetensors").unlink()
        model.save_pretrained(out, max_shard_size="60KB")
        assert len(list(out.glob("model-*-of-*.safetensors"))) > 1
    else:
        out = pickled(folder, tmp_path / form, shards=1 if form == "pickle" else 3)
    assert torch.equal(musicgen.load(out, "cpu").generate_codes([TEXTS[0]], 0.2, options=GREEDY), expected)
    server.publish(f"one/{form}", out)
    assert torch.equal(client.codes(f"one/{form}"), expected)


@pytest.fixture(scope="module")
def large(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with a table that older files have and nothing reads: large enough to be cut in the middle."""
    out = Path(shutil.copytree(folder, tmp_path_factory.mktemp("large") / "model"))
    table = {"decoder.model.decoder.embed_positions.weights": torch.zeros(2 * CHUNK // 4 + 1000)}
    save_file(load_file(out / "model.safetensors") | table, out / "model.safetensors", {"format": "pt"})
    return out


def test_a_broken_connection_resumes_where_it_broke(
    server: HubServer, client: Client, large: Path, expected: torch.Tensor
) -> None:
    server.publish("one/broken", large)
    size = (large / "model.safetensors").stat().st_size
    cut = CHUNK + 1_000_000
    server.faults["model.safetensors"] = [Fault(cut=cut)]
    assert torch.equal(client.codes("one/broken"), expected)
    assert server.ranges == [("model.safetensors", CHUNK)]
    assert server.served["model.safetensors"] == cut + size - CHUNK
    assert server.served["config.json"] == (large / "config.json").stat().st_size


def test_a_reset_connection_is_tried_again(
    server: HubServer, client: Client, large: Path, expected: torch.Tensor
) -> None:
    server.publish("one/reset", large)
    server.faults["model.safetensors"] = [Fault(cut=CHUNK + 1_000_000, reset=True)]
    assert torch.equal(client.codes("one/reset"), expected)


def test_a_hub_that_stumbles_is_asked_again(
    server: HubServer, client: Client, folder: Path, expected: torch.Tensor
) -> None:
    server.publish("one/stumbles", folder)
    server.faults["model.safetensors"] = [Fault(status=503)]
    assert torch.equal(client.codes("one/stumbles"), expected)
    assert server.served["tokenizer.json"] == (folder / "tokenizer.json").stat().st_size  # finished files are kept
    # It is down: what the cache holds is used, and what it does not hold is said to be unreachable.
    server.down = 1000
    assert torch.equal(client.codes("one/stumbles"), expected)
    server.publish("one/down", folder)
    assert "the hub is overloaded or down (HTTP 503 for 'one/down'): try again later" in client.error("one/down")


def test_a_damaged_file_is_named_and_fetched_anew(
    server: HubServer, client: Client, folder: Path, expected: torch.Tensor
) -> None:
    server.publish("one/damaged", folder)
    server.faults["model.safetensors"] = [Fault(flip=(folder / "model.safetensors").stat().st_size - 100)]
    message = client.error("one/damaged")
    assert message.startswith("'one/damaged': model.safetensors was damaged on the way")
    assert message.endswith("it has been deleted, so load the model again")
    server.served.clear()
    assert torch.equal(client.codes("one/damaged"), expected)
    assert {name for name in server.served if name} == {"model.safetensors"}


def test_a_file_that_the_disk_damaged_is_named_by_its_place(
    server: HubServer, client: Client, folder: Path, expected: torch.Tensor
) -> None:
    """In the cache a name is a link: without what it links to, the hub's client would link to the damaged file again."""
    server.publish("one/rotten", folder)
    assert torch.equal(client.codes("one/rotten"), expected)
    link = client.cache / "models--one--rotten" / "snapshots" / COMMIT / "model.safetensors"
    blob = link.resolve()
    blob.write_bytes(blob.read_bytes()[:-1000])
    message = client.error("one/rotten")
    assert message.startswith(f"{link}: damaged (")
    assert message.endswith(f"delete {blob} and load the model again")
    blob.unlink()
    assert torch.equal(client.codes("one/rotten"), expected)


@pytest.mark.parametrize(
    ("name", "closed", "message"),
    [
        ("facebook/musicgen-smal", None, "the hub has no model .* did you mean 'facebook/musicgen-small'"),
        ("one/gone", (404, "RepoNotFound"), "the hub has no model 'one/gone' that is open to you"),
        (
            "one/gated",
            (401, "GatedRepo"),
            "behind terms: accept them at http.*/one/gated, then log in with 'hf auth login'",
        ),
        ("one/waiting", (403, "GatedRepo"), "behind terms: accept them at http.*/one/waiting"),
        ("one/forbidden", (403, ""), r"the hub refused 'one/forbidden' \(HTTP 403\)"),
    ],
)
def test_closed_repositories(
    name: str, closed: tuple[int, str] | None, message: str, server: HubServer, client: Client, folder: Path
) -> None:
    if closed is not None:
        repository = server.publish(name, folder)
        if closed[0] == 404:
            repository.hidden = closed
        else:
            repository.closed = closed
    assert re.search(message, client.error(name))


def test_repositories_without_a_model(server: HubServer, client: Client, folder: Path) -> None:
    server.publish("one/else", folder).files.clear()
    server.repositories["one/else"].files["README.md"] = b"nothing"
    assert client.error("one/else").startswith("'one/else': no MusicGen model")
    server.publish("one/adapter", folder).files.clear()
    server.repositories["one/adapter"].files |= {"adapter_config.json": b"{}", "adapter_model.safetensors": b""}
    assert "a LoRA adapter (PEFT), not a model: load its base model" in client.error("one/adapter")


def test_no_space(server: HubServer, client: Client, folder: Path, expected: torch.Tensor) -> None:
    server.publish("one/huge", folder).sizes["model.safetensors"] = 10**17
    message = client.error("one/huge")
    assert message.startswith("'one/huge' needs 100000000.00 GB more in the cache")
    assert "set HF_HOME" in message
    assert not [name for name in server.served if name]
    # A disk that fills up meanwhile.
    server.publish("one/full", folder)
    assert "cannot store 'one/full' in " in client.error("one/full", limit=20_000)
    leftovers = [path.name for path in (client.cache / "models--one--full").rglob("*.incomplete")]
    assert leftovers == []
    assert torch.equal(client.codes("one/full"), expected)
