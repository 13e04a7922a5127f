// What lines about jobs have in common.
import { about, duration, moment, t } from "../texts.js";

const SOON = 3600; // seconds; what comes within is counted down

/** What a job is called: its name, or its prompt. */
export function title(job) {
  return job.name || job.prompt || t("job.no_prompt");
}

/** Enough of it to tell jobs apart in a label. */
export function short(job) {
  return title(job).slice(0, 80);
}

/** Such as "512 × 768 × 4 · 20 steps". */
export function facts(job) {
  const { width, height, images, steps, checkpoint } = job.summary || {};
  const size = width && height ? `${width} × ${height}` : job.task;
  const parts = [images > 1 ? `${size} ${t("line.pictures", { n: images })}` : size];
  if (steps) parts.push(t("line.steps", { n: steps }));
  if (checkpoint) parts.push(checkpoint);
  if (job.priority) parts.push(t("line.priority", { priority: job.priority > 0 ? `+${job.priority}` : job.priority }));
  if (!job.mine) parts.push(t("line.by", { owner: owner(job) }));
  for (const label of job.labels || []) parts.push(`#${label}`);
  return parts.join(" · ");
}

/** Somebody's name, or the beginning of a browser's. */
export function owner(job) {
  return job.owner?.startsWith("client-") ? job.owner.slice(7, 13) : job.owner || t("line.theirs");
}

/** How many are before it. */
export function before(job, ahead) {
  if (job.state !== "enqueued" || ahead === null) return "";
  return ahead ? t("line.before", { n: ahead }) : t("line.next");
}

/** When its turn comes, or what it waits for. */
export function when(job, store) {
  if (job.state === "awaiting") return t("line.after", { n: (job.after || []).length });
  if (job.state === "scheduled" && job.attempt) return t("line.retry", { attempt: job.attempt, of: job.max_attempts - 1, time: until(job.run_at) });
  if (job.state === "scheduled") return t("line.at", { time: until(job.run_at) });
  if (store.lanes.get(job.queue)?.paused) return t("line.paused_short");
  return job.etaAt === null || job.etaAt === undefined ? "" : about((job.etaAt - Date.now()) / 1000);
}

/** A time to come: counted down when it is near. */
export function until(iso) {
  const seconds = (new Date(iso) - Date.now()) / 1000;
  return seconds < SOON ? t("time.in", { time: duration(Math.max(1, seconds)) }) : moment(iso);
}
