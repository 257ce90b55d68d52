// The pages around the ratings: invitation, consent, volume and headphones, the end.

import { fill, h } from "./dom.js";
import { context, load } from "./player.js";

/** An invitation code; onDone(code). */
export function invitation(texts, message, onDone) {
  const input = h("input", { type: "text", id: "code", autocomplete: "off", autocapitalize: "none", maxlength: 40 });
  const send = (event) => {
    event.preventDefault();
    if (input.value.trim()) onDone(input.value.trim());
  };
  return h("form", { class: "stage", onsubmit: send },
    h("h1", {}, texts.invitation_title),
    message ? h("p", { class: "error", role: "alert" }, message) : null,
    h("label", { for: "code" }, texts.invitation_label), input,
    h("button", { class: "primary" }, texts.next),
  );
}

/** The consent text; onDone() once the box is ticked. */
export function consent(texts, onDone) {
  const box = h("input", { type: "checkbox", id: "agree" });
  const button = h("button", { class: "primary", id: "start", disabled: true, onclick: onDone }, texts.start);
  box.addEventListener("change", () => { button.disabled = !box.checked; });
  return h("section", { class: "stage" },
    h("h1", {}, texts.title),
    ...texts.consent_text.map((paragraph) => h("p", {}, paragraph)),
    h("p", {}, h("label", {}, box, " ", texts.agree)),
    button,
  );
}

/** Volume adjustment, then the headphone check of six clips; onDone(answers). */
export async function headphones(texts, state, onDone) {
  const buffers = await Promise.all(state.clips.map((token) => load(token)));
  let source = null;
  const play = async (buffer) => {
    if (context().state !== "running") await context().resume();
    source?.stop();
    source = new AudioBufferSourceNode(context(), { buffer });
    source.connect(context().destination);
    source.start();
  };
  const answers = new Map();
  const played = new Set();
  const button = h("button", { class: "primary", disabled: true, onclick: () => {
    source?.stop();
    onDone(buffers.map((_, index) => answers.get(index)));
  } }, texts.next);
  const ready = () => { button.disabled = answers.size < buffers.length || played.size < buffers.length; };
  const rows = buffers.map((buffer, index) => {
    const choices = [1, 2, 3].map((tone) =>
      h("label", {},
        h("input", { type: "radio", name: `clip-${index}`, value: tone, onchange: () => { answers.set(index, tone); ready(); } }),
        fill(texts.tone, { number: tone }),
      ));
    const listen = () => { played.add(index); ready(); play(buffer); };
    return h("fieldset", { class: "tones" },
      h("legend", {}, fill(texts.tones, { number: index + 1, all: buffers.length })),
      h("button", { type: "button", onclick: listen }, `► ${texts.play}`), ...choices,
    );
  });
  return h("section", { class: "stage" },
    h("h1", {}, texts.headphones_title),
    state.tries_left === 1 ? h("p", { class: "error", role: "alert" }, texts.headphones_again) : null,
    h("p", {}, texts.volume),
    h("p", {}, texts.headphones),
    ...rows, button,
  );
}

/** The end: the receipt, and the link back to the platform. */
export function done(texts, state) {
  return h("section", { class: "stage" },
    h("h1", {}, texts.done_title),
    h("p", {}, texts.done),
    h("p", {}, texts.receipt, " ", h("code", { id: "receipt" }, state.receipt)),
    state.completion_url ? h("p", {}, h("a", { class: "primary", id: "completion", href: state.completion_url }, texts.hand_off)) : null,
  );
}

/** A message without a next step. */
export function message(title, ...paragraphs) {
  return h("section", { class: "stage" }, h("h1", {}, title), ...paragraphs.map((text) => h("p", {}, text)));
}
