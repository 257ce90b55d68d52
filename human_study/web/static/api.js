// Requests to the server: the forgery token, retries without end while the connection is gone, and the outbox, where a
// rated page waits in the browser until the server has acknowledged it.

let forgery = "";

/** An answer other than 2xx; code is the server's. */
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

// A network failure, an overloaded or a restarting server: worth another try. Anything else is an answer.
const passing = (error) => !(error instanceof ApiError) || error.status >= 500 || error.status === 429;

/** Call until there is an answer; onRetry() is told of every failure. */
async function persist(method, path, body, onRetry) {
  for (let wait = 500; ; wait = Math.min(wait * 2, 8000)) {
    try {
      return await call(method, path, body);
    } catch (error) {
      if (error.code === "forgery") {
        // Another tab began a new session: the token of this one is stale, the cookie is not.
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
export const renew = (lease) => call("POST", `/api/leases/${lease}/renew`, {});
export const texts = (language, onRetry) => persist("GET", `/texts/${language}.json`, undefined, onRetry);

const OUTBOX = "study-outbox";

/** Send a page. It lies in the outbox until the server has answered, so a reload or a crash sends it again. */
export async function submit(lease, body, onRetry) {
  localStorage.setItem(OUTBOX, JSON.stringify({ lease, body }));
  return deliver(onRetry);
}

/** Send what lies in the outbox; null where it is empty. A page that is stored already counts as delivered. */
export async function deliver(onRetry) {
  const waiting = JSON.parse(localStorage.getItem(OUTBOX) ?? "null");
  if (waiting === null) return null;
  try {
    const answer = await persist("POST", `/api/trials/${waiting.lease}`, waiting.body, onRetry);
    localStorage.removeItem(OUTBOX);
    return answer;
  } catch (error) {
    localStorage.removeItem(OUTBOX);
    if (error.code === "already_rated") return { saved: true, receipt: error.body.receipt };
    throw error;
  }
}
