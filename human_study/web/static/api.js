// Requests to the server: CSRF token, retries while the connection is down, and the outbox, which keeps a submitted
// page in the browser until the server has acknowledged it.

import { read, remove, write } from "./storage.js";

let forgery = "";

/** A response other than 2xx; `code` is the server's error code. */
export class ApiError extends Error {
  constructor(status, body) {
    super(body.error ?? `HTTP ${status}`);
    this.status = status;
    this.code = body.code ?? "http";
    this.body = body;
  }
}

async function call(method, path, body) {
  const response = await fetch(path, {
    method,
    credentials: "same-origin",
    headers: body === undefined ? {} : { "Content-Type": "application/json", "X-CSRF-Token": forgery },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, answer);
  if (answer.csrf) forgery = answer.csrf;
  return answer;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Network failures and overloaded or restarting servers are retried; any other response is final.
const passing = (error) => !(error instanceof ApiError) || error.status >= 500 || error.status === 429;

/** Repeat a request until there is a final response; onRetry() is called at every failure. */
async function persist(method, path, body, onRetry) {
  for (let wait = 500; ; wait = Math.min(wait * 2, 8000)) {
    try {
      return await call(method, path, body);
    } catch (error) {
      if (error.code === "forgery") {
        // Another tab has begun a new session: the cookie is current, the CSRF token of this tab is stale.
        await call("GET", "/api/state");
        return call(method, path, body);
      }
      if (!passing(error)) throw error;
      onRetry();
      await Promise.race([pause(wait), new Promise((resolve) => addEventListener("online", resolve, { once: true }))]);
    }
  }
}

export const state = (onRetry) => persist("GET", "/api/state", undefined, onRetry);
export const enter = (who, onRetry) => persist("POST", "/api/enter", who, onRetry);
export const consent = (onRetry) => persist("POST", "/api/consent", { agreed: true }, onRetry);
export const headphones = (answers, onRetry) => persist("POST", "/api/headphones", { answers }, onRetry);
export const questionnaire = (place, answers, onRetry) => persist("POST", `/api/questionnaires/${place}`, { answers }, onRetry);
export const renew = (lease) => call("POST", `/api/leases/${lease}/renew`, {});
export const texts = (language, onRetry) => persist("GET", `/texts/${language}.json`, undefined, onRetry);

const OUTBOX = "study-outbox";

/** Submit a page. It stays in the outbox until the server has answered, so it is sent again after a reload or a crash. */
export async function submit(lease, body, onRetry) {
  write(OUTBOX, { lease, body });
  return deliver(onRetry);
}

/** Submit the page in the outbox; null if it is empty. A page that is already stored counts as delivered. */
export async function deliver(onRetry) {
  const waiting = read(OUTBOX);
  if (waiting === null) return null;
  try {
    const answer = await persist("POST", `/api/trials/${waiting.lease}`, waiting.body, onRetry);
    remove(OUTBOX);
    return answer;
  } catch (error) {
    remove(OUTBOX);
    if (error.code === "already_rated") return { saved: true, receipt: error.body.receipt };
    throw error;
  }
}
