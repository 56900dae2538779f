// One profile: what it is, its report, its fellows on the same device, comparing and promoting.

import { get, post } from "./asking.js";
import { confirm } from "./confirming.js";
import { ago, card, make, mebibytes, speed, stamp, table, times } from "./parts.js";

const ALIAS = "production";

function highlight(label, value, note) {
  return make("li", {}, make("span", { class: "note" }, label), make("span", { class: "figure" }, value), make("span", { class: "note" }, note));
}

function figures(profile) {
  const modes = [...new Set([...Object.keys(profile.measured), ...Object.keys(profile.predicted_speedup)])].sort();
  return make("ul", { class: "highlights" },
    modes.map((mode) => {
      const measured = profile.measured[mode], predicted = times(profile.predicted_speedup[mode]);
      return measured
        ? highlight(mode, times(measured.speedup), `measured, ${measured.tokens_per_second.toFixed(1)} tok/s; predicted ${predicted}`)
        : highlight(mode, predicted, "predicted, not measured");
    }),
    highlight("decision", profile.decision, profile.drafters.join(", ") || "no drafters"),
    highlight("extra memory", mebibytes(profile.extra_bytes), "beside the model's weights"));
}

async function promote(profile, fellows, after) {
  const current = (alias) => fellows.find((one) => one.backend === profile.backend && one.aliases.includes(alias));
  const holder = current(ALIAS);
  const done = await confirm({
    title: `Promote ${profile.profile_id}?`,
    text: `Servers that ask for the alias take this profile for ${profile.model.name} on ${profile.device.name}. `
      + (holder ? `${holder.profile_id} has ${ALIAS} now and gives it up.` : `No profile has ${ALIAS} there now.`),
    yes: "Promote",
    field: { label: "Alias", value: ALIAS, pattern: "[a-z][a-z0-9\\-]*", hint: "A word of small letters, as production is" },
    act: (alias) => post(`v1/profiles/${profile.profile_hash}/promote`, { alias, expected_current: current(alias)?.profile_hash ?? null }),
  });
  if (done) after();
}

function fellow(one, profile, choose) {
  const found = speed(one), same = one.profile_id === profile.profile_id;
  return make("tr", { "aria-current": same ? "true" : null },
    make("td", {}, same ? "" : make("input", {
      type: "radio", name: "other", value: one.profile_hash, "aria-label": `Compare with ${one.profile_id}`, "data-key": `other-${one.profile_id}`, change: () => choose(one),
    })),
    make("th", { scope: "row" }, same ? make("code", {}, one.profile_id) : make("a", { href: `#/profile/${one.profile_id}` }, make("code", {}, one.profile_id))),
    make("td", {}, one.backend),
    make("td", { class: "number" }, times(found?.value), found && !found.measured ? make("small", { class: "note" }, " predicted") : null),
    make("td", {}, one.decision),
    make("td", {}, ago(one.created_at)),
    make("td", {}, one.aliases.map((alias) => make("span", { class: `badge ${alias}` }, alias))));
}

/** The view of one profile; `words` of the address: its ID. */
export async function profileView([selection], again) {
  const whole = await get(`v1/profiles/${encodeURIComponent(selection)}/summary`);
  const query = { model: whole.model.identity, device: whole.device.identity, dtype: whole.dtype, limit: 50 };
  const listed = (await get("v1/profiles", query)).profiles;
  const fellows = listed.some((one) => one.profile_hash === whole.profile_hash) ? listed : [whole, ...listed];
  const compare = make("a", { class: "button", "aria-disabled": "true", role: "link", "data-key": "compare" }, "Compare");
  const choose = (other) => {
    compare.href = `#/compare/${other.profile_hash.slice(0, 12)}/${whole.profile_id}`;
    compare.removeAttribute("aria-disabled");
    compare.textContent = `Compare with ${other.profile_id}`;
  };
  const device = whole.device;
  const facts = [
    ["model", `${whole.model.name} (${whole.model.family})`],
    ["device", `${device.name}${device.threads ? `, ${device.threads} threads` : ""}, torch ${device.torch_version}`],
    ["precision", `${whole.dtype}, ${whole.backend} backend`],
    ["suite", whole.suite],
    ["calibrated", stamp(whole.created_at)],
    ["content hash", whole.profile_hash],
  ].map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", { class: "break" }, value)));
  return [
    make("p", { class: "trail" }, make("a", { href: "#/profiles" }, "Profiles"), " / ", make("code", {}, whole.profile_id)),
    make("h1", {}, `${whole.model.name} on ${device.name}`, " ", whole.aliases.map((alias) => make("span", { class: `badge ${alias}` }, alias))),
    figures(whole),
    make("div", { class: "row" },
      make("a", { class: "button main", href: `v1/profiles/${whole.profile_hash}/report`, target: "_blank", rel: "noopener", "data-key": "report" }, "Open the report"),
      make("button", { click: () => promote(whole, fellows, again), "data-key": "promote" }, "Promote…"),
      make("a", { class: "button", href: `v1/profiles/${whole.profile_hash}`, target: "_blank", rel: "noopener", "data-key": "json" }, "JSON")),
    card("What it is", make("div", { class: "scroll" }, make("table", { class: "facts" }, make("tbody", {}, facts)))),
    card("Profiles of this model on this device",
      make("p", { class: "note" }, fellows.length > 1 ? "Choose one to compare with." : "There is no other yet."),
      table("Profiles of this model on this device", ["", "ID", "Backend", ["Speedup", "number"], "Decision", "Age", "Aliases"],
        fellows.map((one) => fellow(one, whole, choose))),
      fellows.length > 1 ? make("div", { class: "row" }, compare) : null),
  ];
}
