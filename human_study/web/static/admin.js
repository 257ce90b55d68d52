// The progress of a study, refreshed every five seconds; and the administrator's controls.

import { h } from "./dom.js";

const REFRESH = 5000; // ms
const TABLES = ["ratings", "preferences", "abx", "trials", "raters", "questionnaires", "events"];
const main = document.getElementById("main");
let forgery = "";

async function call(method, path, body) {
  const response = await fetch(`/admin/api/${path}`, {
    method,
    credentials: "same-origin",
    headers: body === undefined ? {} : { "Content-Type": "application/json", "X-CSRF-Token": forgery },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.error), { status: response.status });
  return answer;
}

function login(message) {
  const input = h("input", { type: "password", id: "token", autocomplete: "current-password", "aria-label": "Token" });
  const send = async (event) => {
    event.preventDefault();
    try {
      await call("POST", "login", { token: input.value.trim() });
      await refresh();
    } catch (error) {
      login(error.message);
    }
  };
  main.replaceChildren(
    h("form", { onsubmit: send },
      h("p", {}, "The token lies in the study folder, in admin.token."),
      message ? h("p", { class: "error", role: "alert" }, message) : null,
      input, h("button", {}, "Log in")),
  );
}

/** A time of the server in the reader's own format and time zone. */
function when(iso) {
  if (!iso) return "";
  const text = new Date(iso).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  return h("time", { datetime: iso, title: iso }, text);
}

function table(headers, rows) {
  return h("div", { class: "tables" }, h("table", {},
    h("thead", {}, h("tr", {}, ...headers.map((header) => h("th", { scope: "col" }, header)))),
    h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((cell) => h("td", {}, cell instanceof Node ? cell : String(cell ?? ""))))))));
}

async function act(path, body) {
  try {
    const answer = await call("POST", path, body);
    await refresh();
    return answer;
  } catch (error) {
    main.prepend(h("p", { class: "error", role: "alert" }, error.message));
    return null;
  }
}

async function screen() {
  const answer = await act("screen", {});
  if (answer) {
    const names = answer.excluded.map((one) => `${one.rater}: ${one.step}, ${one.reason}`).join("; ");
    main.prepend(h("p", { role: "status" }, `Screening excluded ${answer.excluded.length} more. ${names}`));
  }
}

const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

function unlisted(state) {
  const number = state.entered - state.raters.length;
  return number > 0 ? [h("p", {}, `${number} more entered earlier and have stored no page: raters.csv lists them.`)] : [];
}

function show(state) {
  const pages = state.pages.map((page) => [
    page.page,
    h("progress", { max: page.target, value: Math.min(page.valid, page.target), "aria-label": page.page }),
    `${page.valid} of ${page.target}`, page.under_way,
  ]);
  const raters = state.raters.map((rater) => [
    rater.rater, rater.platform, rater.language, when(rater.entered), rater.trials, when(rater.last), rater.flags.join("; "), rater.excluded,
    h("button", { onclick: () => act("exclude", { rater: rater.rater, excluded: !rater.excluded }) }, rater.excluded ? "include" : "exclude"),
  ]);
  main.replaceChildren(
    h("p", {}, `${state.complete} of ${counted(state.pages.length, "page")} complete, ${counted(state.trials, "trial")} stored, ${counted(state.entered, "rater")}. `,
      state.paused ? h("strong", {}, "Paused.") : ""),
    h("p", {},
      h("button", { id: "pause", onclick: () => act("pause", { paused: !state.paused }) }, state.paused ? "Resume" : "Pause"),
      h("button", { id: "screen", onclick: screen }, "Screen now and reopen places"),
      ...TABLES.map((name) => h("a", { href: `/admin/api/export/${name}.csv` }, `${name}.csv `))),
    h("h2", {}, "Samples"), table(["page", "", "valid raters", "under way"], pages),
    h("h2", {}, "Raters"),
    ...unlisted(state),
    table(["rater", "from", "language", "entered", "trials", "last", "flags", "excluded for", ""], raters),
    h("h2", {}, "Events"), table(["at", "what", "detail"], state.events.map((event) => [when(event.at), event.kind, event.detail])),
  );
}

async function refresh() {
  try {
    const state = await call("GET", "progress");
    forgery = state.csrf;
    show(state);
  } catch (error) {
    if (error.status === 401) login("");
  }
}

await refresh();
setInterval(() => { if (main.querySelector("table") && !document.hidden) refresh(); }, REFRESH);
