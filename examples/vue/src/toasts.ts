// Short messages at the edge of the page. What is said twice while it stands is said once.
import { reactive } from "vue";

export interface Toast {
  id: number;
  kind: "good" | "bad";
  text: string;
}

const STAYS = { good: 5000, bad: 12000 }; // ms
const MOST = 4;
let last = 0;

export const toasts = reactive<Toast[]>([]);

export function toast(kind: Toast["kind"], text: string): void {
  if (toasts.some((each) => each.text === text)) return;
  const made = { id: ++last, kind, text };
  toasts.push(made);
  if (toasts.length > MOST) toasts.shift();
  setTimeout(() => dismiss(made.id), STAYS[kind]);
}

export function dismiss(id: number): void {
  const place = toasts.findIndex((each) => each.id === id);
  if (place >= 0) toasts.splice(place, 1);
}
