// The queue has run empty: a message on the page, and one of the system's where it may be shown and nobody looks here.
import { t } from "../texts.js";

const ASK_FOR = 15000; // ms the offer to be notified stays

export function sayEmpty(toasts) {
  const may = globalThis.Notification?.permission; // none without https, but on the machine itself
  const action = may === "default" ? { label: t("empty.allow"), run: () => Notification.requestPermission() } : null;
  const { undo } = toasts;
  toasts.show(t("empty.told"), { action, ms: action ? ASK_FOR : undefined });
  toasts.undo = undo; // nothing of this can be undone
  if (may === "granted" && document.hidden) new Notification(t("empty.told"), { tag: "queue-ext-empty" });
}
