// One rating page: the reference at the left, then one column for each clip. A draft is stored in the browser after every
// change, so a reload, a crash or the back button loses nothing.

import { ANSWERS } from "./answers.js";
import { share, tidy, total } from "./coverage.js";
import { fill, h } from "./dom.js";
import { load, Player } from "./player.js";
import { isRecord, keys, read, remove, write } from "./storage.js";
import { Waveform } from "./waveform.js";

const PREFIX = "study-draft-";
const KEY = /^[0-9a-f]{32}$/; // as makeKey makes them

/** Delete the drafts of other pages. */
export function forgetDrafts(keep) {
  for (const key of keys()) {
    if (key.startsWith(PREFIX) && key !== PREFIX + keep) remove(key);
  }
}

/** The draft of a page; an empty one where none is stored, or a damaged one: it must lock nobody out of the page. */
function draftOf(lease) {
  const draft = read(PREFIX + lease);
  if (!isRecord(draft)) return {};
  const { heard = {}, values = {}, key } = draft;
  const isSpan = (span) => Array.isArray(span) && span.length === 2 && span.every(Number.isFinite);
  const sound = isRecord(heard) && Object.values(heard).every((spans) => Array.isArray(spans) && spans.every(isSpan))
    && isRecord(values) && Object.values(values).every(Number.isInteger) && KEY.test(key);
  return sound ? draft : {};
}

export class Trial {
  /** trial: the server's description; onSubmit(body): called when the page is complete and Next is pressed. */
  constructor(trial, texts, onSubmit) {
    this.trial = trial;
    this.texts = texts;
    this.onSubmit = onSubmit;
    this.tracks = [...(trial.reference ? [{ ...trial.reference, reference: true }] : []), ...trial.clips];
    const draft = draftOf(trial.lease);
    this.answer = new ANSWERS[trial.answer](trial, texts, draft, () => {
      this.saveDraft();
      this.changed();
    });
    this.heard = this.tracks.map((track) => tidy(draft.heard?.[track.token] ?? [], track.seconds));
    this.key = draft.key ?? makeKey();
    this.saveDraft();
  }

  /** Fetch the audio and build the page; progress(done, all) while loading. */
  async build(progress) {
    let done = 0;
    const buffers = await Promise.all(
      this.tracks.map(async (track) => {
        const buffer = await load(track.token);
        progress((done += 1), this.tracks.length);
        return buffer;
      }),
    );
    const seconds = Math.min(...this.tracks.map((track) => track.seconds));
    this.player = new Player(buffers, seconds, this.heard, () => this.changed());
    // X is left out: with it, the mean envelope would lean to the clip that X is a copy of.
    const rated = buffers.filter((_, index) => this.tracks[index].label !== "X");
    const shown = this.trial.reference ? buffers.slice(0, 1) : rated;
    // The answer to an attention check must be heard: its waveform would show the beeps.
    this.waveform = this.trial.kind === "attention" ? null : new Waveform(shown, this.player, this.texts);
    this.columns = this.tracks.map((track, index) => this.column(track, index));
    this.missing = h("ul", { id: "missing" });
    this.next = h("button", { id: "next", class: "primary", onclick: () => this.submit() }, this.texts.next);
    this.keys = (event) => this.pressed(event);
    document.addEventListener("keydown", this.keys);
    this.leave = () => this.saveDraft();
    addEventListener("pagehide", this.leave);
    const element = h("section", { class: `trial ${this.trial.method}` },
      this.head(),
      this.waveform?.element,
      h("div", { class: "columns" }, ...this.columns.map((column) => column.element)),
      this.answer.foot(),
      h("div", { class: "foot" }, this.missing, this.next),
      h("details", {}, h("summary", {}, this.texts.keys_title), h("p", {}, this.texts.keys)),
    );
    this.changed();
    return element;
  }

  close() {
    this.player?.pause();
    this.saveDraft();
    document.removeEventListener("keydown", this.keys);
    removeEventListener("pagehide", this.leave);
  }

  head() {
    const { trial, texts } = this;
    const question = trial.kind === "rating" ? texts.questions[trial.question] : texts.questions[trial.kind];
    return h("div", { class: "head" },
      trial.kind === "practice" ? h("p", { class: "badge" }, texts.practice) : null,
      h("h1", {}, question),
      trial.prompt ? h("p", { class: "prompt" }, `“${trial.prompt}”`) : null,
      trial.kind === "rating" && trial.method === "mushra" ? h("p", { class: "note" }, texts.mushra_note) : null,
    );
  }

  column(track, index) {
    const { texts } = this;
    const name = track.reference ? texts[track.kind] : track.label;
    const play = h("button", { class: "play", onclick: () => this.player.toggle(index) });
    const bar = h("div", { class: "coverage", "aria-hidden": "true" });
    const heardText = h("span", { class: "heard" });
    const parts = [play, bar, heardText];
    if (!track.reference) parts.splice(1, 0, ...this.answer.column(track));
    const kind = track.reference ? "column reference" : "column";
    const element = h("div", { class: kind, role: "group", "aria-label": name }, ...parts);
    return { element, play, bar, heardText, name, track };
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inText = event.target.matches?.("input[type=text], textarea, select");
    if (inText) return;
    const offset = this.trial.reference ? 1 : 0;
    if ((event.key === "0" || event.key.toLowerCase() === "r") && this.trial.reference) this.player.play(0);
    else if (/^[1-9]$/.test(event.key) && this.trial.clips[event.key - 1]) this.player.play(Number(event.key) - 1 + offset);
    else if (event.key === " " && !event.target.matches?.("button, summary, input[type=radio]")) {
      event.preventDefault();
      this.player.toggle(this.player.active ?? 0);
    }
  }

  /** Seconds of a clip that must still be heard before the page can be submitted. */
  unheard(index) {
    const { seconds } = this.tracks[index];
    const heard = this.heard[index];
    return share(heard, seconds) >= this.trial.minimum_heard ? 0 : seconds - total(heard);
  }

  /** What is missing, one line each. */
  todo() {
    const lines = this.columns.flatMap((column, index) => {
      const left = this.unheard(index);
      const unrated = column.track.reference ? null : this.answer.unrated(column.track);
      const heard = left > 0 ? [fill(this.texts.unheard, { clip: column.name, seconds: Math.ceil(left) })] : [];
      return [...heard, ...(unrated === null ? [] : [unrated])];
    });
    return [...lines, ...this.answer.missing()];
  }

  changed() {
    const now = performance.now();
    if (now - (this.lastDraft ?? 0) > 1000) {
      this.saveDraft();
      this.lastDraft = now;
    }
    this.waveform?.draw();
    this.columns.forEach((column, index) => {
      const sounding = this.player.playing && this.player.active === index;
      const sign = sounding ? "❚❚" : "►";
      const word = sounding ? this.texts.pause : this.texts.play;
      if (column.play.dataset.sign !== sign) {
        column.play.dataset.sign = sign;
        column.play.replaceChildren(h("span", { "aria-hidden": "true" }, sign), h("span", {}, column.name));
        column.play.setAttribute("aria-label", `${word}: ${column.name}`);
        column.element.classList.toggle("sounding", sounding);
      }
      this.drawCoverage(column, index);
    });
    const lines = this.todo();
    const text = lines.join("\n");
    if (text !== this.shownTodo) {
      this.shownTodo = text;
      // Announced when Next is pressed too early, not with every second played.
      this.missing.removeAttribute("role");
      this.missing.replaceChildren(...lines.map((line) => h("li", {}, line)));
      this.next.setAttribute("aria-disabled", String(lines.length > 0));
    }
  }

  drawCoverage(column, index) {
    const { seconds } = this.tracks[index];
    const left = Math.ceil(this.unheard(index));
    const text = left === 0 ? `✓ ${this.texts.all_heard}` : fill(this.texts.to_hear, { seconds: left });
    if (column.heardText.textContent !== text) column.heardText.textContent = text;
    column.bar.replaceChildren(
      ...this.heard[index].map(([start, end]) => {
        const span = h("i");
        span.style.left = `${(100 * start) / seconds}%`;
        span.style.width = `${(100 * (end - start)) / seconds}%`;
        return span;
      }),
    );
  }

  saveDraft() {
    write(PREFIX + this.trial.lease, this.body());
  }

  /** What is submitted, and kept as the draft. */
  body() {
    const heard = Object.fromEntries(this.tracks.map((track, index) => [track.token, this.heard[index]]));
    return { key: this.key, heard, ...this.answer.body() };
  }

  submit() {
    this.player.pause();
    if (this.todo().length > 0) {
      this.missing.classList.remove("alert");
      this.missing.setAttribute("role", "alert");
      this.missing.replaceChildren(...this.todo().map((line) => h("li", {}, line)));
      // Reading the layout restarts the animation.
      this.missing.getBoundingClientRect();
      this.missing.classList.add("alert");
      return;
    }
    this.onSubmit(this.body());
  }
}

function makeKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
