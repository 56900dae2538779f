// Chooses the view by the address, shows it, and keeps it current.

import { enter, get, inSession, leave, session } from "./asking.js";
import { compareView } from "./comparing.js";
import { jobTable, jobsView, newest, noJobs } from "./jobs.js";
import { legend, matrixTable, noProfiles, profilesView } from "./matrix.js";
import { make, replace } from "./parts.js";
import { profileView } from "./profile.js";

const EVERY_MS = 2000;
const VIEWS = { "": overview, jobs: jobsView, profiles: profilesView, profile: profileView, compare: compareView };
const LIVE = new Set(["", "jobs"]);
const TITLES = { "": "overview", compare: "comparison" };

const at = (id) => document.getElementById(id);
let timer = null, turn = 0, shown = null;

async function overview(words, again) {
  const [jobs, { cells }, counts] = await Promise.all([newest(6), get("v1/matrix"), get("v1/overview")]);
  const count = (name, one, link) => make("li", {}, make("a", { href: link, "data-key": `count-${name}` },
    make("span", { class: "figure" }, one.toLocaleString("en")), make("span", { class: "note" }, name)));
  const of = (status) => counts.jobs[status] ?? 0;
  return [
    make("h1", { class: "hidden" }, "Overview"),
    make("ul", { class: "counts" },
      count("running", of("running"), "#/jobs/running"), count("queued", of("queued"), "#/jobs/queued"),
      count("done", of("done"), "#/jobs/done"), count("failed", of("failed"), "#/jobs/failed"), count("profiles", counts.profiles, "#/profiles")),
    make("section", { class: "card" },
      make("h2", {}, "Jobs"), jobs.length ? jobTable(jobs, again) : noJobs(),
      jobs.length ? make("div", { class: "row" }, make("a", { class: "button", href: "#/jobs", "data-key": "all-jobs" }, "All jobs")) : null),
    make("section", { class: "card" },
      make("h2", {}, "Profiles by model and device"), cells.length ? [legend(), matrixTable(cells)] : noProfiles()),
  ];
}

function say(text, good) {
  at("state").textContent = text;
  at("state").className = good ? "state good" : "state off";
}

function ask(asks) {
  at("enter").hidden = !asks;
  at("view").hidden = asks;
  at("leave").hidden = !inSession();
  if (asks) {
    say("locked", false);
    at("token").focus();
  }
}

function address() {
  const [view, ...words] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  return view in VIEWS ? [view, words] : ["", []];
}

async function show() {
  const mine = ++turn;
  clearTimeout(timer);
  const [view, words] = address(), here = location.hash;
  try {
    const parts = await VIEWS[view](words, show);
    if (mine !== turn) return;
    const moved = shown !== null && shown !== here;
    replace(at("view"), ...parts);
    shown = here;
    say("connected", true);
    document.title = `casspec hub: ${TITLES[view] ?? view}`;
    for (const link of document.querySelectorAll("[data-view]")) {
      const current = link.dataset.view === ({ "": "overview", profile: "profiles", compare: "profiles" }[view] ?? view);
      if (current) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    }
    if (moved) {
      at("view").focus({ preventScroll: true });
      scrollTo(0, 0);
    }
  } catch (error) {
    if (mine !== turn) return;
    if (error.status === 401) {
      ask(true);
      return;
    }
    if (error.status >= 400 && error.status < 500 && shown !== here) {
      replace(at("view"), make("h1", {}, "Not here"), make("p", { class: "card" }, error.message));
      shown = here;
    }
    say(error.status ? "refused" : "not reached", false);
    at("state").title = error.message;
  }
  if (LIVE.has(view) || !at("state").classList.contains("good")) timer = setTimeout(show, document.hidden ? EVERY_MS * 15 : EVERY_MS);
}

async function begin() {
  try {
    const open = await session();
    ask(!open);
    if (open) await show();
  } catch (error) {
    say(error.message, false);
    timer = setTimeout(begin, EVERY_MS);
  }
}

at("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = at("token").value;
  at("token").value = "";
  try {
    if (await enter(token)) at("refused").textContent = "";
    await begin();
  } catch (error) {
    at("refused").textContent = error.message;
    at("token").focus();
  }
});
at("leave").addEventListener("click", async () => {
  await leave().catch(() => {});
  location.reload();
});
addEventListener("hashchange", show);
document.addEventListener("visibilitychange", () => { if (!document.hidden && !at("view").hidden) show(); });
get("version").then((told) => { at("version").textContent = `casspec ${told.version}`; }).catch(() => {});
begin();
