// An upright slider for each clip, without a value until it is touched.

import { fill, h } from "./dom.js";
import { Rated } from "./rated.js";

const NUDGE = 10; // points: step of Page Up and Page Down

export class Sliders extends Rated {
  column(track) {
    const [low, high] = this.trial.scale;
    const slider = h("input", {
      type: "range", min: low, max: high, step: 1, class: "unset",
      "aria-label": fill(this.texts.rate, { clip: track.label }), "aria-orientation": "vertical",
    });
    const output = h("output", {}, "–");
    const set = () => {
      this.values[track.token] = Number(slider.value);
      this.show(slider, output, track);
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
    this.show(slider, output, track);
    return [h("div", { class: "scale" }, this.bands(), slider), output];
  }

  bands() {
    const names = [...this.trial.bands].reverse().map((band) => h("span", {}, this.texts.bands[band]));
    return h("div", { class: "bands", "aria-hidden": "true" }, ...names);
  }

  show(slider, output, track) {
    const value = this.values[track.token];
    slider.classList.toggle("unset", value === undefined);
    if (value !== undefined) slider.value = value;
    output.textContent = value ?? "–";
    const band = this.trial.bands[Math.min(4, Math.floor(((value ?? 1) - 1) / 20))];
    const spoken = value === undefined ? this.texts.not_rated : `${value}, ${this.texts.bands[band]}`;
    slider.setAttribute("aria-valuetext", spoken);
  }
}
