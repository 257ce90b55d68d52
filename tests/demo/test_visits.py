"""Visits: what a reloaded page finds again, what other visitors do not get, and what ends."""

import asyncio
import json
from pathlib import Path

import gradio as gr
import pytest

import demo.service
from demo.configuration import Configuration
from demo.service import Service
from demo.ui import browser_storage
from demo.ui.events import generation
from demo.visits import Visits
from musicgen.serving.index import Index
from musicgen.serving.request import ClipRequest
from musicgen.serving.service import PlaybackChunk
from musicgen.serving.stored_clip import StoredClip
from tests.demo.conftest import wait_until
from tests.demo.test_browser import generate, said, set_slider, visit, watch
from tests.demo.test_browser import wait_until as wait_in_page

CLIP = "document.querySelector('#result audio, #result [data-testid=unlabelled-audio]')"


def stored(folder: Path, name: str) -> StoredClip:
    (folder / name).mkdir(parents=True)
    path = folder / name / "clip.flac"
    path.write_bytes(b"fLaC")
    return StoredClip(path, ClipRequest(name, "mini", 1.0), 1, 1.0, 1, 32_000, -14.0, True, (0,))


def test_a_visit_is_found_by_its_token_alone(tmp_path: Path) -> None:
    visits = Visits(Index(), max_clips=3, keep_seconds=60)
    first, known, _ = visits.enter("one", "")
    assert not known
    assert len(first.token) == 32
    visits.add(first.token, stored(tmp_path, "a"))
    again, known, expired = visits.enter("two", first.token)
    assert (again, known, expired) == (first, True, 0)
    assert visits.of("one") == visits.of("two") == first
    for guess in ("", "one", "0" * 32, first.token[:-1], first.token.upper() + " "):
        other, known, _ = visits.enter("stranger", guess)
        assert not known
        assert other.clips == ()
        assert other.find(first.clips[0].id) is None
    visits.add("the session of an API client", stored(tmp_path, "b"))
    assert visits.find("an API client") is None


def test_old_clips_leave_a_visit_before_favourites_do(tmp_path: Path) -> None:
    visits = Visits(Index(), max_clips=2, keep_seconds=60)
    mine = visits.of("me")
    for name in "abc":
        visits.add(mine.token, stored(tmp_path, name))
        if name == "a":
            visits.toggle_favourite(mine, "a")
    assert [clip.id for clip in mine.clips] == ["a", "c"]
    (tmp_path / "c" / "clip.flac").unlink()
    _, _, expired = visits.enter("me", mine.token)
    assert expired == 1
    assert [clip.id for clip in mine.clips] == ["a"]


def test_visits_that_nobody_returns_to_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.visits.MAX_VISITS", 5)
    monkeypatch.setattr("demo.visits.REFRESH_SECONDS", 0.0)
    visits = Visits(Index(), max_clips=2, keep_seconds=60)
    mine = visits.of("me")
    for number in range(20):
        visits.of(f"flood {number}")
        visits.of("me")
    assert visits.of("me") == mine
    assert sum(visits.find(f"flood {number}") is not None for number in range(20)) == 4
    short = Visits(Index(), max_clips=2, keep_seconds=0.0)
    token = short.of("me").token
    short.of("another")
    assert not short.enter("me", token)[1]


def test_only_files_of_the_store_are_shown_again(tmp_path: Path) -> None:
    service = Service(Configuration(), tmp_path / "clips")
    outside = tmp_path / "secret.wav"
    outside.write_bytes(b"RIFF")
    inside = service.clip_store.folder / "gradio" / "abc" / "tune.wav"
    inside.parent.mkdir(parents=True)
    inside.write_bytes(b"RIFF")
    (inside.parent / "link.wav").symlink_to(outside)
    holds = service.clip_store.holds
    assert holds(str(inside))
    climbing = f"{inside.parent}/../../../secret.wav"
    for path in (
        str(outside),
        climbing,
        str(inside.parent / "link.wav"),
        "",
        "/etc/passwd",
        "a\0b",
        str(inside.parent),
    ):
        assert not holds(path), path
    service.close()


def test_a_deleted_clip_is_gone_with_its_copies(tmp_path: Path) -> None:
    service = Service(Configuration(), tmp_path)
    mine, store = service.visits.of("me"), service.clip_store
    clips = [stored(tmp_path / "clips", name) for name in "ab"]
    for clip in clips:
        service.visits.add(mine.token, clip)
    copy = tmp_path / "gradio" / "hash" / "clip.flac"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"fLaC")
    service.delete_clip(mine, clips[0])
    assert copy.is_file()  # the other clip is the same, byte for byte
    assert [clip.id for clip in mine.clips] == ["b"]
    service.delete_clip(mine, clips[1])
    assert store.count() == 0
    service.delete_clip(mine, clips[1])  # by another tab
    service.close()


@pytest.mark.parametrize(
    "stored", ["", "{", "[]", "null", '{"visit": 3, "clip": [], "settings": "x"}', "[" * 100_000, '{"settings": {"a": NaN}}']
)  # fmt: skip
def test_what_a_browser_stored_is_read_or_ignored(stored: str) -> None:
    past = browser_storage.read(stored)
    assert (past.visit, past.clip) == ("", None)


def test_damaged_settings_leave_the_others(service: Service) -> None:
    """Each kind of value, and paths on the server: nothing is shown that the component cannot have."""
    from demo import ui

    page = ui.build(service)
    restore = next(fn.fn for fn in page.fns.values() if getattr(fn.fn, "__name__", "") == "restore_visit")
    request = gr.Request(session_hash="damaged", query_params={})
    settings = {
        "prompt": "drums", "model": "../../etc", "duration": 1e9, "variations": True, "seed": 5, "melody": "/etc/passwd",
        "continue_from": ["x"], "frames": '{"frames": [12]}', "temperature": "hot", "precision": "int3", "loop": "yes",
        "top_k": None, "timeline": "x" * 60_000, "negative_prompt": {},
    }  # fmt: skip
    updates = restore(request, json.dumps({"settings": settings}))
    parts = restore.__self__.parts
    inputs = parts.inputs
    assert {component: updates[component] for component in inputs.components if component in updates} == {
        inputs["prompt"]: "drums"
    }
    assert updates[parts.next_clip.needed] == {"melody": "passwd"}


def test_jobs_of_a_visit_end_when_its_last_page_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.service, "GRACE_SECONDS", 0.2)
    service = Service(Configuration(), tmp_path)

    async def visitor() -> None:
        old, _, _ = service.visits.enter("old", "")
        with service.presence.connected("old"):
            job = service.submit(old.token, ClipRequest("x", "mini", 300.0))
        service.visits.enter("new", old.token)
        with service.presence.connected("new"):
            await asyncio.sleep(0.5)  # the old page is gone for longer than the grace
            assert not job.done
        await asyncio.sleep(0.1)
        assert not job.cancellation.cancelled
        await asyncio.sleep(0.3)
        assert job.cancellation.cancelled

    asyncio.run(visitor())
    service.close()


def test_a_reload_loses_nothing(browser, address, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings, clips, favourites and the generation that is running; nobody else gets them; what is gone is said."""
    monkeypatch.setattr(generation, "CATCH_UP_CHUNKS", 2)
    context = browser.new_context(locale="en-GB")
    tab = context.new_page()
    problems = watch(tab)
    visit(tab, address)
    generate(tab, "first, to be kept", 1.0)
    generate(tab, "second", 1.0)
    tab.click("#more-of-clip button")
    tab.click("#favourite")
    wait_in_page(tab, lambda: tab.input_value("#clips input").startswith("★ 2 · second"))
    tab.locator("#clips input").click()
    tab.get_by_role("option", name="first").click()
    wait_in_page(tab, lambda: tab.input_value("#clips input").startswith("1 · first"))
    # A generation is running when the tab is discarded.
    tab.fill("#prompt textarea", "long <b>and</b> slow")
    set_slider(tab, "duration", 200)
    tab.click("#generate")
    said(tab, "Generating")
    token = json.loads(tab.evaluate("localStorage.getItem('musicgen')"))["visit"]
    (job,) = service.job_queue.jobs_of(token)
    wait_until(lambda: sum(isinstance(event, PlaybackChunk) for event in job.events()) > 4, 60)
    tab.reload()
    said(tab, "Generating")
    assert tab.input_value("#prompt textarea") == "long <b>and</b> slow"
    assert tab.input_value("#duration input[type=number]") == "200"
    wait_in_page(tab, lambda: tab.input_value("#clips input").startswith("1 · first"))
    # The sound so far is there; a browser plays it after a click.
    toggle = tab.locator("#live [data-do=toggle]")
    wait_in_page(tab, lambda: toggle.is_visible())
    if toggle.get_attribute("aria-label") == "Play the sound":
        toggle.click()
    wait_in_page(tab, lambda: toggle.get_attribute("aria-label") == "Pause the sound")
    wait_in_page(tab, lambda: float(tab.get_attribute("#live [data-played], #live[data-played]", "data-played")) > 0.3)
    shown = tab.inner_text("#live .time")
    assert int(shown.split()[0]) >= 2, shown  # seconds of the clip, not of what was sent again
    assert not job.done
    tab.click("#stop")
    assert "stopped early" in said(tab, "Done")
    wait_in_page(tab, lambda: tab.input_value("#clips input").startswith("3 · long"))
    # Another browser gets nothing, though it asks for the clip by its id.
    stranger = browser.new_context().new_page()
    stranger.goto(address)
    said(stranger, "Ready")
    clip = json.loads(tab.evaluate("localStorage.getItem('musicgen')"))["clip"]
    assert not stranger.locator("#clip-panel").is_visible()
    stranger.evaluate(
        "(value) => localStorage.setItem('musicgen', value)",
        json.dumps({"visit": "0" * 32, "clip": clip, "settings": {}}),
    )
    stranger.reload()
    assert "clips of your last visit are gone" in said(stranger, "gone")
    assert not stranger.locator("#clip-panel").is_visible()
    stranger.context.close()
    assert service.visits.find(token) is None  # a token is no session
    # Deleting asks first.
    tab.click("#more-of-clip button")
    tab.once("dialog", lambda dialog: dialog.dismiss())
    tab.click("#delete")
    tab.wait_for_timeout(300)
    assert tab.input_value("#clips input").startswith("3 · long")
    tab.once("dialog", lambda dialog: dialog.accept())
    tab.click("#delete")
    assert "long" in said(tab, "Deleted")
    wait_in_page(tab, lambda: "second" in tab.input_value("#clips input"))
    assert not (service.clip_store.folder / "clips" / clip).exists()
    context.close()
    assert problems == []
