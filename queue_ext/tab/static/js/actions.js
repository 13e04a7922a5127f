// What a person can do to jobs and lanes. The answer comes back as an event like everybody else's. Nothing is asked
// beforehand but for clearing: what can be taken back is offered to be taken back.
import { FINISHED } from "./store.js";
import { t } from "./texts.js";

const UNDO = 5000; // ms an undo is offered, and a removal waits

export class Actions {
  constructor(api, store, toasts, ask) {
    Object.assign(this, { api, store, toasts, ask });
    this.removing = new Map(); // ids that are about to be removed for good → timer
    window.addEventListener("pagehide", () => this.removeNow([...this.removing.keys()]));
  }

  // --- waiting and running jobs --------------------------------------------------------------------------------

  /** By actions and not by DELETE, which would remove a job that has finished in the meantime, pictures and all. */
  async cancel(jobs) {
    const ids = idsOf(jobs);
    const places = jobs.map((job) => this.placeOf(job));
    this.store.setStopping(ids, true);
    const answer = await this.many("cancel", jobs);
    if (answer?.changed !== ids.length) this.store.setStopping(ids, false);
    if (!answer) return;
    if (!answer.changed) return this.toasts.show(t("job.too_late"));
    const waited = jobs.map((job, n) => ({ job, place: places[n] })).filter(({ job }) => job.state !== "processing");
    const again = waited.length ? () => this.restore(waited) : () => this.requeue(jobs);
    this.offer(t(waited.length ? "done.cancelled" : "done.stopping", { n: answer.changed }), again, waited.length ? undefined : t("job.again"));
  }

  /** Cancelled jobs back to where they stood: those in line by a requeue, those that waited for something as copies,
   * which a requeue would let run at once. */
  async restore(waited) {
    const stood = waited.filter(({ job }) => job.state === "enqueued");
    const later = waited.filter(({ job }) => job.state !== "enqueued");
    if (stood.length) await this.many("requeue", stood.map(({ job }) => job));
    if (this.store.seesAll) for (const { job, place } of stood) await this.move([job], place);
    for (const { job } of later) {
      const when = job.state === "awaiting" ? { after: job.after } : { run_at: job.run_at };
      const copy = await this.attempt(this.api.post(`jobs/${job.id}/clone`, when));
      if (copy) await this.attempt(this.api.delete(`jobs/${job.id}`));
    }
  }

  /** Where a job stands, as what `move` takes: behind the one before it, or at the front. */
  placeOf(job) {
    const rows = this.store.line(job.queue).filter((row) => row.job);
    const index = rows.findIndex((row) => row.key === job.id);
    if (index > 0) return { after: rows[index - 1].key };
    return { to: "front" };
  }

  front(jobs) {
    return this.moveAndOffer(jobs, { to: "front" });
  }

  back(jobs) {
    return this.moveAndOffer(jobs, { to: "back" });
  }

  async moveAndOffer(jobs, place) {
    const before = jobs.map((job) => ({ job, place: this.placeOf(job) }));
    const answer = await this.move(jobs, place);
    if (!answer?.changed) return;
    this.offer(t("done.moved", { n: answer.changed }), async () => {
      for (const { job, place: old } of before) await this.move([job], old);
    });
  }

  move(jobs, place) {
    return this.many("move", jobs, { place });
  }

  async prioritise(jobs, priority) {
    const before = jobs.map((job) => ({ job, priority: job.priority }));
    const answer = await this.many("prioritise", jobs, { priority });
    if (answer?.changed) this.offer(t("done.prioritised", { n: answer.changed }), () => Promise.all(before.map((was) => this.many("prioritise", [was.job], was))));
  }

  async requeue(jobs) {
    const answer = await this.many("requeue", jobs);
    if (answer) this.toasts.show(t("done.requeued", { n: answer.changed }));
  }

  skip(job) {
    return this.attempt(this.api.post(`jobs/${job.id}/skip`));
  }

  // --- any job -------------------------------------------------------------------------------------------------

  async bookmark(jobs, on = !jobs.every((job) => job.bookmarked)) {
    const [does, undoes] = on ? ["bookmark", "unbookmark"] : ["unbookmark", "bookmark"];
    const changed = jobs.filter((job) => job.bookmarked !== on);
    const answer = await this.many(does, changed);
    if (answer?.changed) this.offer(t(`done.${does}ed`, { n: answer.changed }), () => this.many(undoes, changed));
  }

  async label(jobs, label) {
    const changed = jobs.filter((job) => !job.labels.includes(label));
    const answer = await this.many("label", changed, { labels: [label] });
    if (answer?.changed) this.offer(t("done.labelled", { n: answer.changed, label }), () => this.many("unlabel", changed, { labels: [label] }));
  }

  unlabel(job, label) {
    return this.many("unlabel", [job], { labels: [label] });
  }

  /** Out of history, pictures and all, which nothing brings back: so it happens when the offer has passed. */
  remove(jobs) {
    const ids = idsOf(jobs);
    const timer = setTimeout(() => this.removeNow(ids), UNDO);
    for (const id of ids) this.removing.set(id, timer);
    this.store.changed();
    this.offer(t("done.removed", { n: ids.length }), () => {
      clearTimeout(timer);
      for (const id of ids) this.removing.delete(id);
      this.store.changed();
    });
  }

  async removeNow(ids) {
    if (!ids.length) return;
    const answer = await this.attempt(this.api.send("POST", "jobs/actions", { action: "delete", ids }, { keepalive: true }));
    for (const id of ids) this.removing.delete(id);
    if (answer) for (const id of ids) this.store.done.delete(id);
    this.store.changed();
  }

  change(job, fields) {
    return this.attempt(this.api.patch(`jobs/${job.id}`, fields));
  }

  // --- lanes ---------------------------------------------------------------------------------------------------

  pause(lane, paused) {
    return this.attempt(this.api.post(`queues/${lane}/${paused ? "pause" : "resume"}`));
  }

  async clear(lane) {
    const n = this.store.waiting(lane);
    if (!(await this.ask(t("lane.clear_sure", { n, lane }), t("lane.clear")))) return;
    const answer = await this.attempt(this.api.post(`queues/${lane}/clear`));
    if (answer) this.toasts.show(t("done.cancelled", { n: answer.changed }));
  }

  // --- how -----------------------------------------------------------------------------------------------------

  /** Whether a form ({ save, changed() }) may be left: not while it is being saved, and not with what was typed unasked. */
  async mayLeave(form) {
    return !form.save.disabled && (!form.changed() || this.ask(t("edit.discard_sure"), t("edit.discard")));
  }

  /** One action on many jobs at once. */
  async many(action, jobs, more = {}) {
    return jobs.length && this.attempt(this.api.post("jobs/actions", { action, ids: idsOf(jobs), ...pick(more) }));
  }

  offer(text, undo, label = t("undo")) {
    this.toasts.show(text, { action: { label, run: () => this.attempt(undo()) }, ms: UNDO });
  }

  async attempt(promise) {
    try {
      return await promise;
    } catch (problem) {
      this.toasts.show(this.store.connected || problem.status ? problem.message : t("state.lost_hint"), { bad: true });
      return null;
    }
  }
}

const idsOf = (jobs) => jobs.map((job) => job.id);
const pick = ({ place, priority, labels }) => ({ place, priority, labels });

/** What can be done to a job in its state by who sees it. */
export function allowed(store, job) {
  const own = job.mine || store.seesAll;
  return {
    cancel: own && !FINISHED.includes(job.state) && !store.stopping.has(job.id),
    move: store.seesAll && job.state === "enqueued",
    requeue: own && (job.state === "failed" || job.state === "deleted"),
    remove: own && FINISHED.includes(job.state),
    change: own,
  };
}
