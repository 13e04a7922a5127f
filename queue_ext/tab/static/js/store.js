// What the page knows. Snapshots and events go in, in the order of their seq; views read and are told of changes.
import { t } from "./texts.js";

export const WAITING = ["enqueued", "scheduled", "awaiting"];
export const FINISHED = ["succeeded", "failed", "deleted"];
const DONE_LIMIT = 48; // finished jobs that are kept
const BY_HAND = "paused by hand"; // says no more than that it is paused, and that in English
const LINE_TOLD = 200; // places of a line that the server pushes

export class Store {
  constructor() {
    this.connection = "connecting"; // connecting, live, lost, polling, refused
    this.reason = "";
    this.me = null;
    this.seq = undefined; // of the last news that was applied; what a reconnect asks to continue from
    this.jobs = new Map(); // unfinished ones, by id
    this.done = new Map(); // the latest finished ones
    this.progress = new Map(); // by job id
    this.previews = new Map(); // object URLs, by job id
    this.lanes = new Map(); // by name: { name, paused, why, waiting }
    this.orders = new Map(); // by lane: { ids, next }: its line from the front as far as it is known, where all may be seen
    this.lines = new Map(); // by lane: its rows, until something changes
    this.stopping = new Set(); // ids whose cancellation was asked for
    this.expected = new Set(); // snapshots that are on their way: what events have said since they were asked for
    this.listeners = { change: [], job: [], removed: [], failed: [], schedule: [], missing: [], emptied: [], anew: [] };
  }

  /** Call `listener` at every "change", "job" (a job's news), "removed", "failed", "schedule", "missing" (a lane to look at), "emptied", "anew" (after a snapshot). */
  on(what, listener) {
    this.listeners[what].push(listener);
  }

  tell(what, data) {
    this.listeners[what].forEach((listener) => listener(data));
  }

  changed() {
    this.tell("change");
  }

  setConnection(connection, reason = "") {
    this.connection = connection;
    this.reason = reason;
    this.changed();
  }

  setStopping(ids, stopping) {
    for (const id of ids) this.stopping[stopping ? "add" : "delete"](id);
    this.changed();
  }

  // --- reading -------------------------------------------------------------------------------------------------

  /** Whether what a person does has any chance of being heard. */
  get connected() {
    return this.connection === "live" || this.connection === "polling";
  }

  /** Whether everybody's jobs may be seen and moved. */
  get seesAll() {
    return Boolean(this.me?.admin || this.me?.visibility === "shared");
  }

  running() {
    return [...this.jobs.values()].filter((job) => job.state === "processing");
  }

  /** A lane's line as rows: { key, job, place, ahead } for a job, { key, gap, more } for `gap` jobs that are not known. */
  line(lane) {
    if (!this.lines.has(lane)) this.lines.set(lane, this.buildLine(lane));
    return this.lines.get(lane);
  }

  buildLine(lane) {
    const ids = this.orders.get(lane)?.ids ?? [];
    const before = this.aheadOfFirst(ids[0]);
    const rows = [];
    for (const id of ids) rows.push({ key: id, job: this.jobs.get(id), place: rows.length + 1, ahead: before === null ? null : before + rows.length });
    const placed = new Set(ids);
    const loose = [...this.jobs.values()].filter((job) => job.state === "enqueued" && job.queue === lane && !placed.has(job.id));
    let place = rows.length;
    for (const job of loose.sort((a, b) => (a.position ?? Infinity) - (b.position ?? Infinity))) {
      if (job.position > place + 1) rows.push({ key: `gap ${job.id}`, gap: job.position - place - 1 });
      place = Math.max(place + 1, job.position ?? 0);
      rows.push({ key: job.id, job, place, ahead: job.ahead ?? null });
    }
    const left = (this.lanes.get(lane)?.waiting ?? 0) - place;
    if (left > 0 && !this.knowsAll(lane)) rows.push({ key: "gap", gap: left, more: place > 0 });
    return Object.assign(rows, { seen: ids.length + loose.length, ...foretold(rows) });
  }

  /** Whether we hold the whole line: then the count that is pushed a moment later says nothing more. */
  knowsAll(lane) {
    return this.orders.get(lane)?.next === null;
  }

  aheadOfFirst(id) {
    const first = this.jobs.get(id);
    return first && first.ahead !== null && first.position ? first.ahead - first.position + 1 : null;
  }

  /** Jobs that wait for a time or for other jobs. */
  later() {
    const found = [...this.jobs.values()].filter((job) => job.state === "scheduled" || job.state === "awaiting");
    return found.sort((a, b) => (a.run_at || "~").localeCompare(b.run_at || "~"));
  }

  /** How many wait in a lane: what the server counted, and never fewer than are seen. */
  waiting(lane) {
    const { seen } = this.line(lane);
    return this.knowsAll(lane) ? seen : Math.max(this.lanes.get(lane)?.waiting ?? 0, seen);
  }

  waitingInAll() {
    return [...this.lanes.keys()].reduce((sum, lane) => sum + this.waiting(lane), 0);
  }

  /** When the last one in line will be done, ms since the epoch; null where nobody knows. What is not known is
   * taken to need as long as what is, on average. */
  allDoneAt() {
    let end = null;
    for (const lane of this.lanes.keys()) {
      const { last, mean } = this.line(lane);
      if (!last) continue;
      const unknown = Math.max(0, this.waiting(lane) - last.place);
      end = Math.max(end ?? 0, last.job.etaAt + 1000 * (last.job.duration_estimate_s + unknown * mean));
    }
    return end;
  }

  /** Own unfinished jobs, the next one first. */
  own() {
    const found = [...this.jobs.values()].filter((job) => job.mine && job.position !== null);
    return found.sort((a, b) => a.position - b.position);
  }

  finished() {
    return [...this.done.values()].sort((a, b) => (b.finished_at || "").localeCompare(a.finished_at || ""));
  }

  job(id) {
    return this.jobs.get(id) ?? this.done.get(id);
  }

  // --- snapshots -----------------------------------------------------------------------------------------------

  /** Called before a snapshot is asked for: what events say from now on is newer than it. */
  expectSnapshot() {
    const since = { jobs: new Map(), places: new Map(), lines: new Map(), progress: new Set() };
    this.expected.add(since);
    return since;
  }

  /** The snapshot did not come, or somebody else keeps it. */
  giveUp(since) {
    this.expected.delete(since);
  }

  /** Take what REST or a greeting said. `complete(job)` tells which jobs we hold would be in it, if they still were.
   * `lines`: [{ lane, ids, next, append }] for the lines in it. `anew`: no more than it says is done. */
  applySnapshot(since, jobs, complete, lines = [], anew = false) {
    this.expected.delete(since);
    if (anew) for (const id of this.done.keys()) if (!since.jobs.has(id)) this.done.delete(id);
    const told = new Set(jobs.map((job) => job.id));
    for (const job of this.jobs.values()) {
      if (complete(job) && !told.has(job.id) && !since.jobs.has(job.id)) this.forget(job.id);
    }
    for (const job of jobs) {
      if (!job.id || since.jobs.has(job.id)) continue;
      if (job.progress && !since.progress.has(job.id)) this.progress.delete(job.id);
      this.put(job);
    }
    for (const line of lines) this.setOrder(line);
    for (const line of since.lines.values()) this.setFront(line);
    for (const id of since.jobs.keys()) if (this.jobs.get(id)) this.findPlace(this.jobs.get(id));
    for (const [id, place] of since.places) this.setPlace(id, place);
    this.lines.clear();
    this.changed();
  }

  /** What a page of a lane's line said. */
  setOrder({ lane, ids, next, append }) {
    const before = append ? (this.orders.get(lane)?.ids ?? []) : [];
    const known = ids.filter((id) => this.jobs.get(id)?.state === "enqueued" && !before.includes(id));
    this.orders.set(lane, { ids: [...before, ...known], next });
  }

  setLanes(lanes) {
    this.lanes = new Map(lanes.map((lane) => [lane.name, laneOf(lane)]));
    this.lines.clear();
    this.changed();
  }

  // --- events --------------------------------------------------------------------------------------------------

  /** Apply one event of the server; an old one changes nothing. */
  apply(event, data) {
    if (data.seq !== undefined) {
      if (this.seq !== undefined && data.seq <= this.seq) return;
      this.seq = data.seq;
    }
    this[`on_${event}`]?.(data);
    this.changed();
  }

  on_job(job) {
    this.newer(job);
    this.put(job);
    this.findPlace(job);
    this.tell("job", { job });
  }

  on_removed({ job_id: id, queue }) {
    this.newer({ id, queue });
    this.forget(id);
    this.done.delete(id);
    this.tell("removed", { id });
  }

  newer(job) {
    for (const since of this.expected) {
      since.jobs.set(job.id, job);
      since.lines.delete(job.queue);
    }
  }

  on_result({ job_id: id, images }) {
    const job = this.done.get(id);
    if (job) job.result = { ...job.result, images };
  }

  on_failed({ job_id: id, error, will_retry: again }) {
    if (!again) this.tell("failed", { id, text: t("toast.failed", { reason: error.message }) });
  }

  on_empty() {
    this.tell("emptied");
  }

  on_positions(places) {
    for (const [id, place] of Object.entries(places)) this.setPlace(id, place);
    this.lines.clear();
  }

  on_line(line) {
    for (const since of this.expected) since.lines.set(line.queue, line);
    for (const { job_id: id, ...place } of line.jobs) this.setPlace(id, place);
    this.setFront(line);
  }

  /** The first places of a line; what stands behind them keeps its order. */
  setFront({ queue: lane, jobs }) {
    const told = jobs.map((job) => job.job_id);
    const known = told.filter((id) => this.jobs.get(id)?.state === "enqueued");
    const first = new Set(told);
    const old = this.orders.get(lane);
    const rest = told.length < LINE_TOLD ? [] : (old?.ids ?? []).filter((id) => !first.has(id));
    this.orders.set(lane, { next: null, ...old, ids: [...known, ...rest] });
    this.lines.delete(lane);
    if (known.length < told.length) this.tell("missing", lane);
  }

  on_waiting_count({ queue, count }) {
    this.lanes.set(queue, { name: queue, paused: false, ...this.lanes.get(queue), waiting: count });
    this.lines.delete(queue);
  }

  on_queue(lane) {
    if (lane.deleted) this.lanes.delete(lane.name);
    else this.lanes.set(lane.name, laneOf(lane));
    this.lines.delete(lane.name);
  }

  on_schedule(what) {
    this.tell("schedule", what);
  }

  on_progress({ preview, ...progress }) {
    const id = progress.job_id;
    for (const since of this.expected) since.progress.add(id);
    if (this.jobs.get(id)?.state !== "processing") return;
    this.progress.set(id, progress);
    if (preview) this.setPreview(id, URL.createObjectURL(new Blob([preview], { type: "image/jpeg" })));
  }

  // --- keeping -------------------------------------------------------------------------------------------------

  put(job) {
    if (FINISHED.includes(job.state)) {
      this.forget(job.id);
      if (job.state === "failed" || job.result?.images?.length) this.keep(job);
      return;
    }
    this.done.delete(job.id);
    if (job.state !== "enqueued") this.takeOut(job.id);
    if (job.state !== "processing") this.endRun(job.id);
    else if (job.progress && !this.progress.has(job.id)) this.progress.set(job.id, job.progress);
    this.lines.delete(this.jobs.get(job.id)?.queue);
    this.lines.delete(job.queue);
    this.jobs.set(job.id, { ...job, etaAt: etaAt(job.eta_s) });
  }

  /** Where a job that was told of stands in the part of its line that we know. */
  findPlace(job) {
    this.takeOut(job.id);
    const order = this.orders.get(job.queue);
    if (job.state !== "enqueued" || !order || !job.position || job.position > order.ids.length + 1) return;
    order.ids.splice(job.position - 1, 0, job.id);
    this.lines.delete(job.queue);
  }

  takeOut(id) {
    for (const [lane, order] of this.orders) {
      const index = order.ids.indexOf(id);
      if (index < 0) continue;
      order.ids.splice(index, 1);
      this.lines.delete(lane);
    }
  }

  keep(job) {
    this.done.set(job.id, job);
    if (this.done.size > DONE_LIMIT) for (const old of this.finished().slice(DONE_LIMIT)) this.done.delete(old.id);
  }

  setPlace(id, place) {
    const { position, ahead, eta_s: eta } = place;
    for (const since of this.expected) since.places.set(id, place);
    const job = this.jobs.get(id);
    if (job?.state === "enqueued") Object.assign(job, { position, ahead, eta_s: eta, etaAt: etaAt(eta) });
  }

  setPreview(id, url) {
    const old = this.previews.get(id);
    this.previews.set(id, url);
    if (old) setTimeout(() => URL.revokeObjectURL(old), 2000); // it is on the screen until the new one is decoded
  }

  forget(id) {
    this.lines.delete(this.jobs.get(id)?.queue);
    this.jobs.delete(id);
    this.takeOut(id);
    this.endRun(id);
  }

  endRun(id) {
    this.progress.delete(id);
    this.stopping.delete(id);
    const url = this.previews.get(id);
    this.previews.delete(id);
    if (url) setTimeout(() => URL.revokeObjectURL(url), 2000);
  }
}

/** The last row of which one knows when it is done, and how long a job takes on average. */
function foretold(rows) {
  let [count, sum, last] = [0, 0, null];
  for (const row of rows) {
    const { etaAt: eta, duration_estimate_s: takes } = row.job || {};
    if (eta == null || takes == null) continue;
    [count, sum, last] = [count + 1, sum + takes, row];
  }
  return { last, mean: sum / count };
}

function laneOf({ name, paused, pause_reason: why, waiting_count: waiting }) {
  return { name, paused, why: why === BY_HAND ? "" : why, waiting };
}

function etaAt(seconds) {
  return seconds === null || seconds === undefined ? null : Date.now() + seconds * 1000;
}
