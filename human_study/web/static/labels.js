// A labelled grade for each clip, the highest at the top (ITU-T P.800, table B.1).

import { fill, h } from "./dom.js";
import { Rated } from "./rated.js";

export class Labels extends Rated {
  column(track) {
    const [low, high] = this.trial.scale;
    const labels = this.texts.labels[this.trial.question] ?? this.trial.bands.map((band) => this.texts.bands[band]);
    const grades = [];
    for (let grade = high; grade >= low; grade -= 1) {
      const radio = h("input", { type: "radio", name: `grade-${track.token}`, value: grade, onchange: () => {
        this.values[track.token] = grade;
        this.changed();
      } });
      radio.checked = this.values[track.token] === grade;
      grades.push(h("label", {}, radio, h("b", {}, String(grade)), h("span", {}, labels[grade - low])));
    }
    const name = h("legend", { class: "hidden" }, fill(this.texts.rate, { clip: track.label }));
    return [h("fieldset", { class: "grades" }, name, ...grades)];
  }
}
