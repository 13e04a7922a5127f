import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { HelloDone, Job, JobPush } from "../src/contract";
import { type News, State } from "../src/state";

const NOW = 1_000_000;
const heard: string[] = [];
let state: State;

beforeEach(() => {
  heard.length = 0;
  state = new State(
    { result: (id) => heard.push(`result ${id}`), failed: ({ job_id: id }) => heard.push(`failed ${id}`) },
    () => NOW,
  );
});
afterEach(() => vi.restoreAllMocks());

function job(id: string, values: Partial<Job> = {}): Job {
  return {
    id, queue: "default", task: "txt2img", name: null, prompt: "x", state: "enqueued", reason: null, priority: 0, labels: [],
    summary: { width: 64, height: 64, steps: 2, images: 1, checkpoint: null, inputs: 0 },
    position: 1, ahead: 0, eta_s: 10, duration_estimate_s: 1, owner: "ann", mine: true, created_at: "", run_at: null,
    started_at: null, finished_at: null, expires_at: null, attempt: 0, max_attempts: 4, after: [], schedule_id: null,
    bookmarked: false, progress: null, result: null, error: null, message: "", ...values,
  } as Job;
}
const told = (seq: number, id: string, values: Partial<Job> = {}): News => ({ event: "job", data: { ...job(id, values), seq } as JobPush });
const result = (seq: number, id: string): News => ({ event: "result", data: { job_id: id, images: [picture(id)], seq } });
const removed = (seq: number, id: string): News => ({ event: "removed", data: { job_id: id, queue: "default", seq } });
const picture = (id: string) => ({ url: `/${id}.png`, thumbnail_url: `/${id}.webp`, width: 1, height: 1, seed: 1, infotext: "" });
const hello = (values: Partial<HelloDone>): HelloDone => ({
  ok: true, owner: "ann", admin: false, cursor: 0, waiting_count: 0, jobs: [], queues: [], ...values,
});
const ids = (): string[] => state.list().map((each) => each.id);

test("news is heard once, in order, however often it comes", () => {
  state.apply(told(2, "a"));
  state.apply(told(4, "a", { state: "succeeded" }));
  state.apply(result(5, "a"));
  state.apply(result(5, "a"));
  state.apply(told(2, "a"));
  expect(heard).toEqual(["result a"]);
  expect(state.jobs.get("a")?.state).toBe("succeeded");
  expect(state.jobs.get("a")?.result?.images).toHaveLength(1);
});

test("what is somebody else's is not shown, but counted as heard", () => {
  state.apply(told(8, "b", { mine: false, owner: "bob" }));
  state.onProgress({ job_id: "b", fraction: 0.5, step: 1, steps: 2, image: 1, images: 1, eta_s: null });
  state.onPositions({ b: { position: 1, ahead: 0, eta_s: 1 } });
  expect(ids()).toEqual([]);
  expect(state.progress.size).toBe(0);
  expect(state.cursor).toBe(8);
});

test("a replay is applied, and the greeting's own jobs are how things stand now", () => {
  state.apply(told(2, "a"));
  const again = state.greet(hello({
    cursor: 9, jobs: [job("b", { position: 1 })],
    replay: [told(6, "a", { state: "succeeded", position: null }), result(7, "a"), told(8, "b", { position: 2 })] as HelloDone["replay"],
  }));
  expect(again).toBe(false);
  expect(heard).toEqual(["result a"]);
  expect(state.jobs.get("b")?.position).toBe(1);
  expect(state.cursor).toBe(9);
});

test("a snapshot begins anew, also where the numbers are lower", async () => {
  state.apply(told(100, "gone"));
  state.apply(told(102, "done"));
  const said = hello({ cursor: 10, snapshot: true, jobs: [job("new")] });
  expect(state.greet(said)).toBe(true);
  expect(state.cursor).toBe(10);
  await state.fill(new Set(["new"]), state.listen(), async () => [job("done", { state: "succeeded", result: { images: [picture("done")] } })]);
  expect(ids()).toEqual(["new", "done"]);
  expect(heard).toEqual(["result done"]); // it ended while nobody listened
});

test("what events say while REST is asked is newer than its answer", async () => {
  state.greet(hello({ cursor: 10, snapshot: true, jobs: [] }));
  await state.fill(new Set(), state.listen(), async () => {
    state.apply(told(12, "a", { state: "processing" }));
    return [job("a", { state: "failed" }), job("b", { state: "failed" })];
  });
  expect(state.jobs.get("a")?.state).toBe("processing");
  expect(ids()).toEqual(["a", "b"]);
});

test("what ended while REST was asked is told once", async () => {
  state.greet(hello({ cursor: 10, snapshot: true, jobs: [job("a", { state: "processing" })] }));
  await state.fill(new Set(["a"]), state.listen(), async () => [job("a", { state: "succeeded" })]);
  state.apply(told(12, "a", { state: "processing" })); // far behind
  state.apply(told(14, "a", { state: "succeeded" }));
  state.apply(result(15, "a"));
  expect(heard).toEqual(["result a"]);
});

test("a job that was accepted or told of while REST was asked is not forgotten", async () => {
  state.greet(hello({ cursor: 10, snapshot: true }));
  const touched = state.listen();
  state.apply(told(12, "early"));
  await state.fill(new Set(), touched, async () => {
    state.accepted(job("new"));
    return [];
  });
  expect(ids().sort()).toEqual(["early", "new"]);
});

test("what is asked after one snapshot does not undo the next one", async () => {
  state.greet(hello({ cursor: 10, snapshot: true, jobs: [job("a")] }));
  const touched = state.listen();
  state.greet(hello({ cursor: 4, snapshot: true, jobs: [job("b")] }));
  await state.fill(new Set(["b"]), state.listen(), async () => []);
  await state.fill(new Set(["a"]), touched, async () => []);
  expect(ids()).toEqual(["b"]);
});

test("a job that was removed is no more, whoever removed it and when", async () => {
  state.greet(hello({ cursor: 10, snapshot: true, jobs: [job("a"), job("b"), job("c")] }));
  state.apply(removed(12, "a"));
  state.greet(hello({ cursor: 20, replay: [removed(14, "b")] as HelloDone["replay"], jobs: [job("c")] }));
  expect(ids()).toEqual(["c"]);
  await state.fill(new Set(), state.listen(), async () => {
    state.apply(removed(22, "c"));
    return [job("c", { state: "succeeded" })];
  });
  expect(ids()).toEqual([]);
});

test("how far a greeting says a job is counts, and late progress of a job that waits does not", () => {
  const at = (step: number) => ({ fraction: step / 10, step, steps: 10, image: 1, images: 1, eta_s: 1 });
  state.greet(hello({ cursor: 10, snapshot: true, jobs: [job("a", { state: "processing", progress: at(1) })] }));
  state.greet(hello({ cursor: 10, replay: [], jobs: [job("a", { state: "processing", progress: at(8) })] }));
  expect(state.progress.get("a")?.step).toBe(8);
  state.apply(told(12, "a", { state: "scheduled" }));
  state.onProgress({ job_id: "a", ...at(9) });
  expect(state.progress.size).toBe(0);
});

test("places move without news, and are counted down to a moment", () => {
  state.apply(told(2, "a", { position: 3, ahead: 3, eta_s: null }));
  expect(state.jobs.get("a")?.startsAt).toBeNull();
  state.onPositions({ a: { position: 2, ahead: 2, eta_s: 5 } });
  expect(state.jobs.get("a")).toMatchObject({ position: 2, ahead: 2, startsAt: NOW + 5000 });
});

test("an answer to our request does not undo what an event told before it", () => {
  state.apply(told(2, "a", { state: "processing" }));
  state.accepted(job("a"));
  expect(state.jobs.get("a")?.state).toBe("processing");
});

test("previews are given back to the browser", () => {
  vi.useFakeTimers();
  const made = vi.spyOn(URL, "createObjectURL");
  const revoked = vi.spyOn(URL, "revokeObjectURL");
  state.apply(told(2, "a", { state: "processing" }));
  for (const step of [1, 2, 3]) {
    state.onProgress({ job_id: "a", fraction: 0.1, step, steps: 3, image: 1, images: 1, eta_s: 1, preview: new ArrayBuffer(8) });
  }
  state.onProgress({ job_id: "a", fraction: 0.9, step: 3, steps: 3, image: 1, images: 1, eta_s: 1 });
  expect(state.progress.get("a")?.preview).toBe(made.mock.results[2]?.value);
  state.apply(told(4, "a", { state: "succeeded" }));
  vi.runAllTimers();
  expect(revoked).toHaveBeenCalledTimes(3);
  expect(state.progress.size).toBe(0);
  vi.useRealTimers();
});

test("running ones come first, then the line, then what waits for a time, then what is done, the latest first", () => {
  state.apply(told(2, "done", { state: "succeeded", finished_at: "2026-01-01" }));
  state.apply(told(4, "later", { state: "scheduled", position: null, run_at: "2027" }));
  state.apply(told(6, "second", { position: 2 }));
  state.apply(told(8, "latest", { state: "failed", finished_at: "2026-01-02" }));
  state.apply(told(10, "first", { position: 1 }));
  state.apply(told(12, "now", { state: "processing", position: 0 }));
  expect(ids()).toEqual(["now", "first", "second", "later", "latest", "done"]);
});
