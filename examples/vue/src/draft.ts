// What is being written: kept over a reload, shared by the form and the schedules.
import { reactive, watch } from "vue";

const KEY = "queue-draft";
const empty = { prompt: "", negative: "", size: "512×512", steps: 20, count: 1, strength: 0.6 };
const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<typeof empty>;

export const draft = reactive({
  ...empty,
  ...kept,
  /** As the WebUI's own API takes it. */
  payload(): Record<string, unknown> {
    const [width, height] = this.size.split("×").map(Number);
    return { prompt: this.prompt, negative_prompt: this.negative, width, height, steps: this.steps, n_iter: this.count };
  },
});

watch(
  () => ({ ...draft }),
  ({ payload: _, ...values }) => localStorage.setItem(KEY, JSON.stringify(values)),
);
