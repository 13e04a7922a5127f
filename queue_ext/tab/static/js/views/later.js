// Later: what is going to run, day by day, and the schedules that make it.
import { h, icon, keyed, setAttribute, setText } from "../dom.js";
import { moment, t } from "../texts.js";
import { short, title, until } from "./job.js";

const GATHER = 300; // ms in which several changes are looked at once
const STRIP = 8; // pictures of a schedule's history
const UNDO = 5000; // ms until a schedule is really gone

export class LaterView {
  constructor(api, store, actions, open, openEditor) {
    Object.assign(this, { api, store, actions, open, openEditor });
    this.schedules = [];
    this.strips = new Map(); // by schedule: its last jobs, newest first
    this.gone = new Set(); // deleted, as long as that can be taken back
    this.asked = new Map(); // switched on or off, as long as the server has not answered
    this.changes = 0; // that were answered: what was asked before the last of them is out of date
    this.list = h("ul", { class: "q-schedules" });
    this.none = h("p", { class: "q-card q-empty", hidden: true }, t("later.no_schedules"));
    this.days = h("div", { class: "q-days" });
    this.nothing = h("p", { class: "q-card q-empty" }, t("later.nothing"));
    const add = h("button", { type: "button", class: "q-button", onclick: () => openEditor(null) }, icon("plus"), t("later.new"));
    this.element = h(
      "div",
      { class: "q-panel" },
      h("section", { "aria-label": t("later.schedules") }, h("div", { class: "q-done-head" }, h("h3", {}, t("later.schedules")), add), this.none, this.list),
      h("section", { "aria-label": t("later.next") }, h("h3", {}, t("later.next")), this.nothing, this.days),
    );
    store.on("schedule", () => this.look());
    store.on("job", ({ job }) => job.schedule_id && job.finished_at && this.remember(job));
  }

  shownAgain() {
    this.look();
  }

  /** Ask for the schedules, once for several changes; not while nobody looks, since it is asked when they do again. */
  look() {
    if (this.looking || this.element.closest("[hidden]")) return;
    this.looking = setTimeout(async () => {
      this.looking = null;
      const { changes } = this;
      const found = await this.actions.attempt(this.api.get("schedules"));
      if (!found) return;
      if (changes !== this.changes) return this.look();
      this.schedules = found.schedules;
      this.loaded = true;
      this.render(this.store);
      await Promise.all(this.schedules.filter(({ id }) => !this.strips.has(id)).map(({ id }) => this.askStrip(id)));
      this.render(this.store);
    }, this.loaded ? GATHER : 0);
  }

  async askStrip(id) {
    const found = await this.actions.attempt(this.api.get(`jobs?schedule_id=${id}&state=succeeded,failed&limit=${STRIP}`));
    if (found) this.strips.set(id, found.jobs.filter((job) => job.id));
  }

  /** Pictures are pushed to their owner alone; those of others are asked for. */
  remember(job) {
    if (!job.mine) this.strips.delete(job.schedule_id);
    if (!job.mine) return this.look();
    const strip = this.strips.get(job.schedule_id);
    if (strip && job.state !== "deleted") this.strips.set(job.schedule_id, [job, ...strip.filter((old) => old.id !== job.id)].slice(0, STRIP));
  }

  render(store) {
    const shown = this.schedules.filter(({ id }) => !this.gone.has(id));
    this.none.hidden = shown.length > 0 || !this.loaded;
    keyed(this.list, shown, ({ id }) => id, (schedule) => this.create(schedule), (child, schedule) => this.update(child, schedule));
    const days = agenda(store.later(), shown);
    this.nothing.hidden = days.length > 0;
    keyed(this.days, days, ({ key }) => key, createDay, (child, day) => this.updateDay(child, day));
  }

  tick(store) {
    this.render(store);
  }

  // --- schedules -----------------------------------------------------------------------------------------------

  create({ id }) {
    const parts = {
      on: h("input", { type: "checkbox", class: "q-box", role: "switch", onchange: () => this.switch(id, parts.on.checked) }),
      name: h("p", { class: "q-prompt" }),
      words: h("p", { class: "q-facts q-wrap" }),
      next: h("p", { class: "q-facts q-wrap" }),
      strip: h("ul", { class: "q-strip", "aria-label": t("later.history") }),
    };
    const run = h("button", { type: "button", class: "q-button", onclick: () => this.run(id) }, icon("play"), t("later.run"));
    const edit = h("button", { type: "button", class: "q-button", onclick: () => this.openEditor(child.schedule) }, icon("edit"), t("job.edit"));
    const remove = h("button", { type: "button", class: "q-button", onclick: () => this.remove(child.schedule) }, icon("bin"), t("job.delete"));
    const child = h(
      "li",
      { class: "q-card q-schedule" },
      h("label", { class: "q-what" }, parts.on, h("span", {}, parts.name, parts.words, parts.next)),
      parts.strip,
      h("p", { class: "q-links" }, run, edit, remove),
    );
    return Object.assign(child, { parts, buttons: [run, edit, remove] });
  }

  update(child, schedule) {
    const { parts } = child;
    child.schedule = schedule;
    parts.on.checked = this.asked.get(schedule.id) ?? schedule.enabled;
    setAttribute(parts.on, "aria-label", t("later.on", { name: schedule.name }));
    setText(parts.name, schedule.name);
    setText(parts.words, `${schedule.description} · ${short(schedule.template.payload)}`);
    const next = schedule.next_runs[0];
    const why = schedule.reason || (schedule.enabled ? "" : t("later.off"));
    setText(parts.next, [next && t("later.next_run", { time: until(next) }), t("later.runs", { n: schedule.runs }), why].filter(Boolean).join(" · "));
    for (const button of [...child.buttons, parts.on]) button.disabled = !this.store.connected;
    const jobs = this.strips.get(schedule.id) || [];
    parts.strip.hidden = !jobs.length;
    keyed(parts.strip, jobs, (job) => job.id, (job) => this.createThumb(job), undefined, false);
  }

  createThumb(job) {
    const image = job.result?.images?.[0];
    const inside = image ? h("img", { src: this.api.picture(image.thumbnail_url), alt: "", loading: "lazy" }) : h("span", { class: "q-cross" }, icon("close"));
    const label = `${t(`job.state.${job.state}`)}, ${moment(job.finished_at)}`;
    return h("li", {}, h("button", { type: "button", "aria-label": label, title: label, onclick: () => this.open(job.id) }, inside));
  }

  async run(id) {
    if (await this.actions.attempt(this.api.post(`schedules/${id}/trigger`))) this.actions.toasts.show(t("later.started"));
  }

  /** It stays as one has put it until the server has answered. */
  async switch(id, enabled) {
    this.asked.set(id, enabled);
    const changed = await this.actions.attempt(this.api.patch(`schedules/${id}`, { enabled }));
    this.asked.delete(id);
    this.changes += 1;
    if (changed) this.schedules = this.schedules.map((schedule) => (schedule.id === id ? changed : schedule));
    this.render(this.store);
    this.look();
  }

  /** As with jobs: gone from sight at once, for good when the undo has passed. */
  remove({ id, name }) {
    const drop = () => this.actions.attempt(this.api.send("DELETE", `schedules/${id}`, undefined, { keepalive: true }));
    const timer = setTimeout(drop, UNDO);
    this.gone.add(id);
    this.render(this.store);
    this.actions.offer(t("later.deleted", { name }), async () => {
      clearTimeout(timer);
      this.gone.delete(id);
      this.render(this.store);
    });
  }

  // --- day by day ----------------------------------------------------------------------------------------------

  updateDay(child, { name, entries }) {
    setText(child.name, name);
    const create = ({ job, schedule }) => {
      const time = h("time");
      const what = job
        ? h("button", { type: "button", class: "q-open", onclick: () => this.open(job.id) }, h("span", { class: "q-prompt" }, title(job)))
        : h("span", { class: "q-prompt" }, icon("again"), schedule.name);
      return Object.assign(h("li", {}, time, what), { time });
    };
    keyed(child.list, entries, ({ key }) => key, create, (row, { at }) => setText(row.time, at ? new Date(at).toLocaleTimeString([], { timeStyle: "short" }) : t("later.then")), false);
  }
}

function createDay() {
  const name = h("h4");
  const list = h("ol");
  return Object.assign(h("div", { class: "q-card q-day" }, name, list), { name, list });
}

/** Jobs with a time and the next runs of schedules, by day; what waits for other jobs comes last. */
function agenda(jobs, schedules) {
  const entries = [
    ...jobs.map((job) => ({ key: job.id, at: job.run_at, job })),
    ...schedules.flatMap((schedule) => schedule.next_runs.map((at) => ({ key: `${schedule.id} ${at}`, at, schedule }))),
  ].sort((a, b) => (a.at || "~").localeCompare(b.at || "~"));
  const days = new Map();
  for (const entry of entries) {
    const key = entry.at ? new Date(entry.at).toDateString() : "then";
    if (!days.has(key)) days.set(key, { key, name: entry.at ? day(new Date(entry.at)) : t("later.after_others"), entries: [] });
    days.get(key).entries.push(entry);
  }
  return [...days.values()];
}

function day(when) {
  const away = Math.round((new Date(when).setHours(0, 0, 0, 0) - new Date().setHours(0, 0, 0, 0)) / 86400e3);
  const date = when.toLocaleDateString(document.documentElement.lang || [], { weekday: "long", day: "numeric", month: "long" });
  return away < 2 ? `${t(away === 1 ? "later.tomorrow" : "later.today")}, ${date}` : date;
}
