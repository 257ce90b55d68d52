"""The named endpoints, called through gradio_client and over plain HTTP."""

import json
import re
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

import musicgen
from demo.service import Service
from musicgen import audio, catalog
from musicgen.limiter import reach_loudness
from musicgen.serving.clip_store import FORMATS
from musicgen.settings import Settings
from tests.conftest import GOLDEN
from tests.demo.conftest import MELODY, SMALL, wait_until
from tests.encoding import encode

TUNE = GOLDEN / "chroma" / "melody_a.wav"


def ask(client: Client, **values):
    return client.predict(**({"prompt": "drums", "model": "mini", "duration": 1.0} | values), api_name="/generate")


def test_a_prompt_becomes_a_clip(client: Client) -> None:
    file, more, about = ask(client, model=SMALL, seed=3, top_k=20, negative_prompt="noise")
    assert more == []
    assert about["summary"].startswith("1.00 s, mono, 32000 Hz")
    clip = audio.read(file)
    settings = Settings.of_file(file)
    assert (settings.prompt, settings.model, settings.seed) == ("drums", SMALL, 3)
    # the same music as from Python
    options = musicgen.GenerationOptions(top_k=20, negative_prompt="noise")
    assert settings.options == options
    wave = musicgen.load(SMALL).generate(["drums"], 1.0, seed=3, options=options)[0]
    expected = reach_loudness(audio.Audio(wave, 32_000), -14.0).audio.wave
    assert (clip.wave - expected).abs().max() < 2 / 32_768


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_holds_the_settings(client: Client, name: str) -> None:
    file, _, _ = ask(client, format=name, seed=5)
    assert Path(file).suffix == f".{name}"
    assert abs(audio.read(file).duration - 1.0) < 0.1
    restored = client.predict(handle_file(file), api_name="/settings")
    assert (restored["prompt"], restored["seed"], restored["model"]) == ("drums", 5, "mini")


def test_a_melody_is_followed_as_from_python(client: Client) -> None:
    file, _, _ = ask(client, model=MELODY, melody=handle_file(TUNE), separate=False, seed=1, precision="float32")
    wave = musicgen.load(MELODY, precision="float32").generate(
        ["drums"], 1.0, seed=1, melody=str(TUNE), separate=False
    )[0]
    expected = reach_loudness(audio.Audio(wave, 32_000), -14.0).audio.wave
    assert (audio.read(file).wave - expected).abs().max() < 2 / 32_768
    assert Settings.of_file(file).melody.name == "melody_a.wav"


def test_an_edited_melody_is_the_models_conditioning(client: Client) -> None:
    frames = client.predict(handle_file(TUNE), False, api_name="/melody")
    assert len(frames) > 3
    assert set(frames) <= set(range(12))
    same, _, _ = ask(client, model="mini-melody", frames=frames, seed=1)
    edited = [(frame + 6) % 12 for frame in frames]
    other, _, about = ask(client, model="mini-melody", frames=edited, seed=1)
    assert not audio.read(same).wave.equal(audio.read(other).wave)
    assert client.predict(handle_file(other), api_name="/settings")["frames"] == edited
    assert about["link"]


def test_the_examples_of_the_documentation_run(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(
        r"```python\n(.*?)```", (GOLDEN.parents[1] / "docs" / "demo.md").read_text(), flags=re.DOTALL
    )
    audio.write(tmp_path / "bach.mp3", audio.read(TUNE))
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(program.replace("http://127.0.0.1:7860", address), names)
    assert names["again"]["frames"] == names["higher"]
    assert Path(names["clip"]).suffix == ".mp3"


def test_variations_differ_by_their_seeds(client: Client) -> None:
    file, more, about = ask(client, variations=3, seed=7)
    assert [Settings.of_file(one).seed for one in (file, *more)] == [7, 8, 9]
    assert about["seed"] == 7
    alone, _, _ = ask(client, seed=9)
    assert audio.read(alone).wave.equal(audio.read(more[1]).wave)


def test_a_loop_in_another_precision(client: Client) -> None:
    file, _, about = ask(client, duration=2.0, loop=True, loop_at_bars=False, precision="int8", seed=1)
    assert about["seconds"] == 1.5  # its last quarter is in its beginning
    restored = client.predict(handle_file(file), api_name="/settings")
    assert (restored["loop"], restored["precision"], restored["duration"]) == (True, "int8", 2.0)


def test_defaults_depend_on_the_model_and_are_reported(client: Client) -> None:
    """No precision and no word on separation: exact and not separated for the embedded models, which need no Demucs."""
    file, _, about = ask(client, model="mini-melody", melody=handle_file(TUNE), prompt="slow 音楽", seed=1)
    settings = Settings.of_file(file)
    assert (settings.precision, settings.separate, about["precision"]) == ("float32", False, "float32")
    assert "float32" in about["summary"]
    assert 0 < about["unknown"] < 1
    assert f"the model does not know {about['unknown']:.0%} of the description" in about["summary"]
    wave = musicgen.load("mini-melody").generate("slow 音楽", 1.0, seed=1, melody=TUNE)[0]
    expected = reach_loudness(audio.Audio(wave, 32_000), -14.0).audio.wave
    assert (audio.read(file).wave - expected).abs().max() < 2 / 32_768
    assert client.predict(handle_file(file), api_name="/settings")["precision"] == "float32"


def test_stereo(client: Client) -> None:
    file, _, about = ask(client, model="mini-stereo-melody")
    assert audio.read(file).wave.shape[0] == 2
    assert about["channels"] == 2


def test_a_clip_is_continued(client: Client) -> None:
    start, _, _ = ask(client, seed=1)
    file, _, about = ask(client, continue_from=handle_file(start), duration=2.0, seed=1)
    assert about["seconds"] == 2.0
    assert client.predict(handle_file(file), api_name="/settings")["needs"] == [Path(start).name]


def test_a_timeline_changes_the_prompt(client: Client) -> None:
    file, _, about = ask(client, duration=3.0, timeline="0:01 strings\n0:02 silence", seed=1)
    assert about["seconds"] == 3.0
    plain, _, _ = ask(client, duration=3.0, seed=1)
    long, short = audio.read(file).wave, audio.read(plain).wave
    assert not long[:, 40_000:].equal(short[:, 40_000:])
    assert client.predict(handle_file(file), api_name="/settings")["timeline"] == [[1.0, "strings"], [2.0, "silence"]]


def test_models_are_described(client: Client) -> None:
    infos = {one["name"]: one for one in client.predict(api_name="/models")}
    assert list(infos)[:3] == ["mini", "mini-melody", "mini-stereo-melody"]
    assert list(infos) == catalog.names()
    assert infos["facebook/musicgen-large"]["licence"] == "CC-BY-NC 4.0"
    assert "source" not in infos["mini"]


def test_progress_and_stop(client: Client, service: Service) -> None:
    job = client.submit("drums", "mini", 120.0, 1, api_name="/progress")
    wait_until(
        lambda: any(output.get("done", 0) > 1 / 120 for output in job.outputs())
    )  # a second of music: there is sound
    assert client.predict(api_name="/stop") == 1
    job.result(timeout=20)
    outputs = job.outputs()
    wait_until(lambda: len(service.job_queue) == 0)
    assert "summary" in outputs[-1]
    assert "stopped early" in outputs[-1]["summary"]


def test_a_client_that_leaves_frees_the_slot(address: str, service: Service) -> None:
    client = Client(address, verbose=False)
    job = client.submit("drums", "mini", 300.0, 1, api_name="/progress")
    wait_until(lambda: any(output.get("done", 0) > 0 for output in job.outputs()))
    assert len(service.job_queue) == 1
    job.cancel()
    client.close()
    wait_until(lambda: len(service.job_queue) == 0, seconds=20)


PLAIN = httpx.Client(timeout=60, limits=httpx.Limits(max_connections=None))
"""One for all requests: creating one takes longer than most requests."""


def post(address: str, name: str, data: list, session: str = "", came_from: str = "127.0.0.1") -> str:
    """The event stream that an endpoint answers with. came_from: the client's address, as a proxy passes it on."""
    body = json.dumps({"data": data} | ({"session_hash": session} if session else {}))  # writes NaN as NaN
    headers = {"content-type": "application/json", "x-forwarded-for": came_from}
    call = PLAIN.post(f"{address}gradio_api/call/{name}", content=body, headers=headers)
    if call.status_code != 200:
        return f"status {call.status_code}: {call.text}"
    return PLAIN.get(f"{address}gradio_api/call/{name}/{call.json()['event_id']}").text


def fields(**changes) -> list:
    values = {
        "prompt": "x", "model": "mini", "duration": 1.0, "seed": None, "variations": 1, "melody": None,
        "separate": False, "frames": None, "continue_from": None, "timeline": "", "guidance_scale": None,
        "melody_guidance_scale": None, "negative_prompt": "", "temperature": 1.0, "top_k": 250, "top_p": 0.0,
        "precision": "float32", "loop": False, "format": "flac", "adapters": None, "chords": "", "bpm": None,
        "metre": "", "style": None, "style_guidance_scale": None, "style_seconds": None, "style_codebooks": None,
        "decoder": "codec", "conditions": None, "limit_peaks": True, "loop_at_bars": True,
    }  # fmt: skip
    assert set(changes) <= set(values)
    return list((values | changes).values())


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "facebook/musicgen-large"}, "is not on this machine, and nothing is downloaded here"),
        ({"model": "/etc"}, "not in the list of choices"),
        ({"model": "../../etc"}, "not in the list of choices"),
        ({"duration": 1e9}, "must lie between 0.5 and 300 s"),
        ({"duration": -1}, "must lie between"),
        ({"duration": NAN}, "must be a number"),
        ({"duration": INFINITY}, "must be a number"),
        ({"duration": None}, "must be a number"),
        ({"duration": "long"}, ""),
        ({"prompt": "x" * 100_000}, "100000 characters"),
        ({"negative_prompt": "x" * 3_000}, "3000 characters"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1e30}, "seed is 1e"),
        ({"seed": 1.5}, "seed is 1.5: it must be a whole number"),
        ({"seed": 10**400}, "seed is 1000"),
        ({"variations": 1.5}, "variations is 1.5: it must be a whole number"),
        ({"top_k": 2.5}, "top_k is 2.5: it must be a whole number"),
        ({"variations": 1000}, "variations is 1000"),
        ({"variations": 0}, "variations is 0"),
        ({"temperature": NAN}, "temperature is nan"),
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": 0}, "temperature is 0"),
        ({"guidance_scale": INFINITY}, "guidance_scale is inf"),
        ({"guidance_scale": -1}, "guidance_scale is -1"),
        ({"top_k": -5}, "top_k is -5"),
        ({"top_p": 2}, "top_p is 2"),
        ({"precision": "float7"}, "unknown precision"),
        ({"precision": "float16"}, "is not available on cpu"),
        ({"format": "../../x"}, "unknown format"),
        ({"timeline": "soon: drums"}, "not a time and a description"),
        ({"timeline": "0:30 drums"}, "the clip is 1 s long"),
        ({"timeline": "\n".join(f"{i / 100:.2f} x" for i in range(1, 90))}, "20 at most"),
        ({"frames": [0, 1, 2]}, "follows no melody"),
        ({"frames": [0, 12], "model": "mini-melody"}, "pitch classes 0 to 11"),
        ({"frames": [NAN], "model": "mini-melody"}, "pitch classes 0 to 11"),
        ({"frames": [0] * 100_000, "model": "mini-melody"}, "100000 frames"),
        ({"frames": {"a": 1}, "model": "mini-melody"}, "not a list"),
        ({"frames": "[[[", "model": "mini-melody"}, ""),
    ],
)  # fmt: skip
def test_bad_values_are_reported(address: str, values: dict, message: str) -> None:
    answer = post(address, "generate", fields(**values))
    assert "event: error" in answer or answer.startswith("status 4")
    assert message in answer
    assert "Traceback" not in answer
    assert "site-packages" not in answer


def test_generation_works_after_bad_requests(client: Client) -> None:
    assert ask(client)[2]["seconds"] == 1.0


@pytest.mark.parametrize("prompt", ["\x00\x07 drums\x1b[31m", "\ud800 lone", "😀" * 100, "", "drums\r\n\x85bass"])
def test_odd_prompts_are_cleaned(address: str, prompt: str) -> None:
    answer = post(address, "generate", fields(prompt=prompt))
    assert "event: complete" in answer
    assert "\\u0000" not in answer


def test_a_file_of_the_server_cannot_be_named(address: str, service: Service) -> None:
    """Over plain HTTP: gradio's client would upload the caller's own file of that name."""
    secret = service.clip_store.folder / "secret.txt"
    secret.write_text("root: secret")
    paths = [
        "/etc/passwd",
        str(Path(__file__).resolve()),
        "../../../etc/passwd",
        "file:///etc/passwd",
        "/etc/passwd\x00.wav",
    ]
    for path in paths:
        for name in ("melody", "continue_from"):
            data = fields(model="mini-melody", **{name: {"path": path, "meta": {"_type": "gradio.FileData"}}})
            answer = post(address, "generate", data)
            assert "event: error" in answer or answer.startswith("status 4"), (path, answer)
            assert "root:" not in answer
    for path in ("/etc/passwd", "../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", str(Path(__file__).resolve())):
        reply = httpx.get(f"{address}gradio_api/file={path}")
        assert reply.status_code in (400, 403, 404)
        assert "root:" not in reply.text


def test_uploads_with_false_names_and_contents(client: Client, tmp_path: Path) -> None:
    for name, content in {
        "text.wav": b"this is no sound" * 100,
        "page.mp3": b"<html><script>alert(1)</script></html>",
        "empty.wav": b"",
        "..%2f..%2fetc.wav": b"RIFF\xff\xff\xff\xffWAVEfmt ",
    }.items():
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(AppError) as caught:
            ask(client, model="mini-melody", melody=handle_file(str(file)), separate=False)
        assert str(tmp_path) not in str(caught.value)
        assert "gradio/" not in str(caught.value)
        with pytest.raises(AppError):
            client.predict(handle_file(str(file)), api_name="/settings")
    assert ask(client)[2]["seconds"] == 1.0


def test_recordings_that_would_take_all_memory_are_refused_or_read(client: Client, tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "hours.flac", "w", 8_000, 1) as file:
        for _ in range(4):
            file.write(np.zeros(8_000 * 1200))
    odd = tmp_path / "odd.wav"  # a rate that has no divisor in common with the model's
    soundfile.write(odd, audio.read(TUNE).wave[0].numpy()[:8_000], 31_991)
    hours = handle_file(str(tmp_path / "hours.flac"))
    for given in ({"melody": hours, "separate": False}, {"continue_from": hours}):
        with pytest.raises(AppError, match=r"hours\.flac is longer than 600 s"):
            ask(client, model="mini-melody", **given)
    for given in ({"melody": handle_file(str(odd)), "separate": False}, {"continue_from": handle_file(str(odd))}):
        assert ask(client, model="mini-melody", **given)[2]["seconds"] == 1.0


def test_an_upload_that_is_too_large_is_refused(address: str, tmp_path: Path) -> None:
    file = tmp_path / "large.wav"
    with file.open("wb") as out:
        out.truncate(500_000_000)
    with file.open("rb") as content:
        try:
            reply = httpx.post(f"{address}gradio_api/upload", files={"files": ("large.wav", content)}, timeout=60)
        except httpx.TransportError:
            return  # the server hung up in the middle: refused as well
    assert reply.status_code == 413, reply.text


def test_two_hundred_requests_at_once(address: str, service: Service) -> None:
    """Some are made, the others are told that the queue is full; all get an answer, the page is served meanwhile, and
    generation works afterwards."""
    answers: list[str] = []

    def one(index: int) -> None:
        flood = fields(duration=0.5, prompt=f"{index}")
        answers.append(post(address, "generate", flood, f"flood{index}", came_from=f"192.0.2.{index + 1}"))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(200)]
    for thread in threads:
        thread.start()
    meanwhile = []
    while any(thread.is_alive() for thread in threads):
        meanwhile.append(PLAIN.get(address).status_code)
        threads[-1].join(0.5)
        threads = [thread for thread in threads if thread.is_alive()] or threads[-1:]
    assert set(meanwhile) == {200}
    assert len(answers) == 200
    made = [answer for answer in answers if "event: complete" in answer]
    refused = [answer for answer in answers if "the queue is full" in answer]
    assert len(made) >= service.limits.queue
    assert len(made) + len(refused) == 200, [a for a in answers if a not in made and a not in refused][:2]
    assert not any("Traceback" in answer for answer in answers)
    assert "event: complete" in post(address, "generate", fields())


def test_jobs_of_one_visitor_are_limited(address: str, service: Service) -> None:
    client = Client(address, verbose=False)
    jobs = [client.submit("drums", "mini", 200.0, 1, api_name="/progress") for _ in range(service.limits.per_visitor)]
    wait_until(lambda: len(service.job_queue) == service.limits.per_visitor)
    with pytest.raises(AppError, match="are being made or waiting already"):
        ask(client)
    for job in jobs:
        job.cancel()
    client.predict(api_name="/stop")
    wait_until(lambda: len(service.job_queue) == 0)


def test_recordings_of_a_phone_and_a_browser_are_accepted(client: Client, tmp_path: Path) -> None:
    tune = audio.read(TUNE).wave[:, :16_000]
    memo, page = (
        encode(tmp_path / "memo.m4a", tune, 32_000, "aac"),
        encode(tmp_path / "page.webm", tune, 32_000, "libopus"),
    )
    for given in ({"melody": handle_file(str(memo)), "separate": False}, {"continue_from": handle_file(str(page))}):
        assert ask(client, model="mini-melody", **given)[2]["seconds"] == 1.0
