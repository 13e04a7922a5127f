// The head: how many wait and run, until when, the lanes with pause and resume, whether we are connected, and where
// one's own next job stands.
import { h, icon, iconButton, keyed, setAttribute, setText } from "../dom.js";
import { about, t } from "../texts.js";

const SPEAK_EVERY = 4000; // ms between two announcements of the own place

export class HeadView {
  constructor(actions, tools = []) {
    this.actions = actions;
    this.waiting = counter();
    this.running = counter();
    this.whole = h("span", { class: "q-whole" });
    this.own = h("p", { class: "q-own" });
    this.spoken = h("p", { class: "q-spoken", "aria-live": "polite" });
    this.stateText = h("span");
    this.state = h("p", { class: "q-state", role: "status" }, h("span", { class: "q-dot" }), this.stateText);
    this.why = h("p", { class: "q-why", hidden: true });
    this.lanes = h("ul", { class: "q-lane-chips", "aria-label": t("lane.all") });
    this.element = h(
      "header",
      { class: "q-head" },
      h("div", { class: "q-counts" }, this.waiting.element, this.running.element, this.whole),
      h("div", { class: "q-head-tools" }, ...tools, this.state),
      this.own,
      this.why,
      this.lanes,
      this.spoken,
    );
    this.spokenAt = 0;
  }

  render(store) {
    this.waiting.set(store.waitingInAll(), "head.waiting");
    this.running.set(store.running().length || (hidden(store) ? 1 : 0), "head.running");
    setAttribute(this.state, "data-state", store.connection);
    setText(this.stateText, t(`state.${store.connection}`, { reason: store.reason }));
    const why = { polling: "state.polling_why", lost: "state.lost_hint" }[store.connection];
    this.why.hidden = !why;
    if (why) setText(this.why, t(why));
    const lanes = [...store.lanes.values()];
    keyed(this.lanes, lanes, (lane) => lane.name, (lane) => this.createLane(lane), (child, lane) => updateLane(child, lane, store, lanes.length > 1));
    this.tick(store);
  }

  createLane({ name }) {
    const label = h("span", { class: "q-lane-name" });
    const glyph = h("span");
    const pause = h("button", { type: "button", class: "q-button", onclick: () => this.actions.pause(name, !child.lane.paused) }, glyph, h("span"));
    const clear = iconButton("bin", t("lane.clear_this", { lane: name }), () => this.actions.clear(name));
    const why = h("span", { class: "q-lane-why" });
    const child = h("li", { "data-lane": name }, label, why, pause, clear);
    return Object.assign(child, { label, pause, glyph, clear, why });
  }

  tick(store) {
    const end = store.allDoneAt();
    setText(this.whole, end === null ? "" : t("head.whole", { time: about((end - Date.now()) / 1000) }));
    setText(this.own, sentence(store));
    this.speak(sentence(store, false));
  }

  /** The place is read out when it has changed, and not more often than one can listen to. */
  speak(text) {
    if (text === this.spoken.textContent || Date.now() < this.spokenAt + SPEAK_EVERY) return;
    this.spokenAt = Date.now();
    this.spoken.textContent = text;
  }
}

function updateLane(child, lane, store, several) {
  const changed = child.lane?.paused !== lane.paused;
  child.lane = lane;
  setText(child.label, several ? `${lane.name} · ${store.waiting(lane.name)}` : "");
  setText(child.why, lane.paused ? lane.why || t("line.paused_short") : "");
  child.classList.toggle("q-lane-paused", Boolean(lane.paused));
  if (changed) child.glyph.replaceChildren(icon(lane.paused ? "play" : "pause"));
  setText(child.pause.lastChild, t(lane.paused ? "lane.resume" : "lane.pause"));
  setAttribute(child.pause, "aria-label", t(lane.paused ? "lane.resume_this" : "lane.pause_this", { lane: lane.name }));
  child.pause.hidden = child.clear.hidden = !store.seesAll;
  child.pause.disabled = !store.connected;
  child.clear.disabled = !store.connected || store.waiting(lane.name) === 0;
}

/** Whether somebody's job runs that we may not see: something is ahead of our first that does not wait. */
export function hidden(store) {
  return !store.running().length && store.own().some((job) => job.position === 1 && job.ahead > 0);
}

function sentence(store, withTime = true) {
  const job = store.own()[0];
  if (!job) return store.me ? later(store) : "\u00a0";
  if (job.state === "processing") return t("own.running");
  const left = job.etaAt === null ? null : (job.etaAt - Date.now()) / 1000;
  const timed = withTime && left !== null;
  const values = { place: job.position, n: job.ahead, time: timed ? about(left) : "" };
  const key = job.position === 1 ? "own.next" : "own.place";
  return t(timed ? `${key}_eta` : key, values);
}

/** What is said where nothing of one's own is in line. */
function later(store) {
  const n = store.later().filter((job) => job.mine).length;
  return n ? t("own.later", { n }) : t("own.none");
}

function counter() {
  const number = h("b");
  const label = h("span");
  const element = h("p", { class: "q-count" }, number, " ", label);
  const set = (n, key) => {
    setText(number, n.toLocaleString());
    setText(label, t(key, { n }));
  };
  return { element, set };
}
