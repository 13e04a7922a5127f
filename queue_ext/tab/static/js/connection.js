// Keeps the store up to date: by Socket.IO, or by asking where its library is missing.
import { BASE } from "./api.js";

const NAMESPACE = "/queue";
const EVENTS = ["job", "removed", "positions", "line", "progress", "result", "failed", "waiting_count", "queue", "schedule", "empty"];
const FIRST_TRY = 3000; // ms; a host that starts does not survive visitors that come too early
const SLOWEST_TRY = 20000; // ms
const JITTER = 0.5; // more or less, so that not all browsers come at once
const POLL = 5000; // ms, without a socket
const HELLO_TIMEOUT = 10000; // ms
const PASSING = "storage_unavailable"; // refuses a greeting, and most likely not the next
const LINE_LIMIT = 100; // rows of a line at a time
const OWN_LIMIT = 1000; // own jobs in a greeting at most
const MISSING_INTERVAL = 1000; // ms between two looks at a line of which we know too little
const DONE_LIMIT = 24;
const OTHERS_INTERVAL = 5000; // ms between two looks at pictures of others, which nobody pushes to us

const jittered = (ms) => ms * (1 - JITTER + 2 * JITTER * Math.random());
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Connection {
  constructor(store, api) {
    this.store = store;
    this.api = api;
    this.early = null; // events that came before the greeting was answered
    this.watched = new Set();
    this.looks = new Map(); // by lane: whether a look at its line is under way
    store.refresh = () => this.refresh();
    store.on("missing", (lane) => this.lookAtLine(lane));
  }

  async start() {
    const library = this.library(); // on its way while we introduce ourselves
    await this.introduce();
    const io = await library;
    if (io) this.connect(io);
    else this.poll();
  }

  /** The first request gives this browser its name, by a cookie: everything else waits for it. */
  async introduce() {
    for (;;) {
      try {
        this.store.me = await this.api.get("me");
        return this.store.changed();
      } catch (problem) {
        this.store.setConnection(problem.status === 401 ? "refused" : "lost", problem.message);
        await sleep(jittered(FIRST_TRY));
      }
    }
  }

  async library() {
    try {
      return (await import(new URL("tab/vendor/socket.io.esm.min.js", BASE).href)).io;
    } catch {
      return null;
    }
  }

  // --- told ----------------------------------------------------------------------------------------------------

  connect(io) {
    const socket = io(BASE.origin + NAMESPACE, {
      path: `${BASE.pathname}socket.io`,
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      reconnectionDelay: FIRST_TRY,
      reconnectionDelayMax: SLOWEST_TRY,
      randomizationFactor: JITTER,
    });
    this.socket = socket;
    for (const event of EVENTS) socket.on(event, (data) => this.take(event, data));
    socket.on("connect", () => this.greet());
    socket.on("disconnect", (reason) => {
      this.lost();
      // The server ended it; the library goes on by itself in every other case.
      if (reason === "io server disconnect") setTimeout(() => socket.active || socket.connect(), jittered(FIRST_TRY));
    });
    socket.on("connect_error", (error) => this.refused(error));
    document.addEventListener("visibilitychange", () => this.showPreviews());
  }

  async greet() {
    const { socket, store } = this;
    this.early = [];
    this.watched.clear();
    const since = store.expectSnapshot();
    let hello;
    try {
      hello = await socket.timeout(HELLO_TIMEOUT).emitWithAck("hello", store.seq === undefined ? {} : { since: store.seq });
    } catch {
      store.giveUp(since);
      return socket.disconnect().connect();
    }
    const { id } = socket;
    if (!hello.ok) {
      store.giveUp(since);
      this.lost(hello.error.detail);
      await sleep(jittered(hello.error.code === PASSING ? FIRST_TRY : SLOWEST_TRY));
      return void (socket.id === id && socket.disconnect().connect());
    }
    this.welcome(hello, since);
    while (!(await this.refresh(hello.snapshot))) {
      await sleep(jittered(POLL));
      if (socket.id !== id) return;
    }
    if (hello.snapshot) store.tell("anew");
  }

  welcome(hello, since) {
    const { store } = this;
    store.me = { ...store.me, owner: hello.owner, admin: hello.admin };
    store.setLanes(hello.queues);
    for (const { event, data } of hello.replay || []) store.apply(event, data);
    store.seq = hello.snapshot ? hello.cursor : Math.max(store.seq ?? 0, hello.cursor);
    // What came behind the cursor is newer than the jobs.
    const early = this.early;
    this.early = null;
    early.forEach(([event, data]) => this.take(event, data));
    const last = hello.jobs[OWN_LIMIT - 1]?.id; // of the oldest, in their order
    store.applySnapshot(since, hello.jobs, (job) => job.mine && !(job.id > last));
    store.setConnection("live");
    hello.queues.forEach((lane) => this.watch(lane.name));
    this.showPreviews();
  }

  take(event, data) {
    if (this.early) return void this.early.push([event, data]);
    this.store.apply(event, data);
    if (event === "queue" && !data.deleted) this.watch(data.name);
    if (event === "job" && data.state === "succeeded" && !data.mine) this.lookAtOthers();
  }

  /** Ask to be told of everybody's jobs in a lane, where they may be seen. */
  watch(lane) {
    if (!this.store.seesAll || this.watched.has(lane)) return;
    this.watched.add(lane);
    this.socket.emit("watch", { queue: lane }, () => {});
  }

  showPreviews() {
    if (this.socket.connected) this.socket.emit("preview", { enabled: !document.hidden }, () => {});
    if (!document.hidden && this.missed) this.lookAtOthers();
  }

  lost(reason = "") {
    this.store.setConnection("lost", reason);
  }

  refused(error) {
    if (this.socket.active) return this.lost();
    this.store.setConnection("refused", error.data?.detail || error.message);
    setTimeout(() => this.socket.connect(), jittered(SLOWEST_TRY));
  }

  /** Pictures are pushed to their owner alone; those of others are looked at after the event, now and then. */
  lookAtOthers() {
    this.missed = document.hidden;
    if (document.hidden || this.looking) return;
    this.looking = true;
    const wait = Math.max(0, (this.lookedAt ?? 0) + OTHERS_INTERVAL - Date.now());
    setTimeout(async () => {
      this.lookedAt = Date.now();
      this.looking = false;
      await this.snapshot(async () => [await this.finished(), () => false]);
    }, wait);
  }

  // --- asking --------------------------------------------------------------------------------------------------

  async poll() {
    this.api.wrote = () => this.refresh(); // no event will tell what came of it
    for (;;) {
      const well = await this.refresh();
      this.store.setConnection(well ? "polling" : "lost");
      await sleep(well ? POLL : jittered(POLL));
    }
  }

  /** Everything the page shows, by REST: once after connecting, every few seconds where there is no socket. */
  async refresh(anew = false) {
    const { api, store } = this;
    return this.snapshot(async () => {
      if (store.connection !== "live") store.setLanes((await api.get("queues")).queues);
      const [running, later, done, ...lines] = await Promise.all([
        api.get("jobs?state=processing&limit=20"),
        api.get("jobs?state=scheduled,awaiting&order=oldest&limit=50"),
        this.finished(),
        ...[...store.lanes].map(([lane, { waiting }]) => (waiting || store.waiting(lane) ? this.page(lane) : { lane, jobs: [], ids: [], next: null })),
      ]);
      const whole = new Set(lines.filter((line) => !line.next).map((line) => line.lane));
      const complete = (job) => {
        if (job.state === "processing") return true;
        if (job.state !== "enqueued") return !later.next_cursor || !job.mine;
        return !job.mine || whole.has(job.queue);
      };
      return [[...running.jobs, ...later.jobs, ...done, ...lines.flatMap((line) => line.jobs)], complete, this.orders(lines), anew];
    });
  }

  /** One page of a lane's line. */
  async page(lane, cursor) {
    const behind = cursor ? `&cursor=${encodeURIComponent(cursor)}` : "";
    const answer = await this.api.get(`jobs?order=line&queue=${lane}&limit=${LINE_LIMIT}${behind}`);
    return { lane, jobs: answer.jobs, ids: answer.jobs.map((job) => job.id), next: answer.next_cursor, append: Boolean(cursor) };
  }

  /** Lines can be kept only by those who see every job in them. */
  orders(lines) {
    return this.store.seesAll ? lines : [];
  }

  /** The rows of a line that come behind those we know. */
  more(lane) {
    const cursor = this.store.orders.get(lane)?.next;
    if (cursor && this.store.connected) return this.look(lane, cursor, 0);
  }

  lookAtLine(lane) {
    return this.look(lane, null, MISSING_INTERVAL);
  }

  async look(lane, cursor, pause) {
    if (this.looks.get(lane)) return;
    this.looks.set(lane, true);
    await this.snapshot(async () => {
      const page = await this.page(lane, cursor);
      return [page.jobs, () => false, this.orders([page])];
    });
    await sleep(pause);
    this.looks.delete(lane);
  }

  async finished() {
    return (await this.api.get(`jobs?state=succeeded,failed,deleted&limit=${DONE_LIMIT}`)).jobs;
  }

  /** Ask for jobs and take them into the store; whether that went well. */
  async snapshot(ask) {
    const since = this.store.expectSnapshot();
    try {
      this.store.applySnapshot(since, ...(await ask()));
      return true;
    } catch {
      this.store.giveUp(since);
      return false;
    }
  }
}
