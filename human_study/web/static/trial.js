// One rating page: the reference at the left, then one column for each clip. A draft is stored in the browser after every
// change, so a reload, a crash or the back button loses nothing.

import { total } from "./coverage.js";
import { fill, h } from "./dom.js";
import { load, Player } from "./player.js";
import { Waveform } from "./waveform.js";

const PREFIX = "study-draft-";
const EDGE = 0.25; // s: the server's tolerance at the ends of a clip
const NUDGE = 10; // points: step of Page Up and Page Down

/** Delete the drafts of other pages. */
export function forgetDrafts(keep) {
  for (const key of Object.keys(localStorage)) {
    if (key.startsWith(PREFIX) && key !== PREFIX + keep) localStorage.removeItem(key);
  }
}

export class Trial {
  /** trial: the server's description; onSubmit(body): called when the page is complete and Next is pressed. */
  constructor(trial, texts, onSubmit) {
    this.trial = trial;
    this.texts = texts;
    this.onSubmit = onSubmit;
    this.tracks = [...(trial.reference ? [{ ...trial.reference, reference: true }] : []), ...trial.clips];
    const draft = JSON.parse(localStorage.getItem(PREFIX + trial.lease) ?? "{}");
    this.values = draft.values ?? {};
    this.preferred = draft.preferred ?? null;
    this.heard = this.tracks.map((track) => draft.heard?.[track.token] ?? []);
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
    const shown = this.trial.reference ? buffers.slice(0, 1) : buffers;
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
      this.trial.method === "ab" ? this.choices() : null,
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
    let slider = null;
    let output = null;
    if (!track.reference && this.trial.method !== "ab") {
      [slider, output] = this.slider(track);
      const scale = h("div", { class: "scale" }, this.bands(), slider);
      parts.splice(1, 0, scale, output);
    }
    const kind = track.reference ? "column reference" : "column";
    const element = h("div", { class: kind, role: "group", "aria-label": name }, ...parts);
    return { element, play, bar, heardText, slider, output, name, track };
  }

  bands() {
    const names = [...this.trial.bands].reverse().map((band) => h("span", {}, this.texts.bands[band]));
    return h("div", { class: "bands", "aria-hidden": "true" }, ...names);
  }

  slider(track) {
    const [low, high] = this.trial.scale;
    const slider = h("input", {
      type: "range", min: low, max: high, step: 1, class: "unset",
      "aria-label": fill(this.texts.rate, { clip: track.label }), "aria-orientation": "vertical",
    });
    const output = h("output", {}, "–");
    const set = () => {
      this.values[track.token] = Number(slider.value);
      this.saveDraft();
      this.showValue(slider, output, track);
      this.changed();
    };
    slider.addEventListener("input", set);
    // A click at the position of the hidden thumb changes no value, and still sets it.
    slider.addEventListener("pointerup", set);
    slider.addEventListener("keydown", (event) => {
      const step = { PageUp: NUDGE, PageDown: -NUDGE }[event.key];
      if (step !== undefined) {
        event.preventDefault();
        slider.value = Number(slider.value) + step;
        set();
      } else if (event.key === "Enter") set();
    });
    this.showValue(slider, output, track);
    return [slider, output];
  }

  showValue(slider, output, track) {
    const value = this.values[track.token];
    slider.classList.toggle("unset", value === undefined);
    if (value !== undefined) slider.value = value;
    output.textContent = value ?? "–";
    const band = this.trial.bands[Math.min(4, Math.floor(((value ?? 1) - 1) / 20))];
    const spoken = value === undefined ? this.texts.not_rated : `${value}, ${this.texts.bands[band]}`;
    slider.setAttribute("aria-valuetext", spoken);
  }

  choices() {
    const options = [
      ...this.trial.clips.map((clip) => [clip.token, fill(this.texts.better, { clip: clip.label })]),
      ["", this.texts.no_difference],
    ];
    const radios = options.map(([token, label]) => {
      const radio = h("input", { type: "radio", name: "preferred", value: token, onchange: () => {
        this.preferred = token;
        this.saveDraft();
        this.changed();
      } });
      radio.checked = this.preferred === token;
      return h("label", {}, radio, label);
    });
    return h("fieldset", { class: "choices" }, h("legend", {}, this.texts.which_better), ...radios);
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
    const needed = this.trial.minimum_heard * seconds - Math.min(EDGE, 0.1 * seconds) / 2;
    const heard = total(this.heard[index]);
    return heard >= needed ? 0 : seconds - heard;
  }

  /** What is missing, one line each. */
  todo() {
    const lines = this.columns.flatMap((column, index) => {
      const left = this.unheard(index);
      const unrated = column.slider !== null && this.values[column.track.token] === undefined;
      const heard = left > 0 ? [fill(this.texts.unheard, { clip: column.name, seconds: Math.ceil(left) })] : [];
      return [...heard, ...(unrated ? [fill(this.texts.unrated, { clip: column.name })] : [])];
    });
    if (this.trial.method === "ab" && this.preferred === null) lines.push(this.texts.choose);
    return lines;
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
    const heard = Object.fromEntries(this.tracks.map((track, index) => [track.token, this.heard[index]]));
    const draft = { values: this.values, preferred: this.preferred, heard, key: this.key };
    localStorage.setItem(PREFIX + this.trial.lease, JSON.stringify(draft));
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
    const heard = Object.fromEntries(
      this.tracks.map((track, index) => [track.token, this.heard[index].map(([start, end]) => [rounded(start), rounded(end)])]),
    );
    const answer = this.trial.method === "ab" ? { preferred: this.preferred } : { values: this.values };
    this.onSubmit({ key: this.key, heard, ...answer });
  }
}

const rounded = (seconds) => Math.round(seconds * 1000) / 1000;

function makeKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
