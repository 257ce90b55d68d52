"""The page in Chromium: live playback, edited melodies, Stop, restoring, a phone, accessibility, a screenshot."""

import base64
import json
import os
import re
import shutil
import subprocess
import tarfile
import time
import zipfile
from pathlib import Path

import av
import httpx
import pytest

from demo.service import Service
from musicgen import audio
from musicgen.chords import ChordChart
from musicgen.errors import InputError
from musicgen.serving import clip_metadata
from musicgen.serving.models import ModelCatalog
from musicgen.serving.request import ClipRequest
from tests.conftest import GOLDEN
from tests.demo.conftest import visits_of, write_midi
from tests.demo.conftest import wait_until as wait

SECOND = 1000  # ms
PATIENCE = 240.0
"""Seconds in which anything happens that is waited for, on a machine that other programs keep busy, too."""
TUNE = GOLDEN / "chroma" / "melody_a.wav"
AXE = "axe-core@4.14.1"
"""Fetched from npm for the tests only; MPL-2.0, no part of this program."""


@pytest.fixture
def page(browser, address):
    """A fresh visitor on the page; script errors and console errors fail the test."""
    context = browser.new_context(viewport={"width": 1240, "height": 900}, locale="en-GB")
    tab = context.new_page()
    tab.set_default_timeout(20 * SECOND)
    problems = watch(tab)
    visit(tab, address)
    yield tab
    context.close()
    assert not problems, "\n".join(problems)


def watch(tab) -> list[str]:
    problems: list[str] = []

    def note(text: str) -> None:
        # Gradio's waveform player says the first when it is taken off the page while it still reads its file; the second is
        # about a file that is no audio; a page that is left while it waits for an answer says one of the last two, since
        # the server drops the messages of a visitor whose event stream ends.
        harmless = (
            "signal is aborted",
            "Waveform load error",
            "Connection errored out",
            "Unexpected error 404: Not Found",
        )
        if not any(one in text for one in harmless):
            problems.append(text)

    tab.on("pageerror", lambda error: note(str(error)))
    tab.on("console", lambda message: message.type == "error" and note(message.text))
    return problems


def visit(tab, address: str) -> None:
    tab.goto(address)
    said(tab, "Ready", "settings of your link")


def said(tab, *texts: str, seconds: float = PATIENCE) -> str:
    """What the status line says, once it holds one of the texts."""
    end, status = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        status = tab.locator("#status").inner_text()
        if any(text in status for text in texts):
            return status
        tab.wait_for_timeout(50)
    raise AssertionError(f"the page says {status!r}, never {texts}")


def wait_until(tab, condition, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        tab.wait_for_timeout(50)
    raise AssertionError("the condition never became true")


def set_slider(tab, name: str, value: float) -> None:
    """Until number and handle both stay there: a part that has just unfolded may put its first value back once."""
    number, handle = (tab.locator(f"#{name} input[type={kind}]") for kind in ("number", "range"))
    for _ in range(20):
        number.fill(str(value))
        number.press("Tab")
        tab.wait_for_timeout(200)
        if float(number.input_value()) == float(handle.input_value()) == value:
            return
    raise AssertionError(f"{name} says {number.input_value()}, its handle {handle.input_value()}, never {value}")


def choose(tab, model: str) -> None:
    tab.locator("#model input").click()
    tab.get_by_role("option", name=model, exact=False).first.click()


def open_part(tab, name: str) -> None:
    tab.get_by_role("button", name=name).first.click()


def generate(tab, prompt: str, seconds: float = 2.0) -> str:
    tab.fill("#prompt textarea", prompt)
    set_slider(tab, "duration", seconds)
    tab.click("#generate")
    said(tab, "Submitting", "Waiting", "Loading", "Generating", "Writing", "%")
    return said(tab, "Done", "Not generated")


def downloadable(tab, name: str) -> bool:
    button = f"#download-{name}"
    return tab.locator(f"{button} a, a{button}").count() > 0 or tab.locator(button).is_enabled()


def made(service: Service) -> list[Path]:
    """The clips, without the copies that Gradio serves."""
    return list((service.clip_store.folder / "clips").rglob("*.flac"))


def newest(service: Service) -> Path:
    return max(made(service), key=lambda path: path.stat().st_mtime)


def playing(tab) -> tuple[float, float]:
    """The media element's own time, and how many seconds of the music it has played."""
    return tab.evaluate(
        """[document.querySelector('#live audio').currentTime,
            Number(document.querySelector('#live [data-played], #live[data-played]')?.dataset.played ?? 0)]"""
    )


def test_sound_starts_before_the_end_and_stop_keeps_it(page, service: Service) -> None:
    page.fill("#prompt textarea", "lofi, slow")
    set_slider(page, "duration", 240)
    page.click("#generate")
    said(page, "Generating")
    wait_until(page, lambda: min(playing(page)) > 0.3)
    first = playing(page)
    wait_until(page, lambda: all(now > then + 0.5 for now, then in zip(playing(page), first, strict=True)))
    assert "left" in said(page, "Generating")
    assert page.locator("[role=progressbar]").get_attribute("aria-valuenow") != "100"
    page.click("#stop")
    assert "stopped early" in said(page, "Done")
    made = audio.read(newest(service))
    assert 1.0 <= made.duration < 240.0
    assert page.locator("#result").is_visible()
    wait_until(page, lambda: len(service.job_queue) == 0)


def test_an_example_is_generated_with_two_clicks(page) -> None:
    page.get_by_text("90s rock", exact=True).click()
    wait_until(page, lambda: page.input_value("#prompt textarea").startswith("90s rock song"))
    set_slider(page, "duration", 2)
    page.click("#generate")
    assert "2.00 s of music." in said(page, "Done")
    page.click("#more-of-clip button")
    page.get_by_text("Details", exact=True).click()
    assert re.search(r"mono, 32000 Hz\s+Loudness\s+-\d+\.\d LUFS", page.inner_text("#details"))
    assert page.locator("#plots img").count() == 2
    wait_until(page, lambda: downloadable(page, "mp3"))
    for name, head in (("flac", b"fLaC"), ("wav", b"RIFF"), ("ogg", b"OggS"), ("mp3", b"")):
        with page.expect_download() as download:
            page.click(f"#download-{name}")
        file = Path(download.value.path())
        assert file.read_bytes().startswith(head)
        assert re.fullmatch(rf"90s-rock-song-[\w-]+-\d+\.{name}", download.value.suggested_filename)
        assert clip_metadata.read_file(file, "", ModelCatalog())[0].prompt.startswith("90s rock song")


def test_a_melody_is_edited_and_followed(page, service: Service) -> None:
    open_part(page, "Melody: hum or upload")
    page.set_input_files("#melody-file input[type=file]", str(TUNE))
    canvas = page.locator("#melody-editor canvas")
    canvas.wait_for()
    wait_until(page, lambda: page.input_value("#model input").startswith("mini-melody"))
    before = service.engine.extract_melody(TUNE, separate=False)
    page.click("#melody-editor [data-do=up]")
    box = canvas.bounding_box()
    cell = float(canvas.get_attribute("data-cell"))
    page.mouse.click(box["x"] + 2.5 * cell, box["y"] + 5)  # third frame: B
    canvas.focus()
    for key in ("ArrowRight", "ArrowDown"):  # fourth frame: a semitone lower
        page.keyboard.press(key)
    expected = [(pitch + 1) % 12 for pitch in before]
    expected[2], expected[3] = 11, (expected[3] - 1) % 12
    assert page.locator("#melody-editor .where").inner_text().startswith("0.4 s")
    page.fill("#melody-editor [data-of=to]", "2")
    page.click("#melody-editor [data-do=trim]")
    status = generate(page, "piano", 4.0)
    assert "Done" in status
    request, needed = clip_metadata.read_file(newest(service), "", ModelCatalog())
    assert list(request.frames) == expected[:16]
    assert needed == {}
    assert "of the melody's pitch classes" in page.locator("#plots").inner_text()
    page.click("#melody-editor [data-do=undo]")
    generate(page, "piano", 1.0)
    assert list(clip_metadata.read_file(newest(service), "", ModelCatalog())[0].frames) == expected


def test_a_hummed_melody(page, service: Service) -> None:
    """Chromium's false microphone beeps."""
    open_part(page, "Melody: hum or upload")
    page.click("#melody-file [aria-label='Record audio']")
    page.click("#melody-file .record-button")
    page.wait_for_timeout(1.5 * SECOND)
    page.click("#melody-file .stop-button")
    page.locator("#melody-editor canvas").wait_for()
    assert "Done" in generate(page, "flute", 1.0)
    assert clip_metadata.read_file(newest(service), "", ModelCatalog())[0].frames


def test_history_compare_melody_and_continuation(page, service: Service) -> None:
    generate(page, "first")
    generate(page, "second")
    page.locator("#clips input").click()
    assert page.get_by_role("option").count() == 2
    page.get_by_role("option", name="first").click()
    wait_until(page, lambda: "first" in page.input_value("#clips input"))
    open_part(page, "Compare with another clip")
    page.click("#compare [data-do=play]")
    wait_until(page, lambda: page.inner_text("#compare .time") >= "0.2 s")
    page.click("#compare [data-do=play]")
    page.click("#continue-clip")
    wait_until(page, lambda: page.input_value("#duration input[type=number]") == "12")
    set_slider(page, "duration", 4)
    page.click("#generate")
    said(page, "Generating", "Writing")
    assert "4.00 s" in said(page, "Done")
    _, needed = clip_metadata.read_file(newest(service), "", ModelCatalog())
    assert set(needed) == {"continue_from"}
    assert re.fullmatch(r"first-\d+\.flac", needed["continue_from"])
    page.click("#as-melody")  # opens its section
    page.locator("#melody-editor canvas").wait_for()


def parts(tab) -> dict[str, str]:
    """The buttons of the line above Generate that are there: part -> label."""
    return dict(
        tab.evaluate(
            """[...document.querySelectorAll('#next-clip button')].filter((button) => button.offsetParent)
                .map((button) => [button.id.replace('remove-', ''), button.innerText])"""
        )
    )


def test_the_line_above_generate_says_what_the_next_clip_is_made_from(page, service: Service) -> None:
    summary = page.locator("#next-clip-summary")
    assert "no description, so the model chooses" in summary.inner_text()
    assert page.get_attribute("#prompt textarea", "placeholder").startswith("Describe the music")
    assert parts(page) == {}
    generate(page, "old piano", 1.0)
    wait_until(page, lambda: "your description" in summary.inner_text())
    page.click("#continue-clip")
    wait_until(page, lambda: "continue_from" in parts(page))
    assert re.fullmatch(r"begins with old-piano-\d+\.flac ✕", parts(page)["continue_from"])
    assert page.locator("#continue-file").is_visible()  # its section is open
    page.click("#same-seed")
    wait_until(page, lambda: "seed" in parts(page))
    seed = clip_metadata.read_file(newest(service), "", ModelCatalog())[0].seed
    assert parts(page)["seed"] == f"seed {seed} ✕"
    page.click("#remove-continue_from")
    wait_until(page, lambda: set(parts(page)) == {"seed"})
    # A typed seed is used, and stays: the same music again.
    first, count = audio.read(newest(service)).wave, len(made(service))
    generate(page, "old piano", 1.0)
    assert len(made(service)) == count + 1
    assert audio.read(newest(service)).wave.equal(first)
    page.click("#remove-seed")
    wait_until(page, lambda: parts(page) == {})
    assert page.input_value("#seed input, #seed textarea") == ""
    # Fields that nobody filled ask for nothing.
    page.reload()
    said(page, "Ready")
    open_part(page, "More settings")
    page.locator("#seed input, #seed textarea").wait_for()
    assert [page.input_value(f"#{name} input, #{name} textarea") for name in ("seed", "melody-guidance")] == ["", ""]
    assert parts(page) == {}
    page.fill("#seed input, #seed textarea", "one")
    page.click("#generate")
    assert "seed is 'one': it must be a number, or empty" in said(page, "Not generated")


def test_a_continuation_is_not_made_again_without_its_beginning(page, service: Service) -> None:
    generate(page, "first", 1.0)
    page.click("#continue-clip")
    wait_until(page, lambda: "continue_from" in parts(page))
    generate(page, "second", 2.0)
    clip, link = newest(service), page.input_value("#link input, #link textarea")
    _, needed = clip_metadata.read_file(clip, "", ModelCatalog())
    name = needed["continue_from"]
    for restore in (
        lambda: (
            page.reload(),
            said(page, "Ready"),
            page.set_input_files("input[type=file][data-testid^=Restore]", str(clip)),
        ),
        lambda: page.goto(link),
    ):
        restore()
        said(page, f"Add {name} again")
        wait_until(page, lambda: parts(page).get("needed") == f"needs {name} ✕")
        page.click("#generate")
        assert f"made with {name}, which is not here: add it under 'Continue a clip'" in said(page, "Not generated")
    # Nor after a reload, which brings back what is needed with the settings.
    page.goto(page.url.split("?")[0])
    said(page, "Ready")
    wait_until(page, lambda: parts(page).get("needed") == f"needs {name} ✕")
    page.click("#remove-needed")
    wait_until(page, lambda: "needed" not in parts(page))
    page.click("#generate")
    said(page, "Generating", "Writing", "Done")
    said(page, "Done")


def test_a_download_is_named_after_prompt_and_seed(page) -> None:
    generate(page, "Dark techno, 130 bpm!", 1.0)
    wait_until(page, lambda: page.locator("#download-mp3").is_enabled())
    assert page.inner_text("#download-mp3") == "Download MP3"
    with page.expect_download() as download:
        page.click("#download-mp3")
    assert re.fullmatch(r"dark-techno-130-bpm-\d+\.mp3", download.value.suggested_filename)


def test_variations_are_there_to_choose_from(page) -> None:
    open_part(page, "More settings")
    set_slider(page, "variations", 3)
    page.fill("#seed input, #seed textarea", "5")
    assert "3 clips to choose from" in generate(page, "drums", 1.0)
    wait_until(page, lambda: page.locator("#takes label").count() == 3)  # ranked: nothing changes any more
    assert page.input_value("#clips input").startswith("1 ·")  # the visitor goes on listening to the first
    assert page.input_value("#seed input, #seed textarea") == "5"
    page.locator("#clips input").click()
    assert page.get_by_role("option").count() == 3
    link = page.input_value("#link input, #link textarea")
    page.get_by_role("option", name="seed 7").click()
    wait_until(page, lambda: page.input_value("#link input, #link textarea") != link)
    wait_until(page, lambda: page.locator("#download-mp3").is_enabled())
    with page.expect_download() as download:
        page.click("#download-mp3")
    assert clip_metadata.read_file(Path(download.value.path()), "", ModelCatalog())[0].seed == 7


def test_takes_are_a_row_of_cards_best_first(page, service: Service) -> None:
    open_part(page, "More settings")
    set_slider(page, "variations", 3)
    page.fill("#seed input, #seed textarea", "5")
    assert not page.locator("#takes").is_visible()
    assert "3 clips to choose from" in generate(page, "slow calm piano", 1.0)
    cards = page.locator("#takes label")
    wait_until(page, lambda: cards.count() == 3)
    visit = next(one for one in visits_of(service) if len(one.clips) == 3 and "calm" in one.clips[0].request.prompt)
    scores = {clip.seed: service.score(clip)[0].value for clip in visit.clips}
    order = sorted(scores, key=lambda seed: -scores[seed])
    texts = [cards.nth(index).inner_text().strip() for index in range(3)]
    assert texts == [f"take {seed - 4} · {scores[seed]:.2f}" for seed in order]
    # The visitor goes on listening to the first.
    assert page.locator("#takes label.selected").inner_text().strip().startswith("take 1 ·")
    # A card is a line, on a phone too.
    heights = [cards.nth(index).bounding_box()["height"] for index in range(3)]
    page.set_viewport_size({"width": 390, "height": 844})
    assert [cards.nth(index).bounding_box()["height"] for index in range(3)] == heights
    page.set_viewport_size({"width": 1240, "height": 900})
    other = next(index for index, seed in enumerate(order) if seed != 5)
    cards.nth(other).click()
    wait_until(page, lambda: page.input_value("#clips input").endswith(f"seed {order[other]}"))
    chosen = page.locator("#takes label.selected")
    wait_until(page, lambda: chosen.inner_text().strip().startswith(f"take {order[other] - 4} ·"))
    # A clip that was made alone has no row.
    set_slider(page, "variations", 1)
    generate(page, "drums", 1.0)
    wait_until(page, lambda: not page.locator("#takes").is_visible())


def test_a_part_of_a_clip_is_made_anew(page, service: Service) -> None:
    generate(page, "drums", 3.0)
    page.locator("#more-of-clip").get_by_role("button", name="More").click()
    visit = next(one for one in visits_of(service) if [clip.seconds for clip in one.clips] == [3.0])
    page.click("#repaint")
    assert "Type its start and its end in seconds, or mark them" in said(page, "Not generated")
    # The player stands at the beginning; then the end is typed.
    page.click("#mark-start")
    wait_until(page, lambda: page.input_value("#span-start input, #span-start textarea") == "0")
    page.locator("#result audio[src]").evaluate("audio => { audio.currentTime = 1 }")
    page.click("#mark-start")
    wait_until(page, lambda: page.input_value("#span-start input, #span-start textarea") == "1")
    page.fill("#span-end input, #span-end textarea", "2")
    page.fill("#prompt textarea", "slow piano")
    page.click("#repaint")
    said(page, "Submitting", "Waiting", "Loading", "Generating", "Writing", "%", "Done")
    assert "Done" in said(page, "Done", "Not generated")
    wait(lambda: len(visit.clips) == 2)
    old, new = visit.clips
    assert (new.request.span, new.request.prompt, new.seconds) == ((1.0, 2.0), "slow piano", 3.0)
    before, after = (audio.read(clip.path).wave for clip in (old, new))
    for kept in (slice(0, 27_000), slice(69_000, None)):
        assert before[:, kept].equal(after[:, kept])
    assert not before[:, 33_000:63_000].equal(after[:, 33_000:63_000])
    # Its file says so, and is not taken for the settings of a whole clip.
    with pytest.raises(InputError, match="a part of another clip was made anew in it: restore that clip"):
        clip_metadata.read_file(new.path, "new.flac", ModelCatalog())
    # Before the beginning.
    page.fill("#span-start input, #span-start textarea", "-1")
    page.fill("#span-end input, #span-end textarea", "0")
    page.click("#repaint")
    wait(lambda: len(visit.clips) == 3, PATIENCE)
    assert visit.clips[2].seconds == 4.0


def test_the_place_in_the_queue_is_shown(page, service: Service) -> None:
    others = [f"other {i}" for i in range(service.configuration.workers + 1)]
    for other in others:
        service.submit(other, ClipRequest("x", "mini", 200.0))
    page.fill("#prompt textarea", "drums")
    set_slider(page, "duration", 1)
    page.click("#generate")
    try:
        said(page, "Waiting: 1 before you")
        service.cancel(others[0])
        said(page, "you are next")
    finally:
        for other in others:
            service.cancel(other)
    said(page, "Done")


def test_the_page_says_what_one_must_know(page) -> None:
    notes = page.inner_text("#notes").replace("\n", " ")
    for text in ("nothing you enter goes anywhere else", "cannot", "CC-BY-NC 4.0, not for commercial use"):
        assert text in notes
    choose(page, "facebook/musicgen-large")
    page.get_by_text("13.7 GB to download first").wait_for()


def test_scores_with_one_click(page) -> None:
    open_part(page, "Melody: hum or upload")
    page.set_input_files("#melody-file input[type=file]", str(TUNE))
    page.locator("#melody-editor canvas").wait_for()
    generate(page, "calm piano", 2.0)
    page.click("#score")
    wait_until(page, lambda: page.locator("#scores table").count() == 1)
    text = page.inner_text("#scores")
    assert re.search(r"CLAP \(mini\)\s+-?[01]\.\d\d", text)
    similarity = re.search(r"Chroma similarity\s+([01]\.\d\d)", text)
    assert similarity
    assert f"{float(similarity[1]):.0%} of the melody" in page.inner_text("#plots")


def test_a_dropped_clip_restores_its_settings(page, service: Service) -> None:
    open_part(page, "More settings")
    open_part(page, "Timeline")
    page.fill("#timeline textarea", "0:01 strings")
    page.fill("#seed input, #seed textarea", "77")
    generate(page, "drums <b>and</b> bass", 3.0)
    clip, link = newest(service), page.input_value("#link input, #link textarea")
    page.wait_for_function("(id) => (localStorage.getItem('musicgen') || '').includes(id)", arg=clip.parent.name)
    # When the page is loaded: what still goes on in this one may store settings.
    page.add_init_script("localStorage.clear()")
    page.reload()
    said(page, "Ready")
    assert page.input_value("#prompt textarea") == ""
    transfer = page.evaluate_handle(
        """async (content) => {
            const bytes = Uint8Array.from(atob(content), (char) => char.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], 'mine.flac', { type: 'audio/flac' }));
            return transfer;
        }""",
        base64.b64encode(clip.read_bytes()).decode(),
    )
    page.dispatch_event("#heading", "drop", {"dataTransfer": transfer})
    assert "mine.flac" in said(page, "Restored")
    assert page.input_value("#prompt textarea") == "drums <b>and</b> bass"
    assert page.input_value("#duration input[type=number]") == "3"
    page.goto(link)
    said(page, "settings of your link")
    assert page.input_value("#prompt textarea") == "drums <b>and</b> bass"
    open_part(page, "More settings")
    assert page.input_value("#timeline textarea") == "0:01 strings"
    assert page.input_value("#seed input, #seed textarea") == "77"
    page.click("#generate")
    said(page, "Generating", "Writing", "Done")
    said(page, "Done")
    assert audio.read(newest(service)).wave.equal(audio.read(clip).wave)


def test_bad_input_is_said_in_the_page(page, tmp_path: Path) -> None:
    hostile = tmp_path / "<img src=x onerror=document.title='owned'>.flac"
    hostile.write_bytes(b"no sound")
    page.set_input_files("input[type=file][data-testid^=Restore]", str(hostile))
    page.get_by_text("not readable as audio").wait_for()
    assert page.title() == "MusicGen"
    open_part(page, "Timeline")
    page.fill("#timeline textarea", "0:59 too late")
    page.fill("#prompt textarea", "<script>document.title='owned'</script>")
    page.click("#generate")
    assert "the clip is 10 s long" in said(page, "Not generated")
    page.fill("#timeline textarea", "")
    page.fill("#prompt textarea", "x" * 100_000)
    page.click("#generate")
    assert "100000 characters" in said(page, "100000")
    page.fill("#prompt textarea", "<script>document.title='owned'</script>")
    set_slider(page, "duration", 1)
    page.click("#generate")
    said(page, "Generating", "Writing", "Done")
    said(page, "Done")
    assert page.title() == "MusicGen"


def test_a_closed_tab_frees_the_slot(browser, address, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.presence, "grace_seconds", 1.0)
    context = browser.new_context()
    tab = context.new_page()
    visit(tab, address)
    tab.fill("#prompt textarea", "long")
    set_slider(tab, "duration", 300)
    tab.click("#generate")
    said(tab, "Generating")
    assert len(service.job_queue) == 1
    context.close()
    wait(lambda: len(service.job_queue) == 0)


@pytest.mark.parametrize(("width", "height"), [(390, 844), (320, 640)])
def test_a_phone(browser, address, width: int, height: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, has_touch=True, is_mobile=True)
    tab = context.new_page()
    problems = watch(tab)
    visit(tab, address)
    generate(tab, "drums")
    # Who asked for music sees beside the button how it goes, and can end it. No toast lies upon it.
    button, status = tab.locator("#generate").bounding_box(), tab.locator("#status").bounding_box()
    assert 0 <= button["y"] - (status["y"] + status["height"]) < 20
    for name in ("#generate", "#stop"):
        box = tab.locator(name).bounding_box()
        assert box["height"] >= 44
        assert box["y"] + box["height"] <= height
    tab.fill("#prompt textarea", "x" * 100_000)
    tab.click("#generate")
    said(tab, "Not generated")
    broken = {"name": "tune.flac", "mimeType": "audio/flac", "buffer": b"no sound"}
    tab.set_input_files("input[type=file][data-testid^=Restore]", files=[broken])
    toast = tab.get_by_test_id("toast-body").first
    toast.wait_for()
    assert toast.bounding_box()["y"] + toast.bounding_box()["height"] < tab.locator("#status").bounding_box()["y"]
    tab.fill("#prompt textarea", "drums")
    # The model's label ends before its arrow.
    label = tab.evaluate(
        """(({ paddingRight, textOverflow }) => [parseFloat(paddingRight), textOverflow])(
            getComputedStyle(document.querySelector('#model input')))"""
    )
    assert label[0] >= 24
    assert label[1] == "ellipsis"
    tab.evaluate("document.querySelector('#more-of-clip button').click()")
    open_part(tab, "Melody: hum or upload")
    tab.set_input_files("#melody-file input[type=file]", str(TUNE))
    canvas = tab.locator("#melody-editor canvas")
    canvas.scroll_into_view_if_needed()
    canvas.tap(position={"x": 3.5 * float(canvas.get_attribute("data-cell")), "y": 5})
    assert tab.locator("#melody-editor .where").inner_text() == "0.4 s: B"
    beyond = tab.evaluate(
        """[...document.querySelectorAll('body *')].filter((one) => one.offsetParent && !one.closest('.scroll')
            && one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 120))"""
    )
    assert beyond == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    # Of the footer's links one is left, and no divider beside it.
    footer = "[...document.querySelectorAll('footer > *')].filter((one) => one.offsetParent).map((one) => one.innerText.trim())"
    assert tab.evaluate(footer) == ["Settings"]
    # The arrows of the sections stand below each other, whatever the lines of their labels.
    arrows = tab.evaluate(
        "[...document.querySelectorAll('.label-wrap .icon')].map((one) => one.getBoundingClientRect())"
        ".filter((box) => box.width).map((box) => (box.left + box.right) / 2)"
    )
    assert len(arrows) > 4
    assert max(arrows[:4]) - min(arrows[:4]) < 1
    context.close()
    assert problems == []


def test_the_keyboard_reaches_everything(page) -> None:
    page.focus("#prompt textarea")
    page.keyboard.type("drums")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.id || document.activeElement.textContent.trim().slice(0, 12)")
        )
    assert {"generate", "stop", "More setting", "Timeline: ch"} <= reached
    page.focus("#generate")
    set_slider(page, "duration", 1)
    page.focus("#generate")
    page.keyboard.press("Enter")
    said(page, "Generating", "Writing", "Done")
    said(page, "Done")


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    npm, folder = shutil.which("npm"), tmp_path_factory.mktemp("axe")
    if npm is None:
        pytest.skip("npm is not installed: axe-core cannot be fetched")
    done = subprocess.run(
        [npm, "pack", AXE, "--silent"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        pytest.skip(f"npm has no {AXE} to give: {done.stderr.strip()[-200:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


def test_axe_finds_nothing_serious_in_light_and_dark(page, axe: str) -> None:
    page.emulate_media(reduced_motion="reduce")  # so that no colour is on its way from light to dark
    for name in ("Melody: hum or upload", "Continue a clip", "Timeline", "More settings"):
        open_part(page, name)
    page.set_input_files("#melody-file input[type=file]", str(TUNE))
    page.locator("#melody-editor canvas").wait_for()
    generate(page, "drums", 1)
    generate(page, "bass", 1)
    set_slider(page, "variations", 2)
    generate(page, "calm piano", 1)
    wait_until(page, lambda: page.locator("#takes label").count() == 2)
    wait_until(page, lambda: "as measured" in page.locator("#tempo-key").inner_text())
    open_part(page, "Compare with another clip")
    open_part_of_clip(page)
    page.click("#make-daw")
    page.locator("#download-zip").wait_for(timeout=PATIENCE * SECOND)
    assert_accessible(page, axe)


def open_part_of_clip(tab) -> None:
    """Open "More" of the clip, with its buttons, Repaint and its details."""
    tab.locator("#more-of-clip").get_by_role("button", name="More").click()
    tab.locator("#details summary").click()


def assert_accessible(tab, axe: str) -> None:
    """axe finds nothing serious, in light and in dark."""
    tab.evaluate(axe)
    ground = "getComputedStyle(document.querySelector('#status p')).color"
    light = tab.evaluate(ground)
    for scheme in ("light", "dark"):
        tab.evaluate(f"document.body.classList.toggle('dark', {str(scheme == 'dark').lower()})")
        tab.wait_for_timeout(0.5 * SECOND)
        assert (tab.evaluate(ground) == light) == (scheme == "light")
        found = tab.evaluate(
            """axe.run(document, { resultTypes: ['violations'] }).then((result) => result.violations.map(
                 (one) => [one.impact, one.id, one.nodes.map((node) => node.html.slice(0, 160))]))"""
        )
        assert [one for one in found if one[0] in ("serious", "critical")] == [], scheme


def test_nothing_leaves_the_machine(browser, address) -> None:
    """Not even a font: every request of the page goes to its own server."""
    context = browser.new_context()
    tab = context.new_page()
    requested: list[str] = []
    tab.on("request", lambda request: requested.append(request.url))
    visit(tab, address)
    generate(tab, "drums", 1)
    context.close()
    assert [url for url in requested if not url.startswith((address, "blob:", "data:"))] == []


def test_another_visitors_clip_cannot_be_listed(address, service: Service) -> None:
    for path in (service.clip_store.folder, service.clip_store.folder / "clips"):
        reply = httpx.get(f"{address}gradio_api/file={path}")
        assert reply.status_code in (403, 404)
        assert "musicgen" not in reply.text


def test_a_link_that_is_damaged_is_said(browser, address) -> None:
    tab = browser.new_page()
    good = clip_metadata.make_link(ClipRequest("drums", "mini", seed=1), 1)
    for text in ("abc", good[:-4], clip_metadata.make_link(ClipRequest("drums", "../../etc"), 1)):
        tab.goto(f"{address}?s={text}")
        said(tab, "the link holds no settings", "unknown model")
    tab.close()


def test_screenshot(page, tmp_path: Path) -> None:
    """The README's screenshot: written to docs/images if MUSICGEN_SCREENSHOT is set."""
    folder = Path(__file__).parents[2] / "docs" / "images" if os.environ.get("MUSICGEN_SCREENSHOT") else tmp_path
    page.set_viewport_size({"width": 1240, "height": 960})
    generate(page, "lofi hip hop, slow, warm electric piano and soft drums", 10 if folder != tmp_path else 3)
    wait_until(page, lambda: page.locator("#plots img").count() == 2)
    wait_until(page, lambda: page.locator("#live .live").is_hidden(), seconds=90)
    wait_until(page, lambda: page.locator("#result #duration").inner_text() != "0:00")
    page.wait_for_timeout(SECOND)
    page.evaluate("window.scrollTo(0, 0)")
    page.mouse.move(5, 5)
    page.screenshot(path=folder / "demo.png")
    assert (folder / "demo.png").stat().st_size > 20_000


def test_a_melody_that_cannot_be_read_is_what_the_message_is_about(page, tmp_path: Path) -> None:
    """Not the model, which follows text only."""
    broken = tmp_path / "tune.wav"
    broken.write_bytes(b"no sound")
    open_part(page, "Melody: hum or upload")
    page.set_input_files("#melody-file input[type=file]", str(broken))
    assert "tune.wav" in said(page, "The melody cannot be used")
    page.fill("#prompt textarea", "drums")
    page.click("#generate")
    assert "tune.wav: not readable as audio" in said(page, "Not generated")


def test_an_example_melody_is_followed_with_a_click(page, service: Service) -> None:
    open_part(page, "Melody: hum or upload")
    page.get_by_role("button", name="Try a hummed tune").click()
    page.locator("#melody-editor canvas").wait_for()
    wait_until(page, lambda: parts(page).get("melody") == "follows hummed-tune.ogg ✕")
    assert page.input_value("#model input").startswith("mini-melody")
    assert "Done" in generate(page, "flute", 1.0)
    assert len(clip_metadata.read_file(newest(service), "", ModelCatalog())[0].frames) > 70


def test_a_melody_is_removed_as_often_as_one_likes(page) -> None:
    open_part(page, "Melody: hum or upload")
    for how in ("#remove-melody", "#remove-melody", "#melody-editor [data-do=clear]", "#remove-melody"):
        page.get_by_role("button", name="Try a hummed tune").click()
        wait_until(page, lambda: parts(page).get("melody") == "follows hummed-tune.ogg ✕")
        page.locator("#melody-editor canvas").wait_for()
        for _ in range(3):  # a click on a button that is being drawn anew has no effect
            if page.locator(how).is_visible():
                page.click(how)
            page.wait_for_timeout(1000)
            if parts(page) == {}:
                break
        assert parts(page) == {}
        assert not page.locator("#melody-editor").is_visible()


def test_a_link_brings_the_whole_seed_and_a_reload_what_came_after(page, browser) -> None:
    page.fill("#prompt textarea", "organ")
    set_slider(page, "duration", 1)
    open_part(page, "More settings")
    page.fill("#seed input, #seed textarea", "1694652904")
    page.press("#prompt textarea", "Shift+Enter")
    said(page, "Done")
    wait_until(page, lambda: "?s=" in page.input_value("#link input, #link textarea"))
    context = browser.new_context()
    other = context.new_page()
    other.goto(page.input_value("#link input, #link textarea"))
    said(other, "settings of your link")
    wait_until(other, lambda: parts(other) == {"seed": "seed 1694652904 ✕"})
    assert "?" not in other.url
    other.fill("#prompt textarea", "flute")
    other.wait_for_timeout(500)
    other.reload()
    said(other, "Ready")
    wait_until(other, lambda: other.input_value("#prompt textarea") == "flute")
    context.close()


def test_an_emptied_number_and_a_second_click_are_no_errors(page, service: Service) -> None:
    number = page.locator("#duration input[type=number]")
    number.fill("")
    page.wait_for_timeout(500)
    assert page.locator(".toast-body").count() == 0
    set_slider(page, "duration", 60)
    count = len(made(service))
    page.click("#generate")
    said(page, "Generating")
    page.click("#generate")
    page.get_by_text("This page is making a clip: wait for it, or press Stop.").wait_for()
    page.click("#stop")
    said(page, "Done", "Stopped before there was any sound")
    assert len(made(service)) <= count + 1


def test_chords_and_midi_files_are_followed(page, service: Service, tmp_path: Path) -> None:
    open_part(page, "Melody: hum or upload")
    page.fill("#chords input, #chords textarea", "C H7")
    page.press("#chords input, #chords textarea", "Tab")
    assert "'H7'" in said(page, "The chords cannot be used")
    page.fill("#chords input, #chords textarea", "C G Am F")
    page.press("#chords input, #chords textarea", "Tab")
    assert "mini follows no melody, so the model is now mini-melody" in said(page, "so the model is now")
    wait_until(page, lambda: parts(page).get("chords") == "follows the chords C G Am F ✕")
    assert "Done" in generate(page, "organ", 1.0)
    assert clip_metadata.read_file(newest(service), "", ModelCatalog())[0].chords == ChordChart("C G Am F")
    page.click("#remove-chords")
    wait_until(page, lambda: parts(page) == {})
    page.set_input_files("#midi-file input[type=file]", str(write_midi(tmp_path / "tune.mid", 60, 64, 67)))
    assert "The MIDI file has 3 notes" in said(page, "The MIDI file")
    wait_until(page, lambda: parts(page).get("midi") == "follows tune.mid ✕")
    assert "Done" in generate(page, "organ", 1.0)
    clip = newest(service)
    assert clip_metadata.read_file(clip, "", ModelCatalog())[1] == {"melody": "tune.mid"}
    page.click("#remove-midi")
    wait_until(page, lambda: parts(page) == {})
    # Its settings ask for the file, which either input takes.
    page.set_input_files("input[type=file][data-testid^=Restore]", str(clip))
    wait_until(page, lambda: parts(page).get("needed") == "needs tune.mid ✕")
    page.set_input_files("#midi-file input[type=file]", str(tmp_path / "tune.mid"))
    wait_until(page, lambda: "needed" not in parts(page))
    page.click("#remove-midi")
    # Browsers offer MIDI files where audio is asked for.
    page.set_input_files("#melody-file input[type=file]", str(tmp_path / "tune.mid"))
    assert "The MIDI file has 3 notes" in said(page, "The MIDI file")
    assert "Done" in generate(page, "organ", 1.0)


def test_the_style_is_offered_where_the_model_follows_one(page) -> None:
    style = page.locator("#style-accordion")
    assert not style.is_visible()
    choose(page, "facebook/musicgen-style")
    style.wait_for()
    open_part(page, "Style: a recording")
    page.set_input_files("#style-file input[type=file]", str(TUNE))
    wait_until(page, lambda: parts(page).get("style") == f"in the style of {TUNE.name} ✕")
    choose(page, "mini")
    page.click("#generate")
    assert "mini follows no style" in said(page, "Not generated")
    page.click("#remove-style")
    wait_until(page, lambda: "style" not in parts(page))


def test_the_page_says_what_to_expect_of_a_model(page) -> None:
    cost = page.locator("#cost")
    wait_until(page, lambda: "mini is a small demonstration: the published ones" in cost.inner_text())
    assert "from 2.4 GB to download" in cost.inner_text()
    assert "step" not in cost.inner_text()
    choose(page, "facebook/musicgen-large")
    wait_until(page, lambda: "13.7 GB to download first, up to 20.6 GB of memory" in cost.inner_text())
    assert "demonstration" not in cost.inner_text()


def test_a_clip_is_downloaded_as_a_video(page, service: Service) -> None:
    generate(page, "drums", 1.0)
    page.click("#more-of-clip button")
    page.click("#make-video")
    button = page.locator("#download-mp4")
    wait_until(page, button.is_visible, 60)
    with page.expect_download() as download:
        button.click()
    assert download.value.suggested_filename == newest(service).with_suffix(".mp4").name
    file = Path(download.value.path())
    with av.open(str(file)) as container:
        assert {stream.type for stream in container.streams} == {"video", "audio"}
    assert audio.read(file).duration == pytest.approx(1.0, abs=0.1)


def test_a_clip_is_packed_for_a_daw(page, service: Service) -> None:
    generate(page, "drums", 1.0)
    page.click("#more-of-clip button")
    page.click("#make-daw")
    button = page.locator("#download-zip")
    wait_until(page, button.is_visible, 60)
    with page.expect_download() as download:
        button.click()
    assert download.value.suggested_filename == newest(service).with_suffix(".zip").name
    with zipfile.ZipFile(download.value.path()) as archive:
        facts = json.loads(archive.read(f"{newest(service).stem}/clip.json"))
    assert facts["settings"]["prompt"] == "drums"
    page.locator("#details summary").click()
    assert "Marked as made by a model" in page.locator("#details").inner_text()
