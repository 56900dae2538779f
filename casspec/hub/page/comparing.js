// Two profiles side by side: all they differ in.

import { get } from "./asking.js";
import { card, make, speed, stamp, table, times } from "./parts.js";

function text(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(4)));
  if (Array.isArray(value)) return value.length ? value.map(text).join(" ") : "none";
  if (typeof value === "object") return Object.entries(value).map(([name, one]) => `${name}=${text(one)}`).join(", ") || "none";
  return String(value);
}

function head(profile) {
  const found = speed(profile);
  return make("div", { class: "side" },
    make("a", { href: `#/profile/${profile.profile_id}` }, make("code", {}, profile.profile_id)),
    make("span", { class: "figure" }, times(found?.value)),
    make("span", { class: "note" }, found?.measured ? `measured, ${found.mode}` : "predicted"),
    make("span", { class: "note" }, `${profile.decision}, ${stamp(profile.created_at)}`),
    make("span", {}, profile.aliases.map((alias) => make("span", { class: `badge ${alias}` }, alias))));
}

/** The view of a comparison; `words` of the address: two IDs. */
export async function compareView([a, b]) {
  const found = await get("v1/profiles/compare", { a, b });
  const sections = Map.groupBy
    ? Map.groupBy(found.differences, (one) => one.section)
    : found.differences.reduce((all, one) => all.set(one.section, [...(all.get(one.section) ?? []), one]), new Map());
  const cards = [...sections].map(([section, rows]) => {
    const made = table(section, ["Field", found.a.profile_id, found.b.profile_id], rows.map((one) => make("tr", {},
      make("th", { scope: "row", class: "break" }, one.field),
      make("td", { class: "break" }, text(one.a)), make("td", { class: "break" }, text(one.b)))));
    made.classList.add("fields");
    return card(section, made);
  });
  return [
    make("p", { class: "trail" }, make("a", { href: "#/profiles" }, "Profiles"), " / comparison"),
    make("h1", {}, "What differs"),
    make("div", { class: "sides card" }, head(found.a), head(found.b)),
    cards.length ? cards : make("p", { class: "card" }, "Nothing differs."),
  ];
}
