// Profiles by model and device.

import { get } from "./asking.js";
import { ago, empty, make, short, speed, table, times } from "./parts.js";

const TINTS = [1.0, 1.15, 1.3, 1.5, 1.75];

/** The tint of a speed: the more the faster. */
const tint = (value) => TINTS.filter((least) => value > least).length;

function entry(cell) {
  const profile = cell.profile, found = speed(profile);
  const promoted = profile.aliases.includes("production");
  const kind = [profile.dtype, profile.backend === "lean" ? null : profile.backend].filter(Boolean).join(", ");
  const label = `${profile.model.name} on ${profile.device.name}, ${kind}: ${found ? times(found.value) : "no speed"}`;
  return make("a", {
    class: `entry ${found?.measured ? `tint-${tint(found.value)}` : "guess"}`, href: `#/profile/${profile.profile_id}`,
    "aria-label": label, "data-key": `cell-${profile.profile_id}`,
  },
    make("span", { class: "figure" }, times(found?.value), found && !found.measured ? make("small", {}, " predicted") : null),
    found?.tokens ? make("span", { class: "rate" }, `${found.tokens.toFixed(found.tokens < 10 ? 1 : 0)} tok/s`) : null,
    make("span", { class: "note" }, kind, " · ", ago(found?.at ?? profile.created_at)),
    promoted ? make("span", { class: "badge production" }, "production") : null);
}

/** One column a device, one row a model. */
export function matrixTable(cells) {
  const models = new Map(), devices = new Map();
  for (const { profile } of cells) {
    models.set(profile.model.identity, profile.model.name);
    devices.set(profile.device.identity, profile.device);
  }
  const named = [...devices].sort(([, one], [, other]) => one.name.localeCompare(other.name));
  const rows = [...models].sort(([, one], [, other]) => one.localeCompare(other)).map(([model, name]) => make("tr", {},
    make("th", { scope: "row" }, short(name)),
    named.map(([device]) => {
      const found = cells.filter(({ profile }) => profile.model.identity === model && profile.device.identity === device);
      return make("td", {}, found.length ? found.map(entry) : make("span", { class: "note", "aria-label": "no profile" }, "–"));
    })));
  const heads = named.map(([, device]) => make("span", {}, device.name,
    make("span", { class: "note under" }, [device.threads ? `${device.threads} threads` : null, `torch ${device.torch_version}`].filter(Boolean).join(" · "))));
  const made = table("Profiles by model and device", ["Model", ...heads], rows);
  made.classList.add("matrix");
  return made;
}

export const noProfiles = () => empty("No profile is stored yet. A job makes one, and so does a calibration of this store:",
  "casspec job submit smollm2 --quick", "casspec calibrate smollm2 --quick");

export const legend = () => make("p", { class: "note" },
  "Speedup of dytc over plain decoding, as measured by the newest benchmark; predicted where none was run. The profile in production is shown, else the latest.");

/** The view of all profiles. */
export async function profilesView() {
  const { cells } = await get("v1/matrix");
  return [
    make("h1", {}, "Profiles"),
    make("section", { class: "card" }, make("h2", {}, "By model and device"), cells.length ? [legend(), matrixTable(cells)] : noProfiles()),
  ];
}
