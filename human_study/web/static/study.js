// The sequence of pages. The server decides the rater's stage; this module shows it and submits its result.

import * as api from "./api.js";
import { fill } from "./dom.js";
import { forgetAnswers, questionnaire } from "./questionnaire.js";
import * as stages from "./stages.js";
import { read, write } from "./storage.js";
import { forgetDrafts, Trial } from "./trial.js";

const main = document.getElementById("main");
const saved = document.getElementById("saved");
const progress = document.getElementById("progress");
const picker = document.getElementById("language");
const languages = document.body.dataset.languages.split(" ");
const LANGUAGE = "study-language";

let texts = {};
let current = null; // the trial on the screen
let heartbeat = null;
let generation = 0; // a later render cancels an earlier one that is still loading

const retrying = () => status("retrying");

function status(kind, text = texts[kind] ?? "…") {
  saved.className = kind;
  saved.textContent = kind ? text : "";
}

async function setLanguage(language) {
  texts = await api.texts(language, retrying);
  write(LANGUAGE, language);
  document.documentElement.lang = language;
  document.title = texts.title;
  document.getElementById("study-title").textContent = texts.title;
  document.getElementById("language-name").textContent = texts.language;
  picker.value = language;
}

/** An entry of the language selector: a language's own name for itself. */
function option(language) {
  const name = new Intl.DisplayNames([language], { type: "language" }).of(language);
  const entry = new Option(name.charAt(0).toLocaleUpperCase(language) + name.slice(1), language);
  entry.lang = language;
  return entry;
}

/** What a refusal means for the rater, in the language of the page. */
function refusal(error) {
  return texts.refused?.[error.code] ?? (error.status === 422 ? texts.refused?.page : null) ?? error.message;
}

function show(element) {
  main.replaceChildren(element);
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

async function render() {
  const mine = (generation += 1);
  clearInterval(heartbeat);
  let state;
  try {
    state = await api.state(retrying);
  } catch (error) {
    return failed(error);
  }
  if (mine !== generation) return;
  current?.close();
  current = null;
  if (saved.className === "retrying") status("");
  progress.textContent = state.stage === "trial" ? fill(texts.progress, { done: state.done + 1, total: state.total }) : "";
  if (state.stage !== "trial") forgetDrafts("");
  if (state.stage !== "questionnaire") forgetAnswers();
  const views = {
    consent: () => stages.consent(texts, () => act(() => api.consent(retrying))),
    headphones: () => stages.headphones(texts, state, (answers) => act(() => api.headphones(answers, retrying))),
    questionnaire: () => questionnaire(texts, state, (answers) => act(() => api.questionnaire(state.place, answers, retrying))),
    trial: () => trial(state.trial),
    done: () => stages.done(texts, state),
    paused: () => stages.message(texts.paused_title, texts.paused),
    full: () => stages.message(texts.full_title, texts.full),
    not_eligible: () => stages.message(texts.not_eligible_title, texts.not_eligible),
  };
  try {
    const element = await views[state.stage]();
    if (mine !== generation) return undefined;
    show(element);
    // The waveform can compute its colours only once it is in the document.
    current?.changed();
  } catch (error) {
    failed(error);
  }
}

async function trial(description) {
  forgetDrafts(description.lease);
  const page = new Trial(description, texts, (body) => send(description, body));
  main.replaceChildren(stages.message(texts.loading, "…"));
  const element = await page.build((done, all) => {
    main.replaceChildren(stages.message(texts.loading, `${done} / ${all}`));
  });
  current = page;
  // The first heartbeat, with all clips loaded, tells the server that somebody is there: only then the page is reserved.
  const beat = () => api.renew(description.lease).catch((error) => (current === page ? lost(error) : undefined));
  beat();
  heartbeat = setInterval(beat, description.renew_seconds * 1000);
  return element;
}

/** Go on with another page where this one has all its raters by now; any other error is for the next request to tell. */
async function lost(error) {
  if (error.code !== "lease_lost") return;
  await render();
  status("lost", refusal(error));
}

async function send(description, body) {
  current.next.disabled = true;
  status("saving");
  try {
    await api.submit(description.lease, body, retrying);
    status("saved");
    await render();
  } catch (error) {
    current.next.disabled = false;
    status("");
    if (error.code === "lease_lost") return lost(error);
    current.missing.replaceChildren(Object.assign(document.createElement("li"), { textContent: refusal(error) }));
    return undefined;
  }
  return undefined;
}

async function act(step) {
  try {
    await step();
  } catch (error) {
    if (error.status !== 409) return failed(error);
  }
  return render();
}

function failed(error) {
  if (error.code === "no_session") return arrive(null);
  if (error.code === "no_code" || error.code === "bad_code") {
    const text = error.code === "bad_code" ? texts.bad_code : "";
    return show(stages.invitation(texts, text, (code) => arrive({ code })));
  }
  return show(stages.message(texts.problem_title, refusal(error), texts.problem));
}

async function arrive(who) {
  try {
    await api.enter({ language: picker.value, ...who }, retrying);
  } catch (error) {
    return failed(error);
  }
  return render();
}

/** The rater's code or ids in the URL. They are removed from it at once, and so from history and screenshots. */
function visitor() {
  const query = new URLSearchParams(location.search);
  const pid = query.get("PROLIFIC_PID");
  const code = query.get("code");
  if (location.search) history.replaceState(null, "", location.pathname);
  if (pid) return { prolific_pid: pid, study_id: query.get("STUDY_ID") ?? "", session_id: query.get("SESSION_ID") ?? "" };
  return code ? { code } : null;
}

async function start() {
  const wanted = String(new URLSearchParams(location.search).get("lang") ?? read(LANGUAGE) ?? navigator.language);
  const who = visitor();
  picker.replaceChildren(...languages.map(option));
  picker.addEventListener("change", () => setLanguage(picker.value).then(render));
  await setLanguage(languages.find((language) => wanted.startsWith(language)) ?? languages[0]);
  if (who) {
    try {
      await api.enter({ language: picker.value, ...who }, retrying);
    } catch (error) {
      return failed(error);
    }
  }
  // A page that was left in the outbox when the browser was closed is sent first.
  await api.deliver(retrying).catch(() => null);
  return render();
}

// The back button may restore a page from the browser's cache: ask the server for the current stage.
addEventListener("pageshow", (event) => { if (event.persisted) render(); });
start().catch(failed);
