// Told when away: how many are left in the page's title and on the host's tab, and, where somebody wants it, a sound
// and a notification when their last job has ended.
import { h, icon, setText } from "./dom.js";
import { FINISHED } from "./store.js";
import { t } from "./texts.js";

const KEPT = "queue-ext-told"; // in localStorage: { sound, notify }
const TONES = [660, 880]; // Hz
const TONE = 0.18; // seconds

export class Away {
  constructor(mount, store, toasts) {
    Object.assign(this, { mount, store, toasts });
    this.wants = JSON.parse(localStorage.getItem(KEPT) || "{}");
    this.ended = { well: 0, failed: 0 };
    this.open = new Set(); // ids of own jobs that have not been heard to end
    this.badge = h("span", { class: "q-tab-count", "aria-hidden": "true" });
    this.element = this.buildMenu();
    store.on("job", (news) => this.heard(news));
    store.on("removed", ({ id }) => this.open.delete(id));
    store.on("anew", () => (this.open = new Set([...store.jobs.values()].filter((job) => job.mine).map((job) => job.id))));
  }

  buildMenu() {
    const choice = (name) => {
      const box = h("input", { type: "checkbox", class: "q-box", onchange: () => this.choose(name, box) });
      box.checked = Boolean(this.wants[name]);
      return h("label", { class: "q-check" }, box, t(`away.${name}`));
    };
    return h("details", { class: "q-menu" }, h("summary", { class: "q-icon", title: t("away.title"), "aria-label": t("away.title") }, icon("bell")), h("div", { class: "q-card q-menu-body" }, h("p", { class: "q-facts" }, t("away.when")), choice("sound"), choice("notify")));
  }

  async choose(name, box) {
    if (name === "notify" && box.checked && (await globalThis.Notification?.requestPermission?.()) !== "granted") {
      box.checked = false;
      this.toasts.show(t("away.refused"), { bad: true });
    }
    if (name === "sound" && box.checked) play();
    this.wants[name] = box.checked;
    localStorage.setItem(KEPT, JSON.stringify(this.wants));
  }

  /** The number of one's own unfinished jobs, where one sees it from elsewhere. */
  render() {
    let n = 0;
    for (const job of this.store.jobs.values()) {
      if (!job.mine) continue;
      this.open.add(job.id);
      n += 1;
    }
    if (n === this.shown) return;
    this.shown = n;
    document.title = (n ? `(${n}) ` : "") + document.title.replace(/^\(\d+\) /, "");
    const button = this.button();
    if (button && !button.contains(this.badge)) button.append(this.badge);
    setText(this.badge, n ? ` ${n}` : "");
  }

  /** The host's tab that leads to us; none where the page is our own. */
  button() {
    const panel = this.mount.closest("#tabs > .tabitem");
    const panels = panel ? [...panel.parentElement.querySelectorAll(":scope > .tabitem")] : [];
    return document.querySelectorAll("#tabs > .tab-nav > button")[panels.indexOf(panel)];
  }

  /** A greeting may have said that a job is gone before its end is heard: what was open is kept here. */
  heard({ job }) {
    if (!job.mine) return;
    if (!FINISHED.includes(job.state)) return void this.open.add(job.id);
    if (!this.open.delete(job.id)) return;
    this.ended[job.state === "failed" ? "failed" : "well"] += job.state !== "deleted";
    const left = [...this.store.jobs.values()].some((one) => one.mine && one.state !== "scheduled");
    const { well, failed } = this.ended;
    if (left || !(well + failed)) return;
    this.ended = { well: 0, failed: 0 };
    if (this.wants.sound) play();
    const text = [well && t("away.done", { n: well }), failed && t("away.failed", { n: failed })].filter(Boolean).join(t("comma"));
    if (this.wants.notify && document.hidden && globalThis.Notification?.permission === "granted") new Notification(t("tab.queue"), { body: text, tag: "queue-ext" });
  }
}

/** Two short tones; browsers allow them after the first click on the page. */
function play() {
  const audio = (play.audio ??= new AudioContext());
  TONES.forEach((frequency, n) => {
    const tone = audio.createOscillator();
    const gain = audio.createGain();
    const at = audio.currentTime + n * TONE;
    tone.frequency.value = frequency;
    gain.gain.setValueAtTime(0.12, at);
    gain.gain.exponentialRampToValueAtTime(0.0001, at + TONE);
    tone.connect(gain).connect(audio.destination);
    tone.start(at);
    tone.stop(at + TONE);
  });
}
