"""The HTTP API, by a real server: what it answers, to whom, and that nothing that it accepted is lost."""

import errno
import json
import os
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from prometheus_client.parser import text_string_to_metric_families

import musicgen
from musicgen import audio, provenance
from musicgen.errors import InputError
from musicgen.options import GenerationOptions
from musicgen.serving import connections
from musicgen.serving.api_schema import GenerationBody, body_of
from musicgen.serving.limits import Limits
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import ClipRequest
from musicgen.serving.web import keys
from musicgen.serving.web.file_routes import safe_name
from musicgen.timeline import TimelineEntry
from tests import endless_headers, openapi, slow_clients
from tests.conftest import GOLDEN
from tests.serving.api_server import Program, api, asked, ended, wait_until

TUNE = GOLDEN / "chroma" / "melody_a.wav"
KEYS = {"studio": "a" * 16, "label": "b" * 16}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    with api(tmp_path_factory.mktemp("api")) as (url, generations):
        yield url, generations


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server[0], timeout=60) as one:
        yield one


def test_a_clip_is_the_librarys(client: httpx.Client, tmp_path: Path) -> None:
    answer = client.post("/v1/generations", json={"prompt": "lofi, slow", "duration": 2.0, "seed": 7})
    assert answer.status_code == 202
    state = answer.json()
    assert answer.headers["location"] == f"/v1/generations/{state['id']}"
    assert state["seed"] == 7
    raw = client.get(state["stream"], params={"format": "pcm_f32le"}).content
    expected = musicgen.load("mini", "cpu").generate("lofi, slow", 2.0, seed=7)[0].numpy()
    np.testing.assert_allclose(np.frombuffer(raw, "<f4"), expected[0], atol=1e-5)
    state = ended(client, state["id"])
    assert (state["status"], state["precision"], state["error"]) == ("done", "float32", None)
    (clip,) = state["clips"]
    assert (clip["seconds"], clip["sample_rate"], clip["channels"], clip["complete"]) == (2.0, 32_000, 1, True)
    for name in ("flac", "wav", "mp3", "ogg"):
        file = tmp_path / f"clip.{name}"
        file.write_bytes(client.get(clip["audio"], params={"format": name}).raise_for_status().content)
        sound = audio.read(file)
        assert sound.rate == 32_000
        assert sound.duration == pytest.approx(2.0, abs=0.06)
        assert audio.loudness(sound) == pytest.approx(clip["loudness"], abs=0.5)
        assert provenance.of_tags(audio.read_tags(file))


def test_the_sound_is_streamed_while_it_is_made(client: httpx.Client, tmp_path: Path) -> None:
    identifier = asked(client, prompt="drums", duration=30.0, seed=1)
    file = tmp_path / "live.wav"
    arrivals = []
    with client.stream("GET", f"/v1/generations/{identifier}/stream") as answer, file.open("wb") as target:
        assert answer.headers["content-type"] == "audio/wav"
        for part in answer.iter_bytes():
            arrivals.append((time.monotonic(), target.write(part)))
            if len(arrivals) == 3:
                assert client.get(f"/v1/generations/{identifier}").json()["status"] == "running"
    samples, rate = soundfile.read(file)
    assert (rate, len(samples)) == (32_000, 30 * 32_000)
    assert arrivals[-1][0] - arrivals[0][0] > 0.3
    # The end of the stream can be heard later, too.
    again = client.get(f"/v1/generations/{identifier}/stream").content
    assert again == file.read_bytes()


def events(answer: httpx.Response) -> list[tuple[str, int | None, dict]]:
    found = []
    for block in answer.text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            number = int(fields["id"]) if "id" in fields else None
            found.append((fields["event"], number, json.loads(fields["data"])))
    return found


def test_events_tell_all_and_go_on_where_a_client_was(client: httpx.Client) -> None:
    identifier = asked(client, prompt="drums", duration=4.0, seed=1, variations=2)
    path = f"/v1/generations/{identifier}/events"
    all_of_them = events(client.get(path, params={"audio": "pcm_s16le"}))
    names = [name for name, _, _ in all_of_them]
    assert names[-1] == "done"
    assert names.count("clip") == 2
    assert {"progress", "audio"} <= set(names)
    numbers = [number for _, number, _ in all_of_them if number is not None]
    assert numbers == list(range(len(numbers)))
    fractions = [data["fraction"] for name, _, data in all_of_them if name == "progress"]
    assert fractions == sorted(fractions)
    rest = events(client.get(path, params={"audio": "pcm_s16le"}, headers={"last-event-id": "1"}))
    kept = [(name, number, data) for name, number, data in all_of_them if number is not None and number > 1]
    assert [one for one in rest if one[1] is not None] == kept


def test_all_fields_of_a_request_arrive(client: httpx.Client) -> None:
    """Body -> request -> body loses nothing, and a file of settings tells that the request was followed."""
    request = ClipRequest(
        "lofi", "mini-melody", 3.0, 5, 2, GenerationOptions(temperature=0.9, top_k=100, negative_prompt="drums"),
        frames=(0, 4, 7), timeline=(TimelineEntry(1.0, "louder"),), precision="float32", loop=True, loop_cut="end",
        limiter="none", decoder="codec",
    )  # fmt: skip
    body = GenerationBody.model_validate_json(body_of(request, {}).model_dump_json())
    assert body.request(ModelCatalog(), {}) == request
    file = client.post("/v1/files", params={"name": "a tune.wav"}, content=TUNE.read_bytes())
    assert file.status_code == 201
    assert file.json()["name"] == "a_tune.wav"
    assert file.json()["seconds"] == pytest.approx(audio.read(TUNE).duration, abs=0.01)
    identifier = asked(
        client, prompt="piano", model="mini-melody", duration=2.0, seed=3, melody=file.json()["id"],
        options={"temperature": 0.8}, timeline=[{"start": 1.0, "prompt": "drums"}],
    )  # fmt: skip
    state = ended(client, identifier)
    assert state["status"] == "done"
    content = client.get(state["clips"][0]["audio"]).content
    assert b'"temperature": 0.8' in content
    chords = asked(client, model="mini-melody", duration=2.0, chords="C G", bpm=90, metre="3/4")
    assert ended(client, chords)["status"] == "done"
    part = asked(
        client, prompt="x", duration=2.0, continue_from=file.json()["id"], span=[0.5, 1.0], model="mini-melody"
    )
    assert ended(client, part)["status"] == "done"
    assert client.delete(f"/v1/files/{file.json()['id']}").status_code == 204
    assert client.get(f"/v1/files/{file.json()['id']}").status_code == 404


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"promt": "x"}, "promt: Extra inputs are not permitted"),
        ({"options": {"temperature": -1}}, "temperature is -1: it must lie between"),
        ({"duration": 1e9}, "duration is 1e+09 s: it must lie between 0.5 and 300 s"),
        ({"model": "minni"}, "did you mean 'mini'"),
        ({"chords": "H7#"}, "the chord 'H7#' cannot be read"),
        ({"bpm": 90}, "bpm without chords"),
        ({"conditions": {"melody": "/etc/passwd"}}, "has a field of its own"),
        ({"melody": "/etc/passwd"}, "melody: String should match pattern"),
        ({"seed": 1.5}, "seed: Input should be a valid integer"),
        ({"prompt": "x" * 3000}, "3000 characters: 2000 at most"),
        ({"adapters": {"jazz": 1}}, "unknown LoRA adapter 'jazz'"),
        ({"variations": 99}, "variations is 99"),
        ([], "the body is no JSON object: send one"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict | list) else "",
)
def test_what_cannot_be_read_is_one_line(client: httpx.Client, body: dict, message: str) -> None:
    answer = client.post("/v1/generations", json=body)
    assert answer.status_code == 422
    text = answer.json()["error"]["message"]
    assert message in text
    assert len(text.splitlines()) == 1


def test_bad_files_are_one_line_and_leave_nothing(client: httpx.Client, server) -> None:
    store = server[1].service.clip_store
    before = set(store.clips_folder.glob("*"))
    for name, content in (("x.wav", b"no sound"), ("x.mid", b"MThd"), ("x.flac", b"")):
        answer = client.post("/v1/files", params={"name": name}, content=content)
        assert answer.status_code == 422
        assert str(store.folder) not in answer.text
        assert len(answer.json()["error"]["message"].splitlines()) == 1
    assert client.post("/v1/files", params={"name": "x"}, content=b"0" * 51_000_000).status_code == 413
    assert client.post("/v1/generations", content=b"[" * 2_000_000).status_code == 413
    chunked = (b"[" * 50_000 for _ in range(40))
    assert (
        client.post("/v1/generations", content=chunked, headers={"content-type": "application/json"}).status_code == 413
    )
    for content in (b"{", b"[" * 100_000, b'{"duration": ' + b"1" * 6000 + b"}"):
        answer = client.post("/v1/generations", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 422
        assert answer.json()["error"]["code"] == "invalid"
    assert set(store.clips_folder.glob("*")) == before
    assert [safe_name(name) for name in ("../../x.wav", "record.json", "…", "a b.mp3", ".ssh")] == [
        "x.wav", "record_.json", "file", "a_b.mp3", "ssh"
    ]  # fmt: skip


def test_a_prompt_of_any_characters_is_stored(client: httpx.Client) -> None:
    """Half a character of UTF-16 cannot be stored as UTF-8."""
    content = b'{"prompt": "lofi \\ud800 slow", "duration": 1}'
    answer = client.post("/v1/generations", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 202
    assert ended(client, answer.json()["id"])["status"] == "done"


def test_what_is_late_is_told(client: httpx.Client, server) -> None:
    """A minute after the end: the finished file's sound, the clips, and numbers of events that no client has."""
    identifier = asked(client, prompt="x", duration=1.0, seed=1)
    ended(client, identifier)
    path = f"/v1/generations/{identifier}"
    odd = client.get(f"{path}/events", headers={"last-event-id": "9" * 5000})
    assert odd.status_code == 200
    active = server[1].active(identifier)
    assert active is not None
    active.ended -= 3600
    wav = client.get(f"{path}/stream").content
    assert wav[:4] == b"RIFF"
    assert client.get(f"{path}/stream", params={"format": "pcm_s16le"}).content in wav
    assert client.get(f"{path}/stream", params={"format": "pcm_f32le"}).status_code == 410
    assert [name for name, _, _ in events(client.get(f"{path}/events"))] == ["clip", "done"]
    assert client.head(f"{path}/audio").status_code == 200
    assert client.head("/health").status_code == 200


def test_records_that_lie_reach_no_other_files(client: httpx.Client, server, tmp_path: Path) -> None:
    store = server[1].service.clip_store
    secret = tmp_path / "secret" / "secret.flac"
    secret.parent.mkdir()
    secret.write_bytes(b"secret")
    identifier = asked(client, prompt="x", duration=1.0)
    ended(client, identifier)
    active = server[1].active(identifier)
    active.ended -= 3600
    server[1].active(identifier)
    record = store.clips_folder / identifier / "record.json"
    values = json.loads(record.read_text())
    for path in (
        str(secret),
        os.path.relpath(secret, store.folder),
        "clips/../../x",
        f"clips/{identifier}/../{identifier}/record.json",
    ):
        values["clips"][0]["path"] = path
        record.write_text(json.dumps(values))
        assert client.get(f"/v1/generations/{identifier}/audio").status_code == 404
    values["clips"][0]["path"] = str(secret)
    record.write_text(json.dumps(values))
    assert client.delete(f"/v1/generations/{identifier}").status_code == 204
    assert secret.read_bytes() == b"secret"


def test_a_record_that_cannot_be_read_stops_no_server(tmp_path: Path) -> None:
    with api(tmp_path) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        identifier = asked(client, prompt="x", duration=1.0)
        ended(client, identifier)
    record = tmp_path / "store" / "clips" / identifier / "record.json"
    values = json.loads(record.read_text())
    values.update(status="queued", server="0" * 32)
    values["body"]["prompt"] = "\ud800"
    record.write_text(json.dumps(values))
    with api(tmp_path) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        assert client.get("/health").status_code == 200


def test_clips_are_deleted_by_many_at_once(client: httpx.Client) -> None:
    identifier = asked(client, prompt="x", duration=1.0)
    ended(client, identifier)
    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(lambda _: client.delete(f"/v1/generations/{identifier}").status_code, range(32)))
    assert set(codes) <= {204, 404}
    assert 204 in codes


def test_a_damaged_clip_is_the_servers_fault(client: httpx.Client, server) -> None:
    identifier = asked(client, prompt="x", duration=1.0)
    ended(client, identifier)
    path = server[1].sound("anybody", identifier, 0)
    path.write_bytes(path.read_bytes()[:100])
    answer = client.get(f"/v1/generations/{identifier}/audio", params={"format": "mp3"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "damaged")
    assert str(path.parent) not in answer.text


def test_web_pages_of_other_origins_change_nothing(client: httpx.Client) -> None:
    for origin, code in (("http://evil.example", 403), ("null", 403), (str(client.base_url).rstrip("/"), 201)):
        answer = client.post(
            "/v1/files", params={"name": "x.wav"}, content=TUNE.read_bytes(), headers={"origin": origin}
        )
        assert answer.status_code == code


def test_only_its_own_names_are_served(client: httpx.Client) -> None:
    """A refusal is the API's, before the key is asked for."""
    port = client.base_url.port
    for host in (
        f"127.0.0.1:{port}",
        "LOCALHOST",
        f"localhost:{port}",
        f"[::1]:{port}",
        "192.0.2.7",
        "[2001:db8::1]:80",
    ):
        assert client.get("/health", headers={"host": host}).status_code == 200, host
    for host in ("evil.example", f"127.0.0.1.evil.example:{port}", "localhost.evil.example", "", "a b", "["):
        answer = client.get("/v1/models", headers={"host": host})
        assert answer.status_code == 421, host
        assert answer.json()["error"] == {
            "code": "host", "message": "this host name is not served here: the operator can add it with --hosts"
        }  # fmt: skip


def test_long_midi_files_are_refused_before_they_are_parsed(client: httpx.Client) -> None:
    track = b"\x00\x90\x3c\x40" * 400_000 + b"\x00\xff\x2f\x00"
    song = b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x01\xe0MTrk" + len(track).to_bytes(4, "big") + track
    begun = time.monotonic()
    answer = client.post("/v1/files", params={"name": "b.mid"}, content=song)
    assert answer.status_code == 422
    assert "bytes: a MIDI file may have 256000" in answer.json()["error"]["message"]
    assert time.monotonic() - begun < 3


def test_one_key_takes_half_of_the_disk_at_most(tmp_path: Path) -> None:
    limits = Limits(per_visitor=36, disk_gb=0.004, upload_mb=1)
    with api(tmp_path, keys=KEYS, limits=limits) as (url, _):
        studio, label = (
            httpx.Client(base_url=url, timeout=60, headers={"authorization": f"Bearer {key}"}) for key in KEYS.values()
        )
        sent = [
            studio.post("/v1/files", params={"name": "t.wav"}, content=TUNE.read_bytes()).status_code for _ in range(10)
        ]
        assert sent[0] == 201
        assert sent[-1] == 507
        assert label.post("/v1/files", params={"name": "t.wav"}, content=TUNE.read_bytes()).status_code == 201


def test_strangers_reach_nothing(tmp_path: Path) -> None:
    with api(tmp_path, keys=KEYS) as (url, _), httpx.Client(base_url=url, timeout=60) as nobody:
        studio, label = (
            httpx.Client(base_url=url, timeout=60, headers={"authorization": f"Bearer {key}"}) for key in KEYS.values()
        )
        file = studio.post("/v1/files", params={"name": "t.wav"}, content=TUNE.read_bytes()).json()["id"]
        identifier = asked(studio, prompt="x", duration=1.0)
        ended(studio, identifier)
        paths = [
            f"/v1/generations/{identifier}{rest}" for rest in ("", "/audio", "/stream", "/events")
        ] + [f"/v1/files/{file}"]  # fmt: skip
        for path in paths:
            assert studio.get(path).status_code == 200
            assert label.get(path).status_code == 404
            assert nobody.get(path).status_code == 401
        wrong = httpx.Client(base_url=url, headers={"authorization": "Bearer " + "c" * 16})
        for one in (nobody, wrong):
            answer = one.post("/v1/generations", json={})
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert one.get("/metrics").status_code == 401
            assert one.get("/v1/models").status_code == 401
            assert one.get("/health").status_code == 200
            assert one.post("/v1/generations", content=b"{").status_code == 401  # before the body is read
        stolen = label.post("/v1/generations", json={"model": "mini-melody", "melody": file})
        assert stolen.status_code == 404
        assert label.delete(f"/v1/generations/{identifier}").status_code == 404
        assert label.post(f"/v1/generations/{identifier}/stop").status_code == 404
        assert studio.get(paths[0]).status_code == 200
        assert studio.delete(f"/v1/generations/{identifier}").status_code == 204
        assert studio.get(paths[0]).status_code == 404


def test_keys_are_read_from_the_environment() -> None:
    assert not keys.read({})
    known = keys.read({keys.VARIABLE: f"studio:{'a' * 16}  label:{'b' * 20}"})
    assert known
    for text, message in (
        ("studio", "entry 1: it must be NAME:KEY"),
        ("studio:secret", "the key of studio has 6 characters: 16 at least"),
        (f"a:{'x' * 16} a:{'y' * 16}", "entry 2: the name a, or its key, is given twice"),
    ):
        with pytest.raises(InputError, match=re.escape(message)) as caught:
            keys.read({keys.VARIABLE: text})
        assert "secret" not in str(caught.value)


def test_generations_are_stopped_and_cancelled(client: httpx.Client, server) -> None:
    stopped = asked(client, prompt="x", duration=200.0, seed=1)
    stream = f"/v1/generations/{stopped}/stream"
    with client.stream("GET", stream, params={"format": "pcm_s16le"}) as answer:
        next(answer.iter_bytes())
        assert client.post(f"/v1/generations/{stopped}/stop").status_code == 200
    state = ended(client, stopped)
    assert state["status"] == "done"
    assert not state["clips"][0]["complete"]
    assert 0 < state["clips"][0]["seconds"] < 200
    cancelled = asked(client, prompt="x", duration=200.0, seed=1)
    wait_until(lambda: client.get(f"/v1/generations/{cancelled}").json()["status"] == "running")
    assert client.delete(f"/v1/generations/{cancelled}").status_code == 204
    assert client.get(f"/v1/generations/{cancelled}").status_code == 404
    assert len(server[1].service.job_queue) == 0


def test_a_full_queue_is_said_with_when_to_come_again(tmp_path: Path) -> None:
    limits = Limits(queue=2, per_visitor=36)
    with api(tmp_path, limits=limits, workers=1) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        accepted = [asked(client, prompt="x", duration=100.0)]
        wait_until(lambda: client.get(f"/v1/generations/{accepted[0]}").json()["status"] == "running")
        accepted += [asked(client, prompt="x", duration=100.0) for _ in range(2)]
        refused = client.post("/v1/generations", json={"prompt": "x"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
        assert refused.json()["error"]["code"] == "queue_full"
        positions = [client.get(f"/v1/generations/{one}").json()["position"] for one in accepted]
        assert positions == [0, 1, 2]
        assert client.delete(f"/v1/generations/{accepted[1]}").status_code == 204
        assert client.get(f"/v1/generations/{accepted[2]}").json()["position"] == 1
        for one in (accepted[0], accepted[2]):
            client.delete(f"/v1/generations/{one}")


def test_a_full_disk_loses_nothing_that_was_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither acknowledged nor stored; what was accepted before fails with a line of its own."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with api(tmp_path) as (url, generations), httpx.Client(base_url=url, timeout=60) as client:
        accepted = asked(client, prompt="x", duration=1.0)
        monkeypatch.setattr("musicgen.content_credentials.write", full)
        failed = asked(client, prompt="x", duration=1.0)
        state = ended(client, failed)
        assert state["status"] == "failed"
        assert (
            state["error"]["message"] == "the server cannot store the clip (No space left on device): try again later"
        )
        monkeypatch.setattr("os.fsync", full)
        before = set(generations.service.clip_store.clips_folder.glob("*/record.json"))
        for answer in (
            client.post("/v1/generations", json={"prompt": "x"}),
            client.post("/v1/files", params={"name": "x.wav"}, content=TUNE.read_bytes()),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (507, "3600"), answer.text
        assert set(generations.service.clip_store.clips_folder.glob("*/record.json")) == before
        monkeypatch.undo()
        assert ended(client, accepted)["status"] in ("done", "failed")
        assert ended(client, asked(client, prompt="x", duration=1.0))["status"] == "done"


def test_prometheus_reads_the_metrics(client: httpx.Client) -> None:
    identifier = asked(client, prompt="x", duration=2.0)
    ended(client, identifier)
    client.get(f"/v1/generations/{identifier}/events")  # the end has been noted
    answer = client.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    values = {sample.name: sample.value for family in families.values() for sample in family.samples}
    assert values["musicgen_time_to_first_audio_seconds_count"] >= 1
    assert values["musicgen_real_time_factor_sum"] > 0
    assert values["musicgen_audio_seconds_total"] >= 2
    assert values["musicgen_slots"] == 4
    assert values["process_resident_memory_bytes"] > 1e7
    assert {"musicgen_queue_length", "musicgen_replicas", "musicgen_model_loaded"} <= set(families)


def test_whatever_is_sent_is_answered(server) -> None:
    url, _ = server
    document = httpx.get(f"{url}/openapi.json").json()
    assert {"/v1/generations", "/v1/files", "/metrics", "/ready"} <= set(document["paths"])

    def check(case, answer) -> None:
        assert answer.status_code < 500, (case.formatted_path, answer.text)
        assert str(Path.cwd()) not in answer.text

    sent = sum(openapi.call(operation, url, 5, check) for operation in openapi.operations(document, []))
    assert sent > 20
    assert httpx.get(f"{url}/health").status_code == 200


def test_slow_readers_and_idle_connections_hold_nobody_up(server) -> None:
    slow_clients.need_many_files(4_000)
    url, generations = server
    port = int(url.rsplit(":", 1)[1])
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(1000)]
    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            identifier = asked(client, prompt="x", duration=60.0, seed=2)
            slow = socket.create_connection(("127.0.0.1", port))
            slow.sendall(f"GET /v1/generations/{identifier}/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            state = ended(client, identifier, 120)  # although nobody reads
            assert state["status"] == "done"
            begun = time.monotonic()
            assert client.get("/health").status_code == 200
            assert time.monotonic() - begun < 5
            active = generations.active(identifier)
            assert active is not None
            active.ended -= 3600  # a reader that never reads keeps no sound in memory
            generations.active(identifier)
            assert active.job.events() == []
            slow.close()
    finally:
        for one in idle:
            one.close()


def test_headers_without_end_are_refused(server) -> None:
    assert endless_headers.bytes_taken(server[0]) < 5_000_000  # buffers of the kernel included


def test_half_a_request_is_given_up(server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    with slow_clients.connections(server[0], 2, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-") as waiting:
        assert [one.recv(1) for one in waiting] == [b"", b""]


def test_a_killed_server_loses_nothing(tmp_path: Path) -> None:
    """What was accepted is made by the next server, with the same seed: the clip is the same."""
    state = tmp_path / "state"
    state.mkdir()
    with (
        Program("--state", str(state), "--workers", "1") as program,
        httpx.Client(base_url=program.url, timeout=60) as client,
    ):
        accepted = [asked(client, prompt="lofi", duration=duration) for duration in (60.0, 2.0, 2.0)]
        seeds = [client.get(f"/v1/generations/{one}").json()["seed"] for one in accepted]
        wait_until(lambda: client.get(f"/v1/generations/{accepted[0]}").json()["status"] == "running")
        program.end(signal.SIGKILL)
    with Program("--state", str(state)) as program, httpx.Client(base_url=program.url, timeout=60) as client:
        assert (
            "3 generations of a server that has ended are taken up" in "".join(program.lines)
            or wait_until(lambda: any("3 generations" in line for line in program.lines)) is None
        )
        states = [ended(client, one, 120) for one in accepted]
        assert [one["status"] for one in states] == ["done"] * 3
        assert [one["seed"] for one in states] == seeds
        raw = client.get(states[1]["clips"][0]["audio"], params={"format": "wav"}).content
        again = asked(client, prompt="lofi", duration=2.0, seed=seeds[1])
        assert (
            client.get(ended(client, again)["clips"][0]["audio"], params={"format": "wav"}).content[-100_000:]
            == raw[-100_000:]
        )
        # Another server with the same folder answers for them, and does not take up what this one makes.
        long = asked(client, prompt="lofi", duration=100.0)
        with Program("--state", str(state)) as other, httpx.Client(base_url=other.url, timeout=60) as second:
            assert not any("taken up" in line for line in other.lines)
            assert second.get(states[0]["clips"][0]["audio"]).status_code == 200
            assert second.get(f"/v1/generations/{long}").json()["status"] in ("queued", "running")
            for refused in (
                second.get(f"/v1/generations/{long}/events"), second.get(f"/v1/generations/{long}/stream"),
                second.delete(f"/v1/generations/{long}"), second.post(f"/v1/generations/{long}/stop"),
            ):  # fmt: skip
                assert (refused.status_code, refused.json()["error"]["code"]) == (409, "elsewhere")
        client.delete(f"/v1/generations/{long}")


def test_a_signal_lets_accepted_generations_end(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with (
        Program("--state", str(state), "--workers", "1") as program,
        httpx.Client(base_url=program.url, timeout=60) as client,
    ):
        running, waiting = (asked(client, prompt="lofi", duration=duration) for duration in (40.0, 2.0))
        wait_until(lambda: client.get(f"/v1/generations/{running}").json()["status"] == "running")
        with client.stream("GET", f"/v1/generations/{running}/stream", params={"format": "pcm_s16le"}) as answer:
            program.process.send_signal(signal.SIGTERM)
            wait_until(lambda: client.get("/ready").status_code == 503)
            refused = client.post("/v1/generations", json={"prompt": "x"})
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert len(answer.read()) == 40 * 32_000 * 2
        assert program.process.wait(60) == 0
    for identifier in (running, waiting):
        record = json.loads((state / "store" / "clips" / identifier / "record.json").read_text())
        assert record["status"] == "done"
        assert (state / "store" / record["clips"][0]["path"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "others reach the server then, and it has no keys"),
        (["--state", "/dev/null/x"], "--state /dev/null/x: no folder for the server"),
        (["--port", "99999"], "--port is 99999: it must be a port"),
        (["--cores", "2"], "--cores is for --replicas"),
        (["--replicas", "many"], "--replicas is 'many': it must be 'auto', a number such as 2, or a range such as 1:4"),
        (["--queue", "0"], "queue is 0: it must be above 0"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_wrong_flags_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    from musicgen.__main__ import main

    try:
        code = main(["serve", *arguments])
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_a_client_lists_its_own_generations_and_a_repeated_request_is_the_same_one(tmp_path: Path) -> None:
    with api(tmp_path, keys=KEYS) as (url, _):
        one, other = (
            httpx.Client(base_url=url, timeout=60, headers={"authorization": f"Bearer {key}"}) for key in KEYS.values()
        )
        with one, other:
            made = [asked(one, prompt=f"{number}", duration=0.5, seed=number) for number in range(5)]
            asked(other, prompt="of another client", duration=0.5)
            listed, before = [], None
            while True:
                part = one.get("/v1/generations", params={"limit": 2} | ({"before": before} if before else {})).json()
                listed += [state["id"] for state in part["generations"]]
                before = part["next"]
                if before is None:
                    break
            assert listed == made[::-1]
            assert one.get("/v1/generations", params={"before": "0" * 32}).json()["generations"] == []
            for identifier in made:
                ended(one, identifier)
            one.delete(f"/v1/generations/{made[2]}")
            states = one.get("/v1/generations").json()["generations"]
            assert [state["id"] for state in states] == [made[4], made[3], made[1], made[0]]
            # A request that is repeated with its key, at the same time too, is one generation.
            body, header = {"prompt": "again", "duration": 0.5}, {"idempotency-key": "a key"}
            with ThreadPoolExecutor(6) as pool:
                answers = list(
                    pool.map(lambda _: one.post("/v1/generations", json=body, headers=header).json(), range(6))
                )
            assert len({answer["id"] for answer in answers}) == 1
            assert other.post("/v1/generations", json=body, headers=header).json()["id"] != answers[0]["id"]
            refused = one.post("/v1/generations", json=body | {"duration": 1.0}, headers=header)
            assert (refused.status_code, refused.json()["error"]["code"]) == (422, "key_reused")
            wrong = one.put("/v1/models", json={})
            assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET")
