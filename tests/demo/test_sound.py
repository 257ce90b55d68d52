"""What the page's players tell the browser's audio and drawing: the melody editor, comparison, one sound at a time."""

import json

import pytest

from musicgen.chroma import HOP, SAMPLE_RATE
from tests.demo.test_browser import TUNE, generate, open_part, visit, wait_until, watch

LISTEN = """
window.told = { labels: [], tones: [], sources: [], gains: [], media: [] };
const wrap = (type, name, note) => {
  const work = type.prototype[name];
  type.prototype[name] = function (...values) { note(this, values); return work.apply(this, values); };
};
wrap(CanvasRenderingContext2D, 'fillText', (_, values) => told.labels.push(values.slice(0, 2)));
wrap(OscillatorNode, 'start', (node) => told.tones.push(node.frequency.value));
wrap(AudioBufferSourceNode, 'start', (node, values) => told.sources.push(
  { when: values[0], offset: values[1], context: node.context, seconds: node.buffer.duration }));
wrap(AudioBufferSourceNode, 'stop', () => { told.stopped = (told.stopped || 0) + 1; });
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (...values) {
  if (this instanceof GainNode) told.gains.push(this);
  return connect.apply(this, values);
};
const play = HTMLMediaElement.prototype.play;
HTMLMediaElement.prototype.play = function () {
  if (!this.srcObject) told.media.push(this);
  return play.call(this);
};
"""
SECONDS_PER_FRAME = HOP / SAMPLE_RATE


@pytest.fixture
def listening(browser, address):
    """A page whose audio and drawing are noted in `told`."""
    context = browser.new_context(viewport={"width": 1240, "height": 900}, locale="en-GB")
    context.add_init_script(LISTEN)
    tab = context.new_page()
    problems = watch(tab)
    visit(tab, address)
    yield tab
    context.close()
    assert problems == []


def test_the_melody_editor(listening) -> None:
    """Fits, zooms, has an axis, snaps, sounds, and shows where it is while it plays."""
    page = listening
    open_part(page, "Melody: hum or upload")
    page.set_input_files("#melody-file input[type=file]", str(TUNE))
    canvas = page.locator("#melody-editor canvas")
    canvas.wait_for()
    wait_until(page, lambda: melody(page))
    frames = len(melody(page))

    def width() -> tuple[float, float]:
        return tuple(
            page.evaluate("((e) => [e.scrollWidth, e.clientWidth])(document.querySelector('#melody-editor .scroll'))")
        )

    def cell() -> float:
        return float(canvas.get_attribute("data-cell"))

    assert width()[0] == width()[1]
    fitting = cell()
    assert fitting * frames == pytest.approx(width()[1], abs=2)
    page.click("#melody-editor [data-do=in]")
    assert cell() == pytest.approx(2 * fitting)
    assert width()[0] == pytest.approx(2 * width()[1], abs=2)
    # The axis: a time is as far to the right as its frames are.
    page.evaluate("told.labels = []")
    page.click("#melody-editor [data-do=out]")
    assert page.locator("#melody-editor [data-do=out]").is_disabled()
    labels = page.evaluate("told.labels.slice(told.labels.findLastIndex((label) => label[0] === '0 s'))")
    assert len(labels) > 3
    for text, x in labels:
        assert x - 3 == pytest.approx(float(text.removesuffix(" s")) / SECONDS_PER_FRAME * fitting, abs=0.01)
    # A touched note sounds: B is 493.88 Hz. With a grid of half a second its four frames are set.
    page.select_option("#melody-editor [data-of=snap]", "0.5")
    box = canvas.bounding_box()
    page.mouse.click(box["x"] + 5.5 * fitting, box["y"] + 5)
    assert page.evaluate("told.tones") == [pytest.approx(493.88, abs=0.01)]
    wait_until(page, lambda: melody(page)[4:8] == [11] * 4)  # 0.5 s to 1.0 s
    before = melody(page)
    canvas.focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("told.tones")[-1] == pytest.approx(466.16, abs=0.01)
    wait_until(page, lambda: sum(a != b for a, b in zip(melody(page), before, strict=True)) == 1)
    # The playhead is where the sound is.
    page.click("#melody-editor [data-do=play]")
    playhead = page.locator("#melody-editor .playhead")
    wait_until(page, playhead.is_visible)

    def place() -> float:
        return page.evaluate(
            "new DOMMatrix(getComputedStyle(document.querySelector('#melody-editor .playhead')).transform).e"
        )

    start, at = place(), page.evaluate("performance.now()")
    page.wait_for_timeout(700)
    end, later = place(), page.evaluate("performance.now()")
    assert (end - start) / fitting * SECONDS_PER_FRAME == pytest.approx((later - at) / 1000, abs=0.2)
    page.click("#melody-editor [data-do=play]")
    assert playhead.is_hidden()


def melody(page) -> list[int]:
    stored = json.loads(page.evaluate("localStorage.getItem('musicgen')"))
    return json.loads(stored["settings"]["frames"])["frames"]


def test_one_clock_and_one_sound(listening) -> None:
    """A and B start together, a switch starts nothing anew, and whoever starts ends what sounded before."""
    page = listening
    generate(page, "first", 1.5)
    generate(page, "second", 1.5)
    open_part(page, "Compare with another clip")
    wait_until(page, lambda: page.locator("#live .live").is_hidden(), 30)
    page.evaluate("told.sources = []; told.stopped = 0")
    page.click("#compare [data-do=play]")
    wait_until(page, lambda: page.evaluate("told.sources.length") == 2)
    a, b = page.evaluate("told.sources.map(({ when, offset, seconds }) => [when, offset, seconds])")
    assert a == b  # the same instant, the same place
    assert a[2] == pytest.approx(1.5, abs=0.01)
    assert page.evaluate("told.sources[0].context === told.sources[1].context")
    before, after = page.evaluate(
        """[told.sources.length + told.stopped, document.querySelector("#compare [data-do='1']").click(),
            told.sources.length + told.stopped].filter((one) => one !== undefined)"""
    )
    assert before == after
    wait_until(page, lambda: page.evaluate("told.gains.slice(-2).map((node) => node.gain.value)") == [0, 1])
    assert page.get_attribute("#compare [data-do='1']", "aria-pressed") == "true"
    # It goes round: both at once again.
    wait_until(page, lambda: page.evaluate("told.sources.length") >= 4)
    again = page.evaluate("told.sources.slice(2, 4).map(({ when, offset }) => [when, offset])")
    assert again[0] == again[1]
    assert again[0][1] == 0
    # The result's player ends it, and is ended by it.
    page.click("#result .play-pause-button")
    wait_until(page, lambda: page.get_attribute("#compare [data-do=play]", "aria-pressed") == "false")
    wait_until(page, lambda: page.evaluate("told.media.some((one) => !one.paused)"))
    page.click("#compare [data-do=play]")
    wait_until(page, lambda: page.evaluate("told.media.every((one) => one.paused)"))
    assert page.get_attribute("#compare [data-do=play]", "aria-pressed") == "true"
