// Which of two clips is better, or neither.

import { fill, h } from "./dom.js";

export class Preference {
  constructor(trial, texts, draft, changed) {
    this.trial = trial;
    this.texts = texts;
    this.preferred = draft.preferred ?? null;
    this.changed = changed;
  }

  column() {
    return [];
  }

  foot() {
    const options = [
      ...this.trial.clips.map((clip) => [clip.token, fill(this.texts.better, { clip: clip.label })]),
      ["", this.texts.no_difference],
    ];
    const radios = options.map(([token, label]) => {
      const radio = h("input", { type: "radio", name: "preferred", value: token, onchange: () => {
        this.preferred = token;
        this.changed();
      } });
      radio.checked = this.preferred === token;
      return h("label", {}, radio, label);
    });
    return h("fieldset", { class: "choices" }, h("legend", {}, this.texts.which_better), ...radios);
  }

  unrated() {
    return null;
  }

  missing() {
    return this.preferred === null ? [this.texts.choose] : [];
  }

  body() {
    return { preferred: this.preferred };
  }
}
