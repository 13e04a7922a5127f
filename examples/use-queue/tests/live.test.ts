// Against a real server: `QUEUE_URL=http://127.0.0.1:7861 npm test`.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { effectScope, type EffectScope } from "vue";
import { openSessions, type Queue, QueueError, type Token, useQueue, type UseOptions } from "../src";
import { randomId } from "../src/client-id";

const URL_OF_QUEUE = process.env.QUEUE_URL ?? "";
const tiny = { task: "txt2img", payload: { prompt: "a lighthouse", width: 64, height: 64, steps: 4 } };
const scopes: EffectScope[] = [];

/** As a component would: the scope's end is its unmounting. */
function mount(options: UseOptions = {}, url = URL_OF_QUEUE): { queue: Queue; unmount: () => void } {
  const scope = effectScope();
  scopes.push(scope);
  const queue = scope.run(() => useQueue(url, { clientId: me, immediate: false, ...options })) as Queue;
  queue.start();
  return { queue, unmount: () => scope.stop() };
}

const until = (condition: () => unknown): Promise<unknown> => vi.waitUntil(condition, { timeout: 15_000, interval: 10 });

let me = "";
beforeEach(() => {
  me = randomId();
});
afterEach(async () => {
  vi.restoreAllMocks();
  for (const scope of scopes.splice(0)) scope.stop();
  await until(() => openSessions() === 0);
});

describe.skipIf(!URL_OF_QUEUE)("with a server", { timeout: 30_000 }, () => {
  test("a job's way: place, progress, pictures, once", async () => {
    const results: string[] = [];
    const { queue } = mount({ onResult: (job) => results.push(job.id) });
    const steps = new Set<number>();
    await until(() => queue.connected.value);
    const first = await queue.enqueue(tiny);
    const second = await queue.enqueue({ ...tiny, payload: { ...tiny.payload, n_iter: 2 } });
    await until(() => {
      for (const { step } of queue.progress.values()) steps.add(step);
      return results.length === 2;
    });
    expect(results).toEqual([first.id, second.id]);
    expect(queue.images.value.map((image) => image.jobId)).toEqual([second.id, second.id, first.id]);
    expect(queue.imgUrl.value).toHaveLength(2);
    const picture = await fetch(queue.imgUrl.value[0] ?? "");
    expect(picture.headers.get("content-type")).toBe("image/png");
    expect(steps.size).toBeGreaterThan(0);
    expect(queue.positions.value).toEqual({});
    expect(queue.quota.value).toMatchObject({ used: expect.any(Number) });
  });

  test("many users share one connection, and it ends with the last", async () => {
    const all = Array.from({ length: 5 }, () => mount());
    await until(() => all.every(({ queue }) => queue.connected.value));
    expect(openSessions()).toBe(1);
    for (const { unmount } of all.slice(1)) unmount();
    await all[0]?.queue.enqueue(tiny);
    await until(() => all[0]?.queue.images.value.length === 1);
    all[0]?.unmount();
    await until(() => openSessions() === 0);
    expect(all[0]?.queue.connection.value).toBe("idle");
  });

  test("mounted and unmounted fifty times, nothing is left", async () => {
    const said: string[] = [];
    for (let turn = 0; turn < 50; turn++) {
      const { queue, unmount } = mount({ onResult: (job) => said.push(job.id) });
      if (turn % 10 === 0) await until(() => queue.connected.value);
      unmount();
    }
    await until(() => openSessions() === 0);
    const { queue } = mount({ onResult: (job) => said.push(job.id) });
    await until(() => queue.connected.value);
    await queue.enqueue(tiny);
    await until(() => queue.images.value.length === 1 && said.length > 0); // two messages, one behind the other
    expect(said).toHaveLength(1);
  });

  test("nobody sees another's job", async () => {
    const { queue: ann } = mount();
    const { queue: bob } = mount({ clientId: randomId() });
    await until(() => ann.connected.value && bob.connected.value);
    expect(openSessions()).toBe(2);
    await ann.enqueue(tiny);
    await until(() => ann.images.value.length === 1);
    expect(bob.jobs.value).toEqual([]);
    expect(bob.images.value).toEqual([]);
  });

  test("history is there after a reload", async () => {
    const before = mount();
    await until(() => before.queue.connected.value);
    const { id } = await before.queue.enqueue(tiny);
    await until(() => before.queue.images.value.length === 1);
    before.unmount();
    await until(() => openSessions() === 0);
    const { queue } = mount();
    await until(() => queue.images.value.length === 1);
    expect(queue.jobs.value[0]?.id).toBe(id);
  });

  test("what is wrong is named, thrown and told", async () => {
    const told: QueueError[] = [];
    const { queue } = mount({ onError: (error) => told.push(error) });
    const wrong = queue.enqueue({ task: "txt2img", payload: { prompt: "x", width: 5 } });
    await expect(wrong).rejects.toMatchObject({ code: "invalid_request", errors: [{ loc: ["payload", "width"] }] });
    expect(told).toHaveLength(1);
    expect(queue.error.value).toBe(told[0]);
  });

  test("a lost answer makes no second job", async () => {
    const { queue } = mount();
    await until(() => queue.connected.value);
    const real = globalThis.fetch;
    let lost = 0;
    vi.spyOn(globalThis, "fetch").mockImplementation(async (...sent) => {
      const answer = await real(...sent);
      if (String(sent[0]).endsWith("/jobs") && !lost++) throw new TypeError("network lost");
      return answer;
    });
    const job = await queue.enqueue(tiny);
    await until(() => queue.images.value.length === 1);
    expect(lost).toBe(2);
    expect(queue.jobs.value.map(({ id }) => id)).toEqual([job.id]);
  });

  test("a token that is no longer taken is replaced by another", async () => {
    let asked = 0;
    const token = async (): Promise<string> => {
      if (!asked++) return "not.good";
      const answer = await fetch(`${URL_OF_QUEUE}/queue-ext/v1/tokens`, { method: "POST", headers: { "X-Queue-Client": me } });
      return ((await answer.json()) as Token).token;
    };
    const { queue } = mount({ clientId: undefined, token });
    await until(() => queue.connected.value);
    expect(asked).toBe(2);
    await queue.enqueue(tiny);
    await until(() => queue.images.value.length === 1);
  });

  test("a token that could not be fetched is fetched later", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    let asked = 0;
    const token = async (): Promise<string> => {
      if (!asked++) throw new TypeError("failed to fetch");
      const answer = await fetch(`${URL_OF_QUEUE}/queue-ext/v1/tokens`, { method: "POST", headers: { "X-Queue-Client": me } });
      return ((await answer.json()) as Token).token;
    };
    const { queue } = mount({ clientId: undefined, token });
    await until(() => queue.connection.value === "lost");
    await until(() => queue.connected.value);
  });

  test("a token that cannot be replaced is a refusal with its reason", async () => {
    const { queue } = mount({ clientId: undefined, token: "not.good" });
    await until(() => queue.connection.value === "refused");
    expect(queue.error.value?.code).toBe("token_refused");
  });

  test("any event of the contract can be asked by its name", async () => {
    const { queue } = mount();
    await until(() => queue.connected.value);
    expect((await queue.call("waiting_count", { queue: "default" })).count).toBeTypeOf("number");
    await expect(queue.call("cancel", { job_id: "none" })).rejects.toMatchObject({ code: "job_not_found" });
  });

  test("an address where nobody answers is said to be one", async () => {
    const { queue } = mount({}, "http://127.0.0.1:64999");
    await until(() => queue.connection.value === "lost");
    expect(queue.connected.value).toBe(false);
  });

  test("a waiting job is cancelled", async () => {
    const { queue } = mount();
    await until(() => queue.connected.value);
    const { id } = await queue.enqueue({ ...tiny, delay_s: 3600 });
    await queue.cancel(id);
    await until(() => queue.jobs.value[0]?.state === "deleted");
    await queue.remove(id);
    expect(queue.jobs.value).toEqual([]);
  });
});
