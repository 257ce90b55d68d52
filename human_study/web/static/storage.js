// What the page keeps in the browser, as JSON. What a browser holds may be damaged, and some keep nothing (no room, site data
// blocked): the page then keeps it in memory, and a reload alone loses it.

const memory = new Map();

/** The value under a key; null where there is none, or none that can be read. */
export function read(key) {
  try {
    return JSON.parse(memory.get(key) ?? localStorage.getItem(key) ?? "null");
  } catch {
    return null;
  }
}

export function write(key, value) {
  const text = JSON.stringify(value);
  try {
    localStorage.setItem(key, text);
    memory.delete(key);
  } catch {
    memory.set(key, text);
  }
}

export function remove(key) {
  memory.delete(key);
  try {
    localStorage.removeItem(key);
  } catch {
    // There is nothing to remove.
  }
}

/** All keys. */
export function keys() {
  try {
    return [...new Set([...memory.keys(), ...Object.keys(localStorage)])];
  } catch {
    return [...memory.keys()];
  }
}

/** Whether a value is an object with names, and no list. */
export const isRecord = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
