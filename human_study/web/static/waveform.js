// The waveform above the columns, with the playhead and two handles of the loop. It shows the open reference, or the mean
// envelope of all clips, so it does not identify a clip.

import { h } from "./dom.js";

const STEP = 0.05; // s: step of the loop handles
const SHORTEST = 0.4; // s: shortest loop

export class Waveform {
  /** buffers: the clips of the envelope; texts: labels of the handles. */
  constructor(buffers, player, texts) {
    this.player = player;
    this.envelope = envelope(buffers, 600);
    this.canvas = h("canvas", { width: 1200, height: 120, "aria-hidden": "true" });
    this.canvas.addEventListener("pointerdown", (event) => {
      const box = this.canvas.getBoundingClientRect();
      player.seek(((event.clientX - box.left) / box.width) * player.seconds);
    });
    this.from = this.handle(texts.loop_from, 0);
    this.to = this.handle(texts.loop_to, player.seconds);
    this.element = h("div", { class: "waveform" }, this.canvas, this.from, this.to);
  }

  handle(label, value) {
    const { seconds } = this.player;
    const input = h("input", { type: "range", min: 0, max: seconds, step: STEP, value, "aria-label": label });
    input.value = value;
    input.addEventListener("input", () => this.move(input));
    return input;
  }

  move(moved) {
    const { seconds } = this.player;
    let [from, to] = [Number(this.from.value), Number(this.to.value)];
    if (to > seconds - STEP) to = seconds;
    if (to - from < SHORTEST) {
      if (moved === this.from) from = Math.max(0, to - SHORTEST);
      else to = Math.min(seconds, from + SHORTEST);
    }
    [this.from.value, this.to.value] = [from, to];
    this.player.setLoop(from, to);
  }

  draw() {
    const { width, height } = this.canvas;
    const pen = this.canvas.getContext("2d");
    const style = getComputedStyle(this.canvas);
    const [low, high] = this.player.loop.map((seconds) => (seconds / this.player.seconds) * width);
    pen.clearRect(0, 0, width, height);
    pen.fillStyle = style.getPropertyValue("--loop");
    pen.fillRect(low, 0, high - low, height);
    pen.fillStyle = style.getPropertyValue("--wave");
    const step = width / this.envelope.length;
    this.envelope.forEach((value, index) => {
      const tall = Math.max(2, value * height * 0.95);
      pen.fillRect(index * step, (height - tall) / 2, Math.max(1, step - 0.5), tall);
    });
    pen.fillStyle = style.getPropertyValue("--playhead");
    pen.fillRect((this.player.position() / this.player.seconds) * width - 1.5, 0, 3, height);
  }
}

function envelope(buffers, points) {
  const out = new Float32Array(points);
  for (const buffer of buffers) {
    const samples = buffer.getChannelData(0);
    const size = samples.length / points;
    for (let point = 0; point < points; point += 1) {
      let peak = 0;
      const end = Math.min(samples.length, Math.floor((point + 1) * size));
      for (let index = Math.floor(point * size); index < end; index += 4) peak = Math.max(peak, Math.abs(samples[index]));
      out[point] += peak / buffers.length;
    }
  }
  const highest = Math.max(0.01, ...out);
  return out.map((value) => value / highest);
}
