"""The page in a real Chromium: real audio, real clicks, interruption, resuming; and what it must not do."""

import contextlib
import itertools
import json
import re

import pytest
from sqlalchemy import select, update

from human_study.database import queries, schema, study_database
from human_study.design import manifest
from human_study.web.app import create_app
from tests.human_study.conftest import serving

SECOND = 1000  # ms


@pytest.fixture
def site(build_study, tmp_path):
    """site(**changes) -> (address, store, study); kept up until the test ends. On SQLite, unless a test names a database: what
    the server does on either is test_server's."""
    with contextlib.ExitStack() as stack:

        def make(database_url=None, **changes):
            study = build_study(**changes)
            database = study_database.open_database(study, database_url or f"sqlite:///{tmp_path / 'study.db'}")
            stack.callback(database.dispose)
            return stack.enter_context(serving(create_app(study, database))), database, study

        yield make


@pytest.fixture
def page(browser):
    """A fresh browser profile; script errors and breaches of the content policy fail the test."""
    context = browser.new_context(locale="en-GB", viewport={"width": 1100, "height": 850})
    tab = context.new_page()
    tab.set_default_timeout(20 * SECOND)
    problems = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: "Content Security Policy" in message.text and problems.append(message.text))
    yield tab
    context.close()
    assert problems == []


def until(page, expression):
    """Wait for an expression; the policy forbids the page the `eval` that wait_for_function would use."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {expression}")


def agree(page, address):
    page.goto(address)
    page.check("#agree")
    page.click("#start")


def hear(column):
    """Play a column until its coverage is full."""
    column.locator(".play").click()
    column.locator(".heard", has_text="✓").wait_for()


def set_slider(page, slider, value):
    box = slider.bounding_box()
    upright = box["height"] > box["width"]
    share = (value - 1) / 99
    x = box["x"] + box["width"] * (0.5 if upright else share)
    y = box["y"] + box["height"] * (1 - share if upright else 0.5)
    page.mouse.click(x, y)


def rate(page, values=(30, 50, 70, 90, 20)):
    """Hear everything, rate everything, and go on."""
    page.locator(".trial").wait_for()
    for index in range(page.locator(".column").count()):
        hear(page.locator(".column").nth(index))
    sliders = page.locator(".scale input")
    for index in range(sliders.count()):
        set_slider(page, sliders.nth(index), values[index])
    lease = page.evaluate("Object.keys(localStorage).find((key) => key.startsWith('study-draft-'))")
    page.click("#next")
    until(page, f"localStorage.getItem('{lease}') === null")


def test_from_consent_to_the_receipt_with_an_interruption(site, page, database_url):
    address, database, _ = site(database_url, practice="true", headphone_check="record", clock="true")
    agree(page, address)
    for index in range(6):
        row = page.locator(".tones").nth(index)
        row.locator("button").click()
        row.locator("input").nth(index % 3).check()
    page.click("button.primary")
    page.locator(".badge", has_text="Practice").wait_for()
    rate(page)
    page.locator("#saved.saved").wait_for()
    questions = []
    for number in range(3):
        page.locator("#progress", has_text=f"{number + 2} of 4").wait_for()
        page.locator(".trial").wait_for()
        questions.append(page.locator("h1").inner_text())
        if number == 1:
            first = page.locator(".column").first
            hear(first)
            slider = page.locator(".scale input").first
            set_slider(page, slider, 64)
            before = page.locator("output").first.inner_text()
            page.reload()
            page.locator(".trial").wait_for()
            assert page.locator("output").first.inner_text() == before
            assert "✓" in page.locator(".heard").first.inner_text()
            assert page.locator("h1").inner_text() == questions[-1]
        rate(page)
    page.locator("#receipt").wait_for()
    assert sum("quality" in q for q in questions) == 1
    assert sum("description" in q for q in questions) == 1
    assert sum("melody" in q for q in questions) == 1
    page.reload()
    page.locator("#receipt").wait_for()
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.trial)) == 4
        rows = connection.execute(select(schema.listening.c.heard_share, schema.listening.c.value)).all()
    assert min(row.heard_share for row in rows) > 0.9
    assert {row.value for row in rows} > {None}


def test_next_says_what_is_missing_and_sliders_are_unset(site, page):
    address, database, _ = site()
    agree(page, address)
    page.locator(".trial").wait_for()
    assert page.locator(".scale input.unset").count() == page.locator(".scale input").count() > 1
    assert set(page.locator("output").all_inner_texts()) == {"–"}
    assert page.locator("#next").get_attribute("aria-disabled") == "true"
    page.click("#next", force=True)  # it says so to assistive technology, and answers all the same
    text = page.locator("#missing").inner_text()
    assert "A: not rated" in text
    assert "A: 1 s unheard" in text
    set_slider(page, page.locator(".scale input").first, 50)
    assert "A: not rated" not in page.locator("#missing").inner_text()
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.trial)) == 0


def test_a_draft_of_a_page_that_was_stuck_is_submitted(site, page):
    """A piece shorter than the rounding, as switching just before the loop's end leaves it."""
    address, database, _ = site(questions="[REL]")
    agree(page, address)
    page.locator(".trial").wait_for()
    stuck = """([key, text] = Object.entries(localStorage).find(([k]) => k.startsWith("study-draft-"))) => {
      const draft = JSON.parse(text);
      for (const token of Object.keys(draft.heard)) draft.heard[token] = [[0, 0.689], [0.69966, 0.7]];
      window.addEventListener("pagehide", () => localStorage.setItem(key, JSON.stringify(draft)));
    }"""
    page.evaluate(f"({stuck})()")
    page.reload()
    page.locator(".trial").wait_for()
    sliders = page.locator(".scale input")
    for index in range(sliders.count()):
        set_slider(page, sliders.nth(index), 50)
    page.click("#next")
    page.locator("#saved.saved").wait_for()
    with database.read() as connection:
        assert set(connection.execute(select(schema.listening.c.heard_share)).scalars()) == {689 / 700}


def test_a_refusal_says_what_to_do_in_the_raters_language(site, page):
    address, _, _ = site(questions="[REL]")
    agree(page, f"{address}?lang=de")
    page.route(
        "**/api/trials/*", lambda route: route.fulfill(status=422, json={"code": "too_fast", "error": "English"})
    )
    page.locator(".trial").wait_for()
    for column in page.locator(".column").all():
        hear(column)
    for slider in page.locator(".scale input").all():
        set_slider(page, slider, 50)
    page.click("#next")
    page.locator("#missing", has_text="Warten Sie eine Minute").wait_for()
    assert page.locator("#language option").all_inner_texts() == ["English", "Deutsch"]


def test_a_page_that_others_have_filled_is_said_and_another_one_comes(site, page):
    """A laptop that slept through its lease, while others rated all pages but those of one sample."""
    address, database, _ = site(questions="[REL]", raters_per_sample=1, trials_per_rater=2)
    agree(page, f"{address}?lang=de")
    page.locator(".trial").wait_for()
    for column in page.locator(".column").all():
        hear(column)
    for slider in page.locator(".scale input").all():
        set_slider(page, slider, 50)
    first = page.locator(".prompt").inner_text() if page.locator(".prompt").count() else ""
    with database.write() as connection:
        connection.execute(update(schema.lease).values(expires_at=1.0))
        mine = connection.execute(select(schema.lease.c.page_id)).scalar_one()
        entered = schema.rater.insert().values(
            study_id=database.study_id, public_id="o" * 32, session_sha256="o" * 64, platform="open", language="en", seed=1,
            created_at=1.0, headphone_tries=0, alive_at=1.0,
        )  # fmt: skip
        other = queries.inserted_id(connection.execute(entered))
        connection.execute(schema.trial.insert().values(
            study_id=database.study_id, rater_id=other, page_id=mine, idempotency_key="k", body_sha256="b", receipt="r",
            position=0, started_at=1.0, submitted_at=2.0,
        ))  # fmt: skip
    page.click("#next")
    page.locator("#saved.lost", has_text="Andere haben diese Seite inzwischen bewertet").wait_for()
    page.locator(".trial").wait_for()
    assert page.locator(".prompt").inner_text() != first
    rate(page)
    assert "lost" not in page.locator("#saved").get_attribute("class")
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.trial)) == 2


@pytest.mark.parametrize("width", [390, 320])
@pytest.mark.parametrize("language", ["en", "de"])
def test_buttons_have_room_around_their_names_on_phones(site, page, width, language):
    address, _, _ = site(questions="[{name: OVL, method: mushra}]")
    page.set_viewport_size({"width": width, "height": 800})
    agree(page, f"{address}?lang={language}")
    page.locator(".trial").wait_for()
    rooms = page.evaluate("""() => [...document.querySelectorAll(".play")].map((button) => {
      const range = document.createRange();
      range.selectNodeContents(button);
      const [outer, inner] = [button.getBoundingClientRect(), range.getBoundingClientRect()];
      return [inner.left - outer.left, outer.right - inner.right, inner.height];
    })""")
    assert len(rooms) == 6
    assert all(left >= 12 and right >= 12 for left, right, _ in rooms)
    assert len({height for *_, height in rooms}) == 1  # no name is broken into two lines
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_coverage_counts_only_what_was_played(site, page):
    address, _, _ = site()
    agree(page, address)
    page.locator(".trial").wait_for()
    start, end = page.locator(".waveform input").nth(0), page.locator(".waveform input").nth(1)
    end.fill("0.5")
    first = page.locator(".column").first
    first.locator(".play").click()
    page.wait_for_timeout(1500)
    first.locator(".play").click()
    heard = page.evaluate(
        "JSON.parse(Object.entries(localStorage).find(([k]) => k.startsWith('study-draft-'))[1]).heard"
    )
    seconds = sorted(sum(b - a for a, b in spans) for spans in heard.values())
    assert seconds[-1] == pytest.approx(0.5, abs=0.06)
    assert seconds[-2] == 0
    assert start.get_attribute("aria-label") == "Start of the loop"


def test_keys_switch_and_keep_the_playhead(site, page):
    address, _, _ = site(questions="[REL]")
    agree(page, address)
    page.locator(".trial").wait_for()
    page.keyboard.press("1")
    until(page, "document.querySelectorAll('.sounding').length === 1")
    columns = page.locator(".column:not(.reference)")
    assert "sounding" in columns.nth(0).get_attribute("class")
    page.keyboard.press("2")
    assert "sounding" in columns.nth(1).get_attribute("class")
    assert page.locator(".sounding").count() == 1
    page.keyboard.press("Space")
    until(page, "document.querySelectorAll('.sounding').length === 0")
    slider = page.locator(".scale input").first
    slider.focus()
    assert slider.get_attribute("aria-valuetext") == "not rated yet"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("PageUp")
    value = int(page.locator("output").first.inner_text())
    assert value > 55
    assert slider.get_attribute("aria-valuetext").startswith(f"{value}, ")


def test_an_offline_rater_goes_on_where_they_were(site, page):
    address, database, _ = site(questions="[REL]")
    agree(page, address)
    page.locator(".trial").wait_for()
    for index in range(page.locator(".column").count()):
        hear(page.locator(".column").nth(index))
    for index in range(page.locator(".scale input").count()):
        set_slider(page, page.locator(".scale input").nth(index), 40)
    page.context.set_offline(True)
    page.click("#next")
    page.locator("#saved.retrying").wait_for()
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.trial)) == 0
    page.context.set_offline(False)
    page.locator("#progress", has_text="2 of 3").wait_for()
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.trial)) == 1


def test_a_page_closed_before_the_answer_is_sent_again(site, page):
    address, database, _ = site(questions="[REL]")
    agree(page, address)
    page.locator(".trial").wait_for()
    page.route("**/api/trials/*", lambda route: route.abort())
    for index in range(page.locator(".column").count()):
        hear(page.locator(".column").nth(index))
    for index in range(page.locator(".scale input").count()):
        set_slider(page, page.locator(".scale input").nth(index), 40)
    page.click("#next")
    page.locator("#saved.retrying").wait_for()
    page.unroute("**/api/trials/*")
    page.goto("about:blank")
    page.goto(address)
    page.locator("#progress", has_text="2 of 3").wait_for()
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.trial)) == 1


def test_two_tabs_and_the_back_button_store_one_page(site, page):
    address, database, _ = site(questions="[REL]")
    agree(page, address)
    page.locator(".trial").wait_for()
    second = page.context.new_page()
    second.goto(address)
    second.locator(".trial").wait_for()
    rate(page)
    page.locator("#progress", has_text="2 of 3").wait_for()
    # The other tab still shows the first page; what it sends is stored already, and it moves on.
    for index in range(second.locator(".column").count()):
        hear(second.locator(".column").nth(index))
    for index in range(second.locator(".scale input").count()):
        set_slider(second, second.locator(".scale input").nth(index), 77)
    second.click("#next")
    second.locator("#progress", has_text="2 of 3").wait_for()
    page.goto("about:blank")
    page.go_back()
    page.locator("#progress", has_text="2 of 3").wait_for()
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.trial)) == 1


def test_an_attention_check_has_to_be_heard(site, page):
    """Its page has no waveform, which would show the beeps, and is answered like the others."""
    address, _, _ = site(
        questions="[REL]", trials_per_rater=1, attention_checks=1, headphone_check="'off'", practice="false"
    )
    agree(page, address)
    seen = {}
    for number in (1, 2):
        page.locator("#progress", has_text=f"{number} of 2").wait_for()
        page.locator(".trial").wait_for()
        check = "beep" in page.locator("h1").inner_text()
        seen[check] = page.locator(".waveform").count()
        rate(page)
    assert seen == {True: 0, False: 1}
    page.locator("#receipt").wait_for()


def test_a_preference_page(site, page):
    questions = "questions: [{name: which, method: ab, text: {en: 'Which one is better?', de: 'Was ist besser?'}}]"
    text = f"name: ab\n{questions}\nsystems: {{bright: samples/bright, dull: samples/dull}}\npractice: false\nopen_link: true"
    address, database, _ = site(text=text, trials_per_rater=1, attention_checks=0, headphone_check="'off'")
    agree(page, address)
    page.locator("h1", has_text="Which one is better?").wait_for()
    assert page.locator(".scale").count() == 0
    for index in range(2):
        hear(page.locator(".column").nth(index))
    assert "Choose which clip is better" in page.locator("#missing").inner_text()
    page.locator(".choices input").nth(1).check()
    page.click("#next")
    page.locator("#receipt").wait_for()
    with database.read() as connection:
        assert connection.execute(select(schema.trial.c.preferred_clip_id)).scalar_one() is not None


def test_a_page_of_labels(site, page):
    """By keyboard, with a reload in between, and on a phone: the labels are there, and the grade is stored."""
    address, database, _ = site(questions="[{name: OVL, method: likert}]", trials_per_rater=1)
    agree(page, address)
    page.locator(".trial").wait_for()
    assert page.locator("h1").inner_text() == "How good is the overall quality of this clip?"
    assert page.locator(".grades span").all_inner_texts() == ["Excellent", "Good", "Fair", "Poor", "Bad"]
    assert page.locator(".grades input:checked").count() == 0
    hear(page.locator(".column").first)
    assert "A: not rated" in page.locator("#missing").inner_text()
    page.get_by_role("radio", name="4 Good").focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.reload()
    page.locator(".trial").wait_for()
    assert page.get_by_role("radio", name="3 Fair").is_checked()
    assert page.get_by_role("group", name="Rating of clip A").count() == 1
    page.set_viewport_size({"width": 375, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert min(box["height"] for box in (one.bounding_box() for one in page.locator(".grades label").all())) >= 44
    assert page.evaluate(CONTRAST) == []
    page.click("#next")
    page.locator("#receipt").wait_for()
    with database.read() as connection:
        assert connection.execute(select(schema.listening.c.value)).scalars().all() == [3]


def test_an_abx_page(site, page):
    """Heard by keyboard, answered with how sure, interrupted by a reload; the page's own memory does not name a clip."""
    questions = "[{name: ABX, confidence: true}]"
    address, database, study = site(questions=questions, trials_per_rater=1)
    agree(page, address)
    page.locator(".trial").wait_for()
    assert page.locator(".column .play").all_inner_texts() == ["►\nA", "►\nB", "►\nX"]
    for key, column in zip("123", page.locator(".column").all(), strict=True):
        page.keyboard.press(key)
        column.locator(".heard", has_text="✓").wait_for()
    page.keyboard.press("Space")
    assert page.locator("#missing").inner_text().splitlines() == ["Choose which clip X is", "Say how sure you are"]
    page.get_by_role("group", name="Which clip is X a copy of?").get_by_label("X is B").check()
    page.reload()
    page.locator(".trial").wait_for()
    assert page.get_by_label("X is B").is_checked()
    page.get_by_label("Certain").check()
    page.set_viewport_size({"width": 375, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert page.evaluate(CONTRAST) == []
    known = page.content() + page.evaluate("JSON.stringify([localStorage, performance.getEntriesByType('resource')])")
    assert not any(word in known for word in (*study.clips, *study.settings.systems))
    page.click("#next")
    page.locator("#receipt").wait_for()
    with database.read() as connection:
        row = connection.execute(select(schema.trial)).one()
        slots = connection.execute(select(schema.listening.c.slot, schema.listening.c.clip_id)).tuples().all()
    assert row.confidence == 3
    assert row.preferred_clip_id == dict(slots)[2]
    assert dict(slots)[3] in (dict(slots)[1], dict(slots)[2])


def test_a_questionnaire(site, page):
    """What is typed survives a reload; what is missing is said and focused; every control has a name and contrast, and fits."""
    more = "{name: length, kind: text, required: false, text: {en: 'Anything else?', de: 'Noch etwas?'}}"
    fields = f"{{before: [age, device, {more}]}}"
    address, database, _ = site(questionnaire=fields, trials_per_rater=1)
    page.set_viewport_size({"width": 375, "height": 700})
    agree(page, address)
    page.get_by_role("heading", name="About you").wait_for()
    page.get_by_label("How old are you?").fill("12")
    page.get_by_label("Anything else?").fill("<b>no</b>")
    page.reload()
    page.get_by_role("heading", name="About you").wait_for()
    assert page.get_by_label("Anything else? (optional)").input_value() == "<b>no</b>"
    page.click("#next")
    assert page.get_by_role("alert").inner_text().splitlines() == [
        "Please give a number from 18 to 120: How old are you?",
        "Please answer: What do you listen with?",
    ]
    assert page.evaluate("document.activeElement.id") == "field-age"
    assert page.locator("[aria-invalid=true]").count() == 1 + 4
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("34")
    page.get_by_role("radio", name="Headphones").check()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert page.evaluate(CONTRAST) == []
    page.click("#next")
    page.locator(".trial").wait_for()
    assert page.evaluate("localStorage.getItem('study-questionnaire')") is None
    with database.read() as connection:
        answers = connection.execute(select(schema.questionnaire.c.answers)).scalar_one()
    assert answers == {"age": 34, "device": "headphones", "length": "<b>no</b>"}


def test_the_phone_layout_fits(site, browser):
    address, _, _ = site()
    context = browser.new_context(
        locale="de-DE", viewport={"width": 375, "height": 700}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    agree(page, address)
    page.locator(".trial").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    boxes = [page.locator(".column").nth(i).bounding_box() for i in range(page.locator(".column").count())]
    assert all(below["y"] > above["y"] + above["height"] - 1 for above, below in itertools.pairwise(boxes))
    for box in [page.locator(".play").nth(i).bounding_box() for i in range(len(boxes))]:
        assert box["height"] >= 44
    assert page.locator("html").get_attribute("lang") == "de"
    assert page.locator("#next").inner_text() == "Weiter"
    page.select_option("#language", "en")
    page.locator("#next", has_text="Next").wait_for()
    context.close()


def test_hostile_texts_stay_texts(study_files, site, page):
    manifests = [study_files / "samples" / system / "manifest.jsonl" for system in ("bright", "dull")]
    originals = [file.read_text() for file in manifests]
    hostile = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>\" ' {tone}"
    for file, original in zip(manifests, originals, strict=True):
        lines = [json.dumps(json.loads(line) | {"prompt": hostile}) for line in original.splitlines()]
        file.write_text("\n".join(lines) + "\n")
    try:
        questions = "questions: [REL]\nsystems: {bright: samples/bright, dull: samples/dull}"
        text = f"name: hostile\n{questions}\ntrials_per_rater: 3\npractice: false\nattention_checks: 0\nopen_link: true"
        address, _, _ = site(text=text, headphone_check="'off'", title="{en: '<script>x</script>'}")
    finally:
        for file, original in zip(manifests, originals, strict=True):
            file.write_text(original)
    page.goto(address + "/?code=%3Cscript%3Ealert(1)%3C/script%3E")
    page.locator("form").wait_for()  # an unknown code: the form, and the address is clean again
    assert "script" not in page.url
    page.goto(address)
    agree(page, address)
    page.locator(".trial").wait_for()
    assert hostile in page.locator(".prompt").inner_text()
    assert page.title() == "<script>x</script>"
    assert page.locator("img, main script").count() == 0


CONTRAST = """
(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const linear = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = (rgb) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => sum + weight * linear(rgb[i] / 255), 0);
  const back = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const out = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length || ['SCRIPT', 'NOSCRIPT', 'OPTION'].includes(e.tagName)) continue;
    const [high, low] = [light(parse(getComputedStyle(e).color)), light(back(e))].sort((x, y) => y - x);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) out.push(`${e.tagName}.${e.className}: ${ratio.toFixed(2)}`);
  }
  return out;
})()
"""
"""Texts whose contrast is under WCAG AA's 4.5:1."""


def test_every_control_has_a_name_and_contrast(site, page):
    address, _, _ = site()
    agree(page, address)
    page.locator(".trial").wait_for()
    unnamed = page.evaluate(
        """[...document.querySelectorAll('button, input, select')]
           .filter((e) => !(e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim())).length"""
    )
    assert unnamed == 0
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        low = page.evaluate(CONTRAST)
        assert low == [], (scheme, low)


def test_admin_page(site, page):
    address, database, study = site()
    agree(page, address)
    page.locator(".trial").wait_for()
    tab = page.context.new_page()
    tab.goto(address + "/admin")
    tab.fill("#token", "wrong")
    tab.click("button")
    tab.locator(".error").wait_for()
    tab.fill("#token", (study.path / manifest.ADMIN_TOKEN).read_text())
    tab.click("button")
    tab.locator("text=0 of 9 pages complete").wait_for()
    assert tab.locator("tbody").nth(0).locator("tr").count() == 9
    tab.click("#pause")
    tab.locator("strong", has_text="Paused").wait_for()
    with database.read() as connection:
        assert connection.execute(select(schema.study.c.paused)).scalar_one() is True


def test_prolific_arrivals_leave_no_id_in_the_address(site, page):
    address, database, _ = site()
    page.goto(f"{address}/?PROLIFIC_PID=abc123&STUDY_ID=s1&SESSION_ID=t1")
    page.locator("#agree").wait_for()
    assert not re.search("PROLIFIC|abc123", page.url)
    with database.read() as connection:
        assert connection.execute(select(schema.payment.c.worker_id)).scalars().all() == ["abc123"]


DAYS = 86_400 * SECOND


@pytest.mark.parametrize("start", ["1999-12-31T23:59:00", None, "2038-01-19T03:00:00"])
def test_a_browsers_clock_that_is_wrong_and_jumps_locks_nobody_out(site, page, start):
    """Twenty days forwards in the middle of the first page and backwards in the middle of the second: what was heard and rated
    stays, and each page is stored once. The server compares what was heard with its own clock."""
    address, database, _ = site(questions="[REL]", trials_per_rater=2, clock="true")
    page.clock.install(**({} if start is None else {"time": start}))
    agree(page, address)
    for number, jump in enumerate((20 * DAYS, -20 * DAYS)):
        page.locator("#progress", has_text=f"{number + 1} of 2").wait_for()
        page.locator(".trial").wait_for()
        first = page.locator(".column").first
        hear(first)
        set_slider(page, page.locator(".scale input").first, 64)
        rated = page.locator("output").first.inner_text()
        now = page.evaluate("Date.now()")
        if jump > 0:
            page.clock.fast_forward(jump)  # as a laptop that slept: what was due meanwhile is done once
        page.clock.set_system_time((now + jump) / SECOND)
        assert abs(page.evaluate("Date.now()") - now - jump) < 60 * SECOND
        assert "✓" in first.locator(".heard").inner_text()
        assert page.locator("output").first.inner_text() == rated
        page.reload()
        page.locator(".trial").wait_for()
        assert page.locator("output").first.inner_text() == rated
        rate(page)
    page.locator("#receipt").wait_for()
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.trial)) == 2
        assert min(connection.execute(select(schema.listening.c.heard_share)).scalars()) > 0.9


@pytest.mark.parametrize(
    "draft", ["{broken", "null", "[]", "5", '{"values": 5}', '{"heard": {"x": 5}}', '{"key": "x"}']
)
def test_a_damaged_draft_locks_nobody_out(site, page, draft):
    """What a browser has stored is used or ignored; the page comes, and can be rated."""
    address, database, _ = site(questions="[REL]")
    agree(page, address)
    page.locator(".trial").wait_for()
    damage = """(text) => addEventListener("pagehide", () => {
      for (const key of Object.keys(localStorage)) localStorage.setItem(key, text);
      localStorage.setItem("study-outbox", text);
      localStorage.setItem("study-questionnaire", text);
    })"""
    page.evaluate(damage, draft)
    page.reload()
    rate(page)
    until(page, "document.getElementById('saved').className === 'saved'")
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.trial)) == 1


@pytest.mark.parametrize(
    "broken",
    [
        "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };",
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('denied', 'SecurityError'); } });",
    ],
    ids=["full", "denied"],
)
def test_a_browser_that_keeps_nothing_can_take_part(site, page, broken):
    asked = "{before: [age], after: [experience]}"
    address, database, _ = site(questions="[REL]", trials_per_rater=1, questionnaire=asked)
    page.add_init_script(broken)
    agree(page, address)
    page.fill("#field-age", "34")
    page.click("#next")
    page.locator(".trial").wait_for()
    for index in range(page.locator(".column").count()):
        hear(page.locator(".column").nth(index))
    for slider in page.locator(".scale input").all():
        set_slider(page, slider, 50)
    page.click("#next")
    page.locator("input[name=experience]").first.check()
    page.click("#next")
    page.locator("#receipt").wait_for()
    with database.read() as connection:
        assert queries.count_rows(connection, select(schema.trial)) == 1
