// Sample-accurate switching between clips: all of them play synchronously in one loop, and gains select the audible one.
// Knows nothing about pages, ratings or the server.

import { add, moved, played } from "./coverage.js";

const FADE = 0.005; // s: crossfade, so that switching does not click
const AHEAD = 0.03; // s: start delay, so that every source is scheduled before any starts
const TICK = 50; // ms

let shared = null;

/** The page's audio context; made at the first user gesture, because browsers block audio before it. */
export function context() {
  shared ??= new AudioContext({ latencyHint: "interactive" });
  return shared;
}

/** FLAC if the browser plays it, otherwise the compressed copy. */
function address(token) {
  const lossless = document.createElement("audio").canPlayType("audio/flac") !== "";
  return `/audio/${token}${lossless ? "" : "?compressed=true"}`;
}

/** Fetch and decode one clip; retries while the connection is down. */
export async function load(token, tries = 5) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const response = await fetch(address(token), { credentials: "same-origin" });
      if (!response.ok) throw new Error(`audio: ${response.status}`);
      return await context().decodeAudioData(await response.arrayBuffer());
    } catch (error) {
      if (attempt >= tries) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** attempt));
    }
  }
}

export class Player {
  /**
   * buffers: decoded clips; seconds: their common length; heard: the intervals heard of each clip, updated here;
   * onChange(): called when playback state or coverage changes.
   */
  constructor(buffers, seconds, heard, onChange) {
    this.buffers = buffers;
    this.seconds = seconds;
    this.heard = heard;
    this.onChange = onChange;
    this.active = null;
    this.playing = false;
    this.loop = [0, seconds];
    this.at = 0; // playhead when playback began or coverage was last updated
    this.since = 0; // time of the audio context then
    this.sources = [];
    this.gains = [];
    this.timer = null;
  }

  /** The playhead in seconds. */
  position() {
    const elapsed = this.playing ? Math.max(0, context().currentTime - this.since) : 0;
    return moved(this.at, elapsed, ...this.loop);
  }

  /** Play clip `index` from the playhead; pauses if it is already playing. */
  async toggle(index) {
    if (this.playing && this.active === index) return this.pause();
    return this.play(index);
  }

  /** Switch to clip `index`; starts playback if paused. */
  async play(index) {
    if (context().state !== "running") await context().resume();
    if (this.playing) {
      this.account();
      this.active = index;
      this.fade();
    } else {
      this.active = index;
      this.start();
    }
    this.onChange();
  }

  pause() {
    if (!this.playing) return;
    this.account();
    this.playing = false;
    clearInterval(this.timer);
    const end = context().currentTime + FADE;
    this.gains.forEach((gain) => ramp(gain, 0));
    this.sources.forEach((source) => source.stop(end));
    this.onChange();
  }

  /** Move the playhead. */
  seek(seconds) {
    const index = this.active;
    const wasPlaying = this.playing;
    this.pause();
    this.at = Math.min(Math.max(seconds, this.loop[0]), this.loop[1] - 0.01);
    if (wasPlaying) this.play(index);
    else this.onChange();
  }

  /** Loop over [from, to) only. */
  setLoop(from, to) {
    const index = this.active;
    const wasPlaying = this.playing;
    const position = this.position();
    this.pause();
    this.loop = [from, to];
    this.at = position >= from && position < to ? position : from;
    if (wasPlaying) this.play(index);
    else this.onChange();
  }

  start() {
    const ctx = context();
    const when = ctx.currentTime + AHEAD;
    this.gains = this.buffers.map(() => new GainNode(ctx, { gain: 0 }));
    this.sources = this.buffers.map((buffer, index) => {
      const source = new AudioBufferSourceNode(ctx, {
        buffer,
        loop: true,
        loopStart: this.loop[0],
        loopEnd: Math.min(this.loop[1], buffer.duration),
      });
      source.connect(this.gains[index]).connect(ctx.destination);
      source.start(when, this.at);
      return source;
    });
    this.since = when;
    this.playing = true;
    this.fade();
    this.timer = setInterval(() => {
      this.account();
      this.onChange();
    }, TICK);
  }

  fade() {
    this.gains.forEach((gain, index) => ramp(gain, index === this.active ? 1 : 0));
  }

  /** Add what was played since the last call to the active clip's coverage. The clock of a suspended context does not advance. */
  account() {
    const elapsed = context().currentTime - this.since;
    if (elapsed <= 0) return;
    for (const [start, end] of played(this.at, elapsed, ...this.loop)) {
      this.heard[this.active] = add(this.heard[this.active], start, Math.min(end, this.seconds));
    }
    this.at = moved(this.at, elapsed, ...this.loop);
    this.since += elapsed;
  }
}

function ramp(gain, value) {
  const now = context().currentTime;
  gain.gain.cancelScheduledValues(now);
  gain.gain.setValueAtTime(gain.gain.value, now);
  gain.gain.linearRampToValueAtTime(value, now + FADE);
}
