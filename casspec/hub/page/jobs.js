// Jobs: the list with live progress, page by page, and cancelling.

import { get, post } from "./asking.js";
import { confirm } from "./confirming.js";
import { ago, card, empty, lasting, make, short, table } from "./parts.js";

const STATUSES = ["queued", "running", "done", "failed", "cancelled"];
const PAGE = 25;

export const SUBMIT = "casspec job submit smollm2 --quick";

function left(job) {
  const whole = job.progress.estimate_s;
  if (job.status !== "running" || !whole || !job.started_at) return null;
  const rest = whole - (Date.now() - Date.parse(job.started_at)) / 1000;
  return rest > 0 ? `about ${lasting(rest)} left` : "longer than estimated";
}

function progress(job) {
  if (job.status === "queued") return make("span", { class: "note" }, "waits for a worker");
  if (job.status === "failed") return make("span", { class: "bad" }, job.message ?? "failed");
  if (job.status === "done") return job.profile_hash
    ? make("a", { href: `#/profile/${job.profile_hash.slice(0, 12)}`, "data-key": `profile-${job.job_id}` }, job.profile_hash.slice(0, 12))
    : "";
  if (job.status === "cancelled") return make("span", { class: "note" }, job.progress.stage ? `during ${job.progress.stage}` : "before it began");
  const { stage, done, total, note } = job.progress;
  const label = `${stage || "starting"}${total ? ` ${done} of ${total}` : ""}`;
  return make("div", { class: "progress" },
    make("progress", total ? { max: total, value: Math.min(done, total), "aria-label": label } : { "aria-label": label }),
    make("span", { class: "note" }, [label, note, left(job)].filter(Boolean).join(" · ")));
}

const badge = (job) => make("span", { class: `badge ${job.status}` },
  job.cancel_asked && job.status === "running" ? "ending" : job.status);

function cancel(job, after) {
  if (!["queued", "running"].includes(job.status) || job.cancel_asked) return "";
  const ask = async () => {
    const running = job.status === "running";
    const done = await confirm({
      title: `Cancel the job on ${job.request.model}?`,
      text: running
        ? "It ends at its next step. What was measured is kept: the same job submitted again goes on from there."
        : "It leaves the queue at once.",
      yes: "Cancel the job",
      no: "Let it run",
      danger: true,
      act: () => post(`v1/jobs/${job.job_id}/cancel`),
    });
    if (done) after();
  };
  return make("button", { class: "small", click: ask, "data-key": `cancel-${job.job_id}`, "aria-label": `Cancel job ${job.job_id}` }, "Cancel");
}

function line(job, after) {
  const asked = job.request;
  const settings = [asked.dtype === "auto" ? null : asked.dtype, asked.quick ? "quick" : null, asked.suite].filter(Boolean);
  return make("tr", { "data-job": job.job_id },
    make("td", {}, badge(job)),
    make("th", { scope: "row" }, short(asked.model), make("span", { class: "note under" }, [asked.device, ...settings].join(" · "))),
    make("td", { class: "wide" }, progress(job)),
    make("td", { class: "when" }, ago(job.ended_at ?? job.started_at ?? job.submitted_at), make("code", { class: "note under" }, job.job_id)),
    make("td", { class: "act" }, cancel(job, after)));
}

export const jobTable = (jobs, after) => table("Jobs", ["Status", "Model and device", "Progress", "When", ""], jobs.map((job) => line(job, after)));

export const noJobs = () => empty("No job was submitted yet. From a terminal:", SUBMIT);

/** Those that have not ended, then the latest others: `limit` in all. */
export async function newest(limit) {
  const [running, queued, latest] = await Promise.all([
    get("v1/jobs", { status: "running", limit }), get("v1/jobs", { status: "queued", limit }), get("v1/jobs", { limit }),
  ]);
  const found = new Map([...running.jobs, ...queued.jobs, ...latest.jobs].map((job) => [job.job_id, job]));
  return [...found.values()].slice(0, limit);
}

/** The view of all jobs; `words` of the address: a status, then the job the page comes after. */
export async function jobsView([status, before], again) {
  const chosen = STATUSES.includes(status) ? status : undefined;
  const [page, overview] = await Promise.all([get("v1/jobs", { status: chosen, before, limit: PAGE }), get("v1/overview")]);
  const sum = Object.values(overview.jobs).reduce((one, other) => one + other, 0);
  const filters = [["all", sum], ...STATUSES.map((name) => [name, overview.jobs[name] ?? 0])].map(([name, n]) => make("a", {
    href: name === "all" ? "#/jobs" : `#/jobs/${name}`, class: "chip", "data-key": `filter-${name}`,
    "aria-current": (chosen ?? "all") === name ? "true" : null,
  }, `${name} ${n.toLocaleString("en")}`));
  const last = page.jobs.at(-1);
  const none = sum ? make("p", { class: "note" }, "No such job.") : noJobs();
  return [
    make("h1", {}, "Jobs"),
    make("nav", { class: "row chips", "aria-label": "By status" }, filters),
    card(before ? "Earlier jobs" : "The latest first", page.jobs.length ? jobTable(page.jobs, again) : none,
      make("div", { class: "row" },
        before ? make("a", { class: "button", href: `#/jobs/${status}`, "data-key": "first" }, "To the latest") : null,
        page.jobs.length === PAGE ? make("a", { class: "button", href: `#/jobs/${chosen ?? "all"}/${last.job_id}`, "data-key": "earlier" }, "Earlier") : null)),
  ];
}
