// ABX: which of A and B the clip X is a copy of, and where the question asks, how sure the rater is.

import { fill, h } from "./dom.js";

export class Match {
  constructor(trial, texts, draft, changed) {
    this.trial = trial;
    this.texts = texts;
    this.preferred = draft.preferred ?? null;
    this.confidence = draft.confidence ?? null;
    this.changed = changed;
  }

  column() {
    return [];
  }

  foot() {
    const clips = this.trial.clips.filter((clip) => clip.label !== "X");
    const matches = clips.map((clip) => [clip.token, fill(this.texts.match, { clip: clip.label })]);
    const levels = this.texts.confidence.map((text, index) => [index + 1, text]);
    return h("div", {},
      this.choice("preferred", this.texts.which_match, matches),
      this.trial.confidence ? this.choice("confidence", this.texts.how_sure, levels) : null,
    );
  }

  choice(name, legend, options) {
    const radios = options.map(([value, label]) => {
      const radio = h("input", { type: "radio", name, value, onchange: () => {
        this[name] = value;
        this.changed();
      } });
      radio.checked = this[name] === value;
      return h("label", {}, radio, label);
    });
    return h("fieldset", { class: "choices" }, h("legend", {}, legend), ...radios);
  }

  unrated() {
    return null;
  }

  missing() {
    const unsure = this.trial.confidence && this.confidence === null;
    return [...(this.preferred === null ? [this.texts.choose_match] : []), ...(unsure ? [this.texts.choose_confidence] : [])];
  }

  body() {
    return this.trial.confidence ? { preferred: this.preferred, confidence: this.confidence } : { preferred: this.preferred };
  }
}
