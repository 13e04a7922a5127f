// What the session knows. Greetings and events go in, in the order of their seq; what is old or not ours changes nothing.
import { reactive, shallowReactive } from "vue";
import type {
  FailedPush,
  HelloDone,
  Job,
  JobPush,
  Place,
  ProgressPush,
  RemovedPush,
  ResultPush,
  WaitingCountPush,
} from "./contract";

/** A job, with the moment (ms since the epoch) it is expected to start, which a page can count down to. */
export type QueueJob = Job & { startsAt: number | null };

/** How far a job is; `preview` is an address of the forming picture for an `<img>`. */
export type JobProgress = Omit<ProgressPush, "preview"> & { preview: string | null };

export type News =
  | { event: "job"; data: JobPush }
  | { event: "result"; data: ResultPush }
  | { event: "failed"; data: FailedPush }
  | { event: "removed"; data: RemovedPush };

export interface Heard {
  result(jobId: string): void;
  failed(data: FailedPush): void;
}

const FINISHED: readonly string[] = ["succeeded", "failed", "deleted"];
const PREVIEW_STAYS = 2000; // ms: the old preview is on the screen until the new one is decoded
const ORDER: Record<string, number> = { processing: 0, enqueued: 1, scheduled: 2, awaiting: 3 };

export const isFinished = (job: { state: string }): boolean => FINISHED.includes(job.state);

export class State {
  readonly jobs = shallowReactive(new Map<string, QueueJob>());
  readonly progress = shallowReactive(new Map<string, JobProgress>());
  readonly waiting = reactive<Record<string, number>>({});
  /** Of the last news that was applied: what a reconnect goes on from. */
  cursor: number | undefined;
  private readonly touched = new Set<Set<string>>();
  private readonly seenToEnd = new Set<string>(); // by REST, and told: the news of it, still on its way, is not told again

  constructor(
    private readonly heard: Heard,
    private readonly now: () => number = Date.now,
  ) {}

  /** Unfinished ones in the order they will run, then finished ones, the latest first. */
  list(): QueueJob[] {
    return [...this.jobs.values()].sort(byTurn);
  }

  // --- greetings -----------------------------------------------------------------------------------------------------

  /** Apply the answer to `hello`. True when it was a snapshot: what has finished meanwhile is to be asked for. */
  greet(said: HelloDone): boolean {
    for (const lane of said.queues) this.waiting[lane.name] = lane.waiting_count;
    if (said.replay) for (const news of said.replay as News[]) this.apply(news);
    this.cursor = said.snapshot ? said.cursor : Math.max(this.cursor ?? 0, said.cursor);
    for (const job of said.jobs) {
      if (!job.mine) continue;
      this.put(job);
      this.resume(job);
    }
    return Boolean(said.snapshot);
  }

  /** From now on, until the set is given to `fill`: the ids of the jobs of which something newer is said. */
  listen(): Set<string> {
    const touched = new Set<string>();
    this.touched.add(touched);
    return touched;
  }

  giveUp(touched: Set<string>): void {
    this.touched.delete(touched);
  }

  /**
   * Apply what REST says of one's own jobs, asked for after a snapshot. `ask` gets it; what was said since `listen` is
   * newer. `open` are the ids of the greeting: an unfinished job that nobody named is no more.
   */
  async fill(open: Set<string>, touched: Set<string>, ask: () => Promise<Job[]>): Promise<void> {
    try {
      const told = (await ask()).filter((job) => job.mine && !touched.has(job.id));
      const known = new Set([...open, ...touched, ...told.map((job) => job.id)]);
      for (const [id, job] of this.jobs) if (!isFinished(job) && !known.has(id)) this.forget(id);
      for (const job of told) {
        const before = this.jobs.get(job.id);
        this.put(job);
        if (!before || isFinished(before) || job.state !== "succeeded") continue;
        this.seenToEnd.add(job.id);
        this.heard.result(job.id);
      }
    } finally {
      this.giveUp(touched);
    }
  }

  /** The answer to a request of ours: an event that came before it knows better. */
  accepted(job: Job): void {
    if (!this.jobs.has(job.id)) this.put(job);
  }

  // --- events --------------------------------------------------------------------------------------------------------

  apply({ event, data }: News): void {
    if (this.cursor !== undefined && data.seq <= this.cursor) return;
    this.cursor = data.seq;
    if (event === "job") this.onJob(data);
    else if (event === "result") this.onResult(data);
    else if (event === "removed") this.onRemoved(data);
    else this.onFailed(data);
  }

  private onJob(job: JobPush): void {
    if (!job.mine) return;
    this.put(job);
  }

  private onRemoved({ job_id: id }: RemovedPush): void {
    for (const touched of this.touched) touched.add(id);
    this.forget(id);
  }

  private onResult({ job_id: id, images }: ResultPush): void {
    const job = this.jobs.get(id);
    if (job) this.jobs.set(id, { ...job, result: { ...job.result, images } });
    if (!this.seenToEnd.delete(id)) this.heard.result(id);
  }

  private onFailed(data: FailedPush): void {
    this.heard.failed(data);
  }

  onPositions(places: Record<string, Place>): void {
    for (const [id, place] of Object.entries(places)) {
      const job = this.jobs.get(id);
      if (job?.state === "enqueued") this.jobs.set(id, { ...job, ...place, startsAt: this.moment(place.eta_s) });
    }
  }

  onProgress({ preview, ...progress }: ProgressPush): void {
    if (this.jobs.get(progress.job_id)?.state !== "processing") return;
    const before = this.progress.get(progress.job_id)?.preview ?? null;
    const shown = preview ? URL.createObjectURL(new Blob([preview], { type: "image/jpeg" })) : before;
    this.progress.set(progress.job_id, { ...progress, preview: shown });
    if (preview) this.letGo(before);
  }

  onWaitingCount({ queue, count }: WaitingCountPush): void {
    this.waiting[queue] = count;
  }

  // --- keeping -------------------------------------------------------------------------------------------------------

  private put(job: Job): void {
    const { seq: _, ...kept } = job as JobPush;
    for (const touched of this.touched) touched.add(job.id);
    this.jobs.set(job.id, { ...kept, startsAt: this.moment(job.eta_s) });
    if (job.state === "processing") this.begin(job);
    else this.endRun(job.id);
  }

  private begin(job: Job): void {
    if (!this.progress.has(job.id)) this.resume(job);
  }

  /** How far a greeting says a job is, behind the picture one had. */
  private resume({ id, progress }: Job): void {
    if (progress) this.progress.set(id, { ...progress, job_id: id, preview: this.progress.get(id)?.preview ?? null });
  }

  forget(id: string): void {
    this.jobs.delete(id);
    this.seenToEnd.delete(id);
    this.endRun(id);
  }

  /** Give back what the browser keeps for us. */
  clear(): void {
    for (const id of [...this.progress.keys()]) this.endRun(id);
    this.jobs.clear();
    this.seenToEnd.clear();
    this.cursor = undefined;
  }

  private endRun(id: string): void {
    const ended = this.progress.get(id);
    if (!ended) return;
    this.progress.delete(id);
    this.letGo(ended.preview);
  }

  private letGo(address: string | null): void {
    if (address) setTimeout(() => URL.revokeObjectURL(address), PREVIEW_STAYS);
  }

  private moment(seconds: number | null): number | null {
    return seconds === null ? null : this.now() + seconds * 1000;
  }
}

function byTurn(a: QueueJob, b: QueueJob): number {
  const ended = Number(isFinished(a)) - Number(isFinished(b));
  if (ended) return ended;
  if (isFinished(a)) return (b.finished_at ?? "").localeCompare(a.finished_at ?? "") || b.id.localeCompare(a.id);
  const state = (ORDER[a.state] ?? 9) - (ORDER[b.state] ?? 9);
  if (state) return state;
  if (a.state === "scheduled") return (a.run_at ?? "").localeCompare(b.run_at ?? "");
  return (a.position ?? Infinity) - (b.position ?? Infinity) || a.id.localeCompare(b.id);
}
