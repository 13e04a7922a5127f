// Numbers: how much was done and when, how long it waited and ran, what failed, and who does the work. The charts are
// tables whose cells are drawn as bars, so they read the same without eyes.
import { h } from "../dom.js";
import { duration, moment, t } from "../texts.js";

const PAUSE = 15000; // ms between two looks, and only after something has ended
const HOUR = 3600e3; // ms
const ENDS = ["succeeded", "failed", "deleted"];

export class NumbersView {
  constructor(api, store, actions) {
    Object.assign(this, { api, store, actions });
    this.body = h("div", { class: "q-panel" });
    this.element = h("section", { "aria-label": t("tab.numbers") }, this.body);
    store.on("job", ({ job }) => job.finished_at && this.later());
  }

  shownAgain() {
    this.look();
  }

  render() {}

  /** Something has ended: look again, now and then, while somebody watches. */
  later() {
    if (this.waiting || this.element.closest("[hidden]")) return;
    this.waiting = setTimeout(() => this.look(), PAUSE);
  }

  async look() {
    clearTimeout(this.waiting);
    this.waiting = null;
    const found = await this.actions.attempt(Promise.all([this.api.get("stats"), this.api.get("workers")]));
    if (found) this.draw(found[0], found[1].workers);
  }

  draw(stats, workers) {
    const done = stats.per_day.reduce((sum, day) => sum + day.succeeded, 0);
    const failed = stats.per_day.reduce((sum, day) => sum + day.failed, 0);
    const number = (key, value, hint) => h("div", { class: "q-card q-number" }, h("b", {}, value), h("span", {}, t(`numbers.${key}`)), h("span", { class: "q-facts" }, hint));
    const spread = ({ median, p95 }) => [median === null ? "–" : short(median), p95 === null ? "" : t("numbers.p95", { time: short(p95) })];
    this.body.replaceChildren(
      h("div", { class: "q-number-row" }, number("done", done.toLocaleString(), t("numbers.month")), number("failed", failed.toLocaleString(), t("numbers.month")), number("wait", ...spread(stats.wait_s)), number("duration", ...spread(stats.duration_s))),
      this.chart("numbers.per_hour", fill(stats.per_hour, 24, HOUR), (at) => at.toLocaleTimeString([], { hour: "numeric" })),
      this.chart("numbers.per_day", fill(stats.per_day, 30, 24 * HOUR), (at) => at.toLocaleDateString([], { day: "numeric", month: "short", timeZone: "UTC" })),
      this.table("numbers.kinds", ["form.checkpoint", "numbers.size", "numbers.count", "numbers.median", "numbers.p95_short"], stats.kinds.map((kind) => [kind.checkpoint || t("numbers.standing"), kind.width ? `${kind.width} × ${kind.height}` : "–", kind.count, short(kind.median), short(kind.p95)])),
      this.table("numbers.failures", ["numbers.reason", "numbers.count"], stats.failures.map((group) => [group.message || group.type, group.count])),
      this.table("numbers.workers", ["numbers.where", "numbers.pipeline", "numbers.lanes", "numbers.heartbeat", "numbers.state"], workers.map(worker)),
    );
  }

  /** Bars over time, as a table with a row for each hour or day. */
  chart(key, buckets, name) {
    const most = Math.max(1, ...buckets.map((bucket) => ENDS.reduce((sum, end) => sum + bucket[end], 0)));
    const column = (bucket) => {
      const parts = ENDS.map((end) => h("td", { style: `--part: ${bucket[end] / most}`, "data-state": end }, h("span", { class: "q-spoken" }, String(bucket[end]))));
      const told = ENDS.filter((end) => bucket[end]).map((end) => `${t(`job.state.${end}`)}: ${bucket[end]}`);
      return h("tr", { title: `${name(bucket.at)} · ${told.join(", ") || 0}` }, h("th", { scope: "row" }, h("span", { class: "q-spoken" }, name(bucket.at))), ...parts);
    };
    const head = h("tr", { class: "q-spoken" }, h("th", { scope: "col" }, t("numbers.from")), ...ENDS.map((end) => h("th", { scope: "col" }, t(`job.state.${end}`))));
    const scale = h("p", { class: "q-scale", "aria-hidden": "true" }, h("span", {}, name(buckets[0].at)), h("span", {}, t("numbers.most", { n: most })), h("span", {}, t("numbers.now")));
    return h("section", {}, h("h3", {}, t(key)), h("div", { class: "q-card q-chart" }, h("table", {}, h("caption", { class: "q-spoken" }, t(key)), h("thead", {}, head), h("tbody", {}, ...buckets.map(column))), scale));
  }

  table(key, heads, rows) {
    const none = h("p", { class: "q-card q-empty" }, t("numbers.none"));
    const shown = h("div", { class: "q-card q-plain" }, h("table", {}, h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", { scope: "col" }, t(head))))), h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((cell) => h("td", {}, String(cell))))))));
    return h("section", { "aria-label": t(key) }, h("h3", {}, t(key)), rows.length ? shown : none);
  }
}

function worker({ host, pid, pipeline, queues, heartbeat_at: heartbeat, alive, busy }) {
  return [`${host} · ${pid}`, pipeline, queues.join(", ") || t("done.lane.all"), moment(heartbeat), t(alive ? (busy ? "numbers.busy" : "numbers.idle") : "numbers.silent")];
}

/** Every bucket until now, also those in which nothing ended. */
function fill(found, count, length) {
  const known = new Map(found.map((bucket) => [Date.parse(bucket.from), bucket]));
  const last = Math.floor(Date.now() / length) * length;
  return Array.from({ length: count }, (_, n) => {
    const at = last - (count - 1 - n) * length;
    return { succeeded: 0, failed: 0, deleted: 0, ...known.get(at), at: new Date(at) };
  });
}

const short = (seconds) => (seconds < 10 ? t("time.s", { s: seconds.toFixed(1) }) : duration(seconds));
