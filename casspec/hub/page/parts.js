// What views are made of. Text is set as text, never as markup.

/** An element with attributes and children; what is null is left out, functions listen. */
export function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** A table; `columns` are headings, or [heading, class of the column]. */
export function table(label, columns, rows) {
  const heads = columns.map((one) => Array.isArray(one) ? one : [one, null]);
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    make("table", {},
      make("thead", {}, make("tr", {}, heads.map(([text, kind]) => make("th", { scope: "col", class: kind }, text)))),
      make("tbody", {}, rows)));
}

export const card = (title, ...parts) => make("section", { class: "card" }, make("h2", {}, title), ...parts);

/** What to do where there is nothing yet. */
export const empty = (text, ...commands) => make("div", { class: "empty" },
  make("p", {}, text), commands.map((one) => make("pre", {}, make("code", {}, one))));

/** A time as "3 d ago", whole on hovering. */
export function ago(time) {
  const seconds = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  return make("time", { datetime: time, title: stamp(time) }, seconds < 45 ? "just now" : `${lasting(seconds)} ago`);
}

export const stamp = (time) => time ? `${time.slice(0, 16).replace("T", " ")} UTC` : "–";

/** Seconds in the largest unit that fits. */
export function lasting(seconds) {
  const units = [[86400 * 365, "y"], [86400, "d"], [3600, "h"], [60, "min"]];
  for (const [size, unit] of units) if (seconds >= size * 0.95) return `${Math.round(seconds / size)} ${unit}`;
  return `${Math.round(seconds)} s`;
}

export const times = (value) => value === null || value === undefined ? "–" : `${value.toFixed(2)}×`;

export const mebibytes = (bytes) => bytes ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : "none";

/** The speed to show of a profile: measured before predicted, sampling after greedy. */
export function speed(profile) {
  for (const mode of ["greedy", "sample"]) {
    const found = profile.measured[mode];
    if (found) return { mode, value: found.speedup, tokens: found.tokens_per_second, at: found.measured_at, measured: true };
  }
  for (const mode of ["greedy", "sample"]) {
    const found = profile.predicted_speedup[mode];
    if (found !== undefined) return { mode, value: found, tokens: null, at: profile.created_at, measured: false };
  }
  return null;
}

/** A name that may be long: its last part, whole on hovering. */
export function short(name) {
  const parts = name.split("/");
  return make("span", { title: name }, parts.length > 2 ? `…/${parts.at(-1)}` : name);
}

/** Puts children in place of others and keeps the focus, on the element with the same data-key. */
export function replace(place, ...children) {
  const held = place.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const scrolled = [...place.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  place.replaceChildren(...children.flat().filter(Boolean));
  [...place.querySelectorAll(".scroll")].forEach((one, at) => { one.scrollLeft = scrolled[at] ?? 0; });
  if (held) place.querySelector(`[data-key="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
}
