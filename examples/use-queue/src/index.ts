// useQueue(url, options): one's place in line, progress and pictures, as Vue refs.
import { computed, type ComputedRef, getCurrentScope, onScopeDispose, type Ref, shallowReadonly, type ShallowRef } from "vue";
import type { JobRequest, Me, Picture, Place, Quota, Upload } from "./contract";
import type { QueueError } from "./errors";
import { type Connection, type QueueEvents, type QueueOptions, Session } from "./session";
import type { Request } from "./rest";
import type { JobProgress, QueueJob } from "./state";

export * from "./contract";
export { clientId, randomId } from "./client-id";
export { QueueError } from "./errors";
export { isFinished } from "./state";
export type { Connection, JobProgress, QueueEvents, QueueJob, QueueOptions, Request };

export interface UseOptions extends QueueOptions, Partial<OnEvents> {
  /** The queue whose `waitingCount` is shown. Default "default". */
  queue?: string;
  /** Whether to connect at once. Default true; else call `start`. */
  immediate?: boolean;
}

interface OnEvents {
  /** A job of mine succeeded; its pictures are in `job.result`. Once for each, however often the network breaks. */
  onResult: QueueEvents["result"];
  /** An attempt of a job of mine failed. */
  onFailed: QueueEvents["failed"];
  /** Something was refused or could not be reached. */
  onError: QueueEvents["error"];
  /** A schedule was changed or fired. */
  onSchedule: QueueEvents["schedule"];
}

/** A picture with addresses that work from any page. */
export type QueueImage = Picture & { jobId: string };

export interface Queue {
  /** idle, connecting, live, lost (it tries again by itself) or refused (see `error`; call `start` to try again). */
  connection: Readonly<Ref<Connection>>;
  connected: ComputedRef<boolean>;
  owner: Readonly<Ref<string | null>>;
  /** How many jobs wait in the queue, everybody's. */
  waitingCount: ComputedRef<number>;
  /** The places of my waiting jobs, by id. */
  positions: ComputedRef<Record<string, Place>>;
  /** My jobs: unfinished ones in the order they will run, then finished ones, the latest first. */
  jobs: ComputedRef<QueueJob[]>;
  /** How far my running jobs are, by id. */
  progress: ReadonlyMap<string, JobProgress>;
  /** My pictures, the latest first. */
  images: ComputedRef<QueueImage[]>;
  /** The addresses of the pictures that came last. */
  imgUrl: Readonly<ShallowRef<string[]>>;
  /** What went wrong last; null once the connection is up again. */
  error: Readonly<ShallowRef<QueueError | null>>;
  me: Readonly<ShallowRef<Me | null>>;
  /** How many jobs of today are left to me. */
  quota: ComputedRef<Quota | null>;
  enqueue(request: JobRequest): Promise<QueueJob>;
  cancel(jobId: string): Promise<void>;
  remove(jobId: string): Promise<void>;
  upload(picture: Blob): Promise<Upload>;
  /** Any other event of the contract, by its name. */
  call: Session["call"];
  /** Any other route of the contract: `ask<ScheduleList>("schedules")`. */
  ask<T>(path: string, request?: Request): Promise<T>;
  /** A path the server told as an address that works from any page. */
  address(path: string): string;
  start(): void;
  stop(): void;
}

interface Shared {
  session: Session;
  users: number;
  end?: ReturnType<typeof setTimeout>;
}

const LINGER = 50; // ms the connection outlives its last user, so that changing the view does not break it
const sessions = new Map<string, Shared>();
const ids = new WeakMap<object, number>();
let lastId = 0;

/** Connections that are open, for tests. */
export const openSessions = (): number => sessions.size;

/**
 * Use the queue at `url` (the server's root; empty for the page's own). It connects once however many components use
 * it, and ends with the last of them. Called in a component or an effect scope it stops by itself; elsewhere call `stop`.
 */
export function useQueue(url = "", options: UseOptions = {}): Queue {
  const key = keyOf(url, options);
  const shared = sessions.get(key) ?? { session: new Session(url, options), users: 0 };
  const { session } = shared;
  let leave: (() => void) | null = null;

  const start = (): void => {
    if (leave) return session.start();
    if (!sessions.has(key)) sessions.set(key, shared);
    shared.users++;
    clearTimeout(shared.end);
    const mute = session.listen(listenerOf(options));
    leave = () => {
      mute();
      if (--shared.users === 0) shared.end = setTimeout(() => endOf(key, shared), LINGER);
    };
    session.start();
  };
  const stop = (): void => {
    leave?.();
    leave = null;
  };
  if (options.immediate !== false && typeof window !== "undefined") start();
  if (getCurrentScope()) onScopeDispose(stop);

  const jobs = computed(() => session.state.list());
  return {
    connection: session.connection,
    connected: computed(() => session.connection.value === "live"),
    owner: session.owner,
    waitingCount: computed(() => session.state.waiting[options.queue ?? "default"] ?? 0),
    positions: computed(() => placesOf(jobs.value)),
    jobs,
    progress: shallowReadonly(session.state.progress),
    images: computed(() => jobs.value.flatMap((job) => imagesOf(session, job))),
    imgUrl: session.latest,
    error: session.error,
    me: session.me,
    quota: computed(() => session.me.value?.quota ?? null),
    enqueue: (request) => session.enqueue(request),
    cancel: (jobId) => session.cancel(jobId),
    remove: (jobId) => session.remove(jobId),
    upload: (picture) => session.upload(picture),
    call: (event, data) => session.call(event, data),
    ask: (path, request) => session.act(path, request),
    address: (path) => session.address(path),
    start,
    stop,
  };
}

function endOf(key: string, shared: Shared): void {
  if (shared.users) return;
  shared.session.stop();
  if (sessions.get(key) === shared) sessions.delete(key);
}

function keyOf(url: string, { clientId, token }: UseOptions): string {
  const secret = typeof token === "function" ? `by ${idOf(token)}` : (token ?? clientId ?? "");
  return `${url} ${secret}`;
}

function idOf(thing: object): number {
  if (!ids.has(thing)) ids.set(thing, ++lastId);
  return ids.get(thing) as number;
}

function listenerOf({ onResult, onFailed, onError, onSchedule }: UseOptions): Partial<QueueEvents> {
  return {
    ...(onResult && { result: onResult }),
    ...(onFailed && { failed: onFailed }),
    ...(onError && { error: onError }),
    ...(onSchedule && { schedule: onSchedule }),
  };
}

function placesOf(jobs: QueueJob[]): Record<string, Place> {
  const waiting = jobs.filter((job) => job.position !== null && job.state === "enqueued");
  return Object.fromEntries(waiting.map(({ id, position, ahead, eta_s }) => [id, { position, ahead, eta_s }]));
}

function imagesOf(session: Session, job: QueueJob): QueueImage[] {
  return (job.result?.images ?? []).map((image) => ({
    ...image,
    url: session.address(image.url),
    thumbnail_url: session.address(image.thumbnail_url),
    jobId: job.id,
  }));
}
