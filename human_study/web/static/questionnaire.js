// A questionnaire: choices, numbers and texts. What is typed is kept in the browser until the server has stored it.

import { fill, h } from "./dom.js";
import { isRecord, read, remove, write } from "./storage.js";

const DRAFT = "study-questionnaire";

/** Delete what was typed: the server has it. */
export function forgetAnswers() {
  remove(DRAFT);
}

/** state: the server's description; onDone(answers): called when everything that is required is answered. */
export function questionnaire(texts, state, onDone) {
  const stored = read(DRAFT);
  const kept = isRecord(stored) && stored.place === state.place && isRecord(stored.answers) ? stored.answers : {};
  const answers = new Map(Object.entries(kept));
  const set = (name, answer) => {
    answers.set(name, answer);
    write(DRAFT, { place: state.place, answers: Object.fromEntries(answers) });
  };
  const rows = state.fields.map((field) => ROWS[field.kind](texts, field, answers.get(field.name), (answer) => set(field.name, answer)));
  const problems = h("ul", { id: "missing" });
  const send = (event) => {
    event.preventDefault();
    const wrong = rows.filter((row) => !valid(row.field, answers.get(row.field.name)));
    problems.replaceChildren(...wrong.map((row) => h("li", {}, problem(texts, row.field))));
    problems.classList.toggle("alert", wrong.length > 0);
    for (const row of rows) row.controls.forEach((control) => control.setAttribute("aria-invalid", String(wrong.includes(row))));
    if (wrong.length > 0) wrong[0].controls[0].focus();
    else onDone(Object.fromEntries([...answers].filter(([, answer]) => answer !== null && answer !== "")));
  };
  return h("form", { class: "stage questionnaire", novalidate: true, onsubmit: send },
    h("h1", {}, texts[`questionnaire_${state.place}`]),
    h("p", {}, texts.questionnaire_note),
    ...rows.map((row) => row.element),
    h("div", { role: "alert" }, problems),
    h("button", { class: "primary", id: "next" }, texts.next),
  );
}

// A kind of field -> its row: the element, and the controls that are marked where the answer is wrong.
const ROWS = { choice, number, text };

function choice(texts, field, answer, set) {
  const { options } = texts.fields[field.name];
  const radios = field.options.map((option) => {
    const radio = h("input", { type: "radio", name: field.name, value: option, onchange: () => set(option) });
    radio.checked = answer === option;
    return [radio, h("label", {}, radio, options[option])];
  });
  const element = h("fieldset", { class: "choices" },
    h("legend", {}, wording(texts, field)), ...radios.map(([, label]) => label));
  return { field, element, controls: radios.map(([radio]) => radio) };
}

function number(texts, field, answer, set) {
  const [min, max] = field.range;
  const input = h("input", { type: "number", id: `field-${field.name}`, min, max, step: "any" });
  input.value = answer ?? "";
  input.addEventListener("input", () => set(Number.isNaN(input.valueAsNumber) ? null : input.valueAsNumber));
  return { field, element: labelled(texts, field, input), controls: [input] };
}

function text(texts, field, answer, set) {
  const area = h("textarea", { id: `field-${field.name}`, rows: 3, maxlength: field.characters });
  area.value = answer ?? "";
  area.addEventListener("input", () => set(area.value));
  return { field, element: labelled(texts, field, area), controls: [area] };
}

function labelled(texts, field, control) {
  return h("p", {}, h("label", { for: control.id }, wording(texts, field)), control);
}

function wording(texts, field) {
  const { text: question } = texts.fields[field.name];
  return field.required ? question : `${question} ${texts.optional}`;
}

function valid(field, answer) {
  if (answer === undefined || answer === null || String(answer).trim() === "") return !field.required;
  return field.kind !== "number" || (answer >= field.range[0] && answer <= field.range[1]);
}

function problem(texts, field) {
  const [low, high] = field.range ?? [];
  return fill(field.kind === "number" ? texts.number_needed : texts.answer_needed, { field: texts.fields[field.name].text, low, high });
}
