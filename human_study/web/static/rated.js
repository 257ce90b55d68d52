// What pages with a value for each clip share: the values, and what is said where one is missing.

import { fill } from "./dom.js";

export class Rated {
  constructor(trial, texts, draft, changed) {
    this.trial = trial;
    this.texts = texts;
    this.values = draft.values ?? {};
    this.changed = changed;
  }

  foot() {
    return null;
  }

  unrated(track) {
    return this.values[track.token] === undefined ? fill(this.texts.unrated, { clip: track.label }) : null;
  }

  missing() {
    return [];
  }

  body() {
    return { values: this.values };
  }
}
