// One connection to one queue as one person, shared by everybody on the page who uses it.
import { io, type Socket } from "socket.io-client";
import { ref, shallowRef } from "vue";
import { clientId, randomId } from "./client-id";
import type {
  ClientToServerEvents,
  FailedPush,
  HelloDone,
  Job,
  JobList,
  JobRequest,
  Me,
  Refused,
  SchedulePush,
  ServerToClientEvents,
  Upload,
} from "./contract";
import { asQueueError, QueueError } from "./errors";
import { Rest, type Request } from "./rest";
import { type QueueJob, State } from "./state";

export type Connection = "idle" | "connecting" | "live" | "lost" | "refused";

export interface QueueOptions {
  /** A secret of 16 to 128 characters; without one, this browser's own, kept in localStorage. */
  clientId?: string;
  /**
   * A token of `POST /queue-ext/v1/tokens`, or what gets one; asked again when it has expired, and a while later when it
   * fails. One that throws a QueueError (the person has to log in) is not asked again.
   */
  token?: string | (() => string | Promise<string>);
  /** Whether progress comes with the forming picture. Default true. */
  preview?: boolean;
  /** Finished jobs that are loaded at the start, at most 200. Default 50. */
  history?: number;
  /** The language of the server's sentences; else the browser's. */
  language?: () => string | undefined;
  /** Seconds a request goes on trying while nobody answers. Default 60. */
  patience?: number;
}

/** What a listener may hear of. */
export interface QueueEvents {
  result: (job: QueueJob) => void;
  failed: (data: FailedPush, job: QueueJob | undefined) => void;
  error: (error: QueueError) => void;
  schedule: (data: SchedulePush) => void;
}

type Asks = ClientToServerEvents;
type Argument<E extends keyof Asks> = Parameters<Asks[E]>[0];
type Answer<E extends keyof Asks> = Exclude<Parameters<Parameters<Asks[E]>[1]>[0], Refused>;

const FIRST_TRY = 3000; // ms: a WebUI that starts does not survive visitors that come too early
const SLOWEST_TRY = 20000; // ms
const JITTER = 0.5; // so that not all browsers come at once
const ANSWER = 10000; // ms an event may take to be acknowledged
const CHECK = 5000; // ms a connection may take to show that it lives after the lid was opened
const PAUSE = 2000; // ms between two tries of a request
const HISTORY = 50;
const PASSING = "storage_unavailable"; // what a greeting is refused for now, and most likely not the next time
const GREETED = 1000; // unfinished jobs a greeting holds at most

export class Session {
  readonly connection = ref<Connection>("idle");
  readonly owner = ref<string | null>(null);
  readonly me = shallowRef<Me | null>(null);
  readonly error = shallowRef<QueueError | null>(null);
  readonly latest = shallowRef<string[]>([]);
  readonly state = new State({ result: (id) => this.onResult(id), failed: (data) => this.onFailed(data) });
  private readonly listeners = new Set<Partial<QueueEvents>>();
  private readonly rest: Rest;
  private readonly origin: string;
  private readonly path: string;
  private socket: Socket<ServerToClientEvents, ClientToServerEvents> | null = null;
  private early: (() => void)[] | null = null; // what was told before the greeting was answered, and is newer
  private token: string | Promise<string> | null = null;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private greeted = 0; // grows with every connection, so that a late answer of an earlier one is dropped
  private ended = new AbortController();

  constructor(
    url: string,
    private readonly options: QueueOptions,
  ) {
    const place = new URL(url || "/", globalThis.location?.href);
    this.origin = place.origin;
    this.path = place.pathname.replace(/\/+$/, "") + "/queue-ext";
    this.rest = new Rest(this.origin + this.path, { headers: () => this.headers(), renew: () => this.renew() }, () => {
      return this.options.language?.();
    });
  }

  listen(listener: Partial<QueueEvents>): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** A path the server told, such as a picture's, as an address that works from any page. */
  address(path: string): string {
    return new URL(path, this.origin).href;
  }

  // --- identity ------------------------------------------------------------------------------------------------------

  private async credentials(): Promise<{ token: string } | { client_id: string }> {
    const { token } = this.options;
    if (token === undefined) return { client_id: this.options.clientId ?? clientId() };
    this.token ??= typeof token === "string" ? token : token();
    try {
      return { token: await this.token };
    } catch (error) {
      this.token = null;
      throw error;
    }
  }

  private async headers(): Promise<Record<string, string>> {
    const who = await this.credentials();
    return "token" in who ? { Authorization: `Bearer ${who.token}` } : { "X-Queue-Client": who.client_id };
  }

  private renew(): boolean {
    this.token = null;
    return typeof this.options.token === "function";
  }

  // --- life ----------------------------------------------------------------------------------------------------------

  start(): void {
    if (this.socket) return;
    this.ended = new AbortController();
    this.connection.value = "connecting";
    const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io(`${this.origin}/queue`, {
      path: `${this.path}/socket.io`,
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      autoConnect: false,
      forceNew: true,
      reconnectionDelay: FIRST_TRY,
      reconnectionDelayMax: SLOWEST_TRY,
      randomizationFactor: JITTER,
      auth: (give) => void this.credentials().then(
        (who) => give({ ...who, ...(this.state.cursor === undefined ? {} : { since: this.state.cursor }) }),
        (error) => this.onNoToken(asQueueError(error)),
      ),
    });
    this.socket = socket;
    // Every handler is there before the first message can be.
    socket.on("connect", () => void this.greet());
    socket.on("disconnect", (reason) => this.onDisconnect(reason));
    socket.on("connect_error", (error) => this.onConnectError(error as ConnectError));
    const { state } = this;
    socket.on("job", (data) => this.take(() => state.apply({ event: "job", data })));
    socket.on("result", (data) => this.take(() => state.apply({ event: "result", data })));
    socket.on("failed", (data) => this.take(() => state.apply({ event: "failed", data })));
    socket.on("removed", (data) => this.take(() => state.apply({ event: "removed", data })));
    socket.on("positions", (places) => this.take(() => state.onPositions(places)));
    socket.on("progress", (data) => this.take(() => state.onProgress(data)));
    socket.on("waiting_count", (data) => this.take(() => state.onWaitingCount(data)));
    socket.on("queue", (lane) => this.take(() => {
      if ("waiting_count" in lane) state.onWaitingCount({ queue: lane.name, count: lane.waiting_count });
    }));
    socket.on("schedule", (data) => this.tell("schedule", data));
    globalThis.addEventListener?.("online", this.onOnline);
    globalThis.document?.addEventListener("visibilitychange", this.onVisible);
    socket.connect();
  }

  stop(): void {
    if (!this.socket) return;
    globalThis.removeEventListener?.("online", this.onOnline);
    globalThis.document?.removeEventListener("visibilitychange", this.onVisible);
    clearTimeout(this.retry);
    this.greeted++;
    this.ended.abort();
    this.socket.off();
    this.socket.disconnect();
    this.socket = null;
    this.early = null;
    this.state.clear();
    this.connection.value = "idle";
  }

  private readonly onOnline = (): void => this.again();

  private readonly onVisible = (): void => {
    if (document.visibilityState !== "visible" || !this.socket) return;
    if (!this.socket.connected) return this.again();
    // A lid was closed: the socket may be dead and not know it.
    void this.socket.timeout(CHECK).emitWithAck("waiting_count", {}).catch(() => this.again());
  };

  /** Connect now instead of after the pause. */
  private again(): void {
    if (!this.socket || this.connection.value === "refused") return;
    clearTimeout(this.retry);
    this.socket.disconnect();
    this.socket.connect();
  }

  private later(ms: number): void {
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.socket?.connect(), ms);
  }

  private onDisconnect(reason: string): void {
    this.greeted++;
    this.early = null;
    this.connection.value = "lost";
    // The server ended it: it stops, or the token did. The library goes on by itself in every other case.
    if (reason === "io server disconnect") {
      this.renew();
      this.later(firstTry());
    }
  }

  /** The page could not get a token: because nobody answered, or (a QueueError) because there will be none. */
  private onNoToken(problem: QueueError): void {
    if (!problem.isUnreachable) return this.refuse(problem);
    this.wait();
  }

  private onConnectError(error: ConnectError): void {
    const refusal = error.data ?? readRefusal(error.context?.responseText);
    if (!refusal?.code) {
      this.connection.value = "lost"; // or never had: the library goes on trying
      return;
    }
    const problem = new QueueError(refusal.code, refusal.detail ?? error.message, refusal.status);
    if (problem.isUnreachable) return this.wait();
    if (problem.code === "token_refused" && this.renew()) return this.later(0);
    this.refuse(problem);
  }

  /** Nobody could answer just now. */
  private wait(): void {
    this.socket?.disconnect();
    this.connection.value = "lost";
    this.later(firstTry());
  }

  /** Trying again would not help: say why, and wait for somebody to call start. */
  private refuse(problem: QueueError): void {
    this.fail(problem);
    this.stop();
    this.connection.value = "refused";
  }

  // --- greeting ------------------------------------------------------------------------------------------------------

  private async greet(): Promise<void> {
    const turn = ++this.greeted;
    const socket = this.socket;
    if (!socket) return;
    this.early = [];
    try {
      if (this.options.preview !== false) socket.emit("preview", { enabled: true }, () => {});
      const since = this.state.cursor;
      const said = await socket.timeout(ANSWER).emitWithAck("hello", since === undefined ? {} : { since });
      if (turn !== this.greeted) return;
      if (!said.ok) {
        if (said.error.code === PASSING) return this.wait();
        throw new QueueError(said.error.code, said.error.detail, 0, said.error.errors);
      }
      this.welcome(said);
    } catch (error) {
      if (turn !== this.greeted) return;
      if (error instanceof QueueError) return this.refuse(error);
      this.again();
    }
  }

  private welcome(said: HelloDone): void {
    this.owner.value = said.owner;
    const snapshot = this.state.greet(said);
    const touched = this.state.listen();
    const early = this.early ?? [];
    this.early = null;
    for (const apply of early) apply();
    this.connection.value = "live";
    this.error.value = null;
    void this.refreshMe();
    if (snapshot) void this.load(said, touched);
    else this.state.giveUp(touched);
  }

  /** What had finished before this page, or while the log did not reach back far enough. */
  private async load(said: HelloDone, touched: Set<string>): Promise<void> {
    const open = new Set(said.jobs.map((job) => job.id));
    const last = said.jobs[GREETED - 1]?.id; // so many are told at most, the oldest in their order
    if (last) for (const id of this.state.jobs.keys()) if (id > last) open.add(id);
    const limit = Math.min(200, this.options.history ?? HISTORY);
    const query = `jobs?owner=${encodeURIComponent(said.owner)}&state=succeeded,failed,deleted&limit=${limit}`;
    const ask = async () => (await this.ask<JobList>(query)).jobs.filter((job) => job.id !== null) as Job[];
    try {
      await this.state.fill(open, touched, limit ? ask : async () => []);
    } catch (error) {
      this.fail(asQueueError(error));
    }
  }

  /** What is told goes in at once, or behind the greeting that is still to be answered. */
  private take(apply: () => void): void {
    if (this.early) this.early.push(apply);
    else apply();
  }

  private onResult(id: string): void {
    const job = this.state.jobs.get(id);
    if (!job) return;
    this.latest.value = (job.result?.images ?? []).map((image) => this.address(image.url));
    this.tell("result", job);
  }

  private onFailed(data: FailedPush): void {
    this.tell("failed", data, this.state.jobs.get(data.job_id));
  }

  private tell<E extends keyof QueueEvents>(event: E, ...said: Parameters<QueueEvents[E]>): void {
    for (const listener of [...this.listeners]) (listener[event] as ((...said: unknown[]) => void) | undefined)?.(...said);
  }

  private fail(error: QueueError): void {
    this.error.value = error;
    this.tell("error", error);
  }

  // --- asking --------------------------------------------------------------------------------------------------------

  /** An answer of REST, tried again while nobody answers. Throws QueueError, which `error` and the listeners hear too. */
  async ask<T>(path: string, request: Request = {}): Promise<T> {
    const end = Date.now() + (this.options.patience ?? 60) * 1000;
    const { signal } = this.ended;
    for (;;) {
      try {
        return await this.rest.ask<T>(path, { ...request, signal });
      } catch (thrown) {
        const error = asQueueError(thrown);
        if (!error.isUnreachable || signal.aborted || Date.now() + PAUSE > end) throw error;
        await pause(PAUSE, signal);
      }
    }
  }

  /** As `ask`, for what a person did: a failure is told. */
  async act<T>(path: string, request: Request = {}): Promise<T> {
    try {
      return await this.ask<T>(path, request);
    } catch (error) {
      this.fail(asQueueError(error));
      throw error;
    }
  }

  /** Submit a job. Sent again under the same key while nobody answers, it is one job however often it arrives. */
  async enqueue(request: JobRequest): Promise<QueueJob> {
    const headers = { "Idempotency-Key": request.idempotency_key ?? randomId() };
    try {
      const job = await this.act<Job>("jobs", { method: "POST", body: request, headers });
      this.state.accepted(job);
      return this.state.jobs.get(job.id) ?? { ...job, startsAt: null };
    } finally {
      void this.refreshMe();
    }
  }

  async cancel(jobId: string): Promise<void> {
    await this.act("jobs/actions", { method: "POST", body: { action: "cancel", ids: [jobId] } });
  }

  /** Forget a finished job, with its pictures. */
  async remove(jobId: string): Promise<void> {
    await this.act("jobs/actions", { method: "POST", body: { action: "delete", ids: [jobId] } });
    this.state.forget(jobId);
  }

  /** Keep a picture; its id may stand in a payload. */
  upload(picture: Blob): Promise<Upload> {
    return this.act<Upload>("uploads", { method: "POST", body: picture });
  }

  /** Ask over the socket. Throws QueueError. */
  async call<E extends keyof Asks>(event: E, data: Argument<E>): Promise<Answer<E>> {
    if (!this.socket?.connected) throw new QueueError("unreachable", "not connected");
    const asking = this.socket.timeout(ANSWER) as unknown as { emitWithAck(event: E, data: unknown): Promise<unknown> };
    const said = await asking.emitWithAck(event, data).then(
      (answer) => answer as Answer<E> | Refused,
      (error) => Promise.reject(asQueueError(error)),
    );
    if (!said.ok) throw new QueueError(said.error.code, said.error.detail, 0, said.error.errors);
    return said as Answer<E>;
  }

  async refreshMe(): Promise<void> {
    try {
      this.me.value = await this.rest.ask<Me>("me");
    } catch {
      // It is asked for again with the next greeting or request.
    }
  }
}

const firstTry = (): number => FIRST_TRY * (1 - JITTER + 2 * JITTER * Math.random());

interface ConnectError extends Error {
  data?: { code?: string; detail?: string; status?: number };
  context?: { responseText?: string };
}

function readRefusal(text: string | undefined): ConnectError["data"] {
  try {
    return text ? JSON.parse(text) : undefined;
  } catch {
    return undefined;
  }
}

/** Resolves after some time, or at once when the network comes back or the session ends. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      globalThis.removeEventListener?.("online", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    globalThis.addEventListener?.("online", done);
    signal.addEventListener("abort", done);
  });
}
