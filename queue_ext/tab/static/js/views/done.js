// Done: what has ended, as a gallery or as a table, narrowed down by filters; failures in groups.
import { h, icon, setAttribute, setText } from "../dom.js";
import { VirtualList } from "../list.js";
import { chooseByKey, Selection } from "../select.js";
import { FINISHED } from "../store.js";
import { duration, moment, t } from "../texts.js";
import { Bar } from "./bar.js";
import { facts, owner, short, title } from "./job.js";

const PAGE = 60; // jobs asked for at once
const MOST = 6000; // jobs kept; further back one gets by filters
const TILE = 168; // px a tile wants to be wide
const TYPING = 300; // ms after the last key until a text is looked for
const FAILED_PAGES = 5;
const FAILED_PAGE = 200;
const PERIODS = { day: 1, week: 7, month: 30 }; // days
const LOOK = "queue-ext-look"; // in localStorage

export class DoneView {
  constructor(api, store, actions, open) {
    Object.assign(this, { api, store, actions, open });
    this.jobs = new Map();
    this.cursor = undefined; // undefined: nothing was asked yet; null: that was all
    this.total = 0;
    this.selection = new Selection(() => this.draw());
    this.bar = new Bar(actions, store, this.selection, () => this.shown(), ["requeue", "bookmark", "label", "compare", "remove"], open);
    this.filters = this.buildFilters();
    this.groups = h("ul", { class: "q-groups", "aria-label": t("done.groups"), hidden: true });
    this.count = h("p", { class: "q-facts", role: "status" });
    this.place = h("div");
    this.empty = h("p", { class: "q-card q-empty", hidden: true }, t("done.none"));
    this.element = h("section", { class: "q-done", "aria-label": t("tab.done") }, this.filters, h("div", { class: "q-done-head" }, this.count, this.looks()), this.groups, this.empty, this.place, this.bar.element);
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    this.element.addEventListener("keyup", (event) => event.key === " " && event.target.dataset.main !== undefined && event.preventDefault());
    store.on("job", ({ job }) => this.heard(job));
    store.on("removed", (job) => this.heard(job)); // fits nowhere
    this.setLook(localStorage.getItem(LOOK) === "table" ? "table" : "gallery");
  }

  /** Called when it comes into view, and when the connection was lost meanwhile. */
  shownAgain() {
    if (this.cursor === undefined || this.missed) this.ask();
    this.missed = false;
    this.draw();
  }

  render() {
    if (!this.store.connected) this.missed = true;
    else if (this.missed) this.shownAgain();
    this.draw();
  }

  // --- filters -------------------------------------------------------------------------------------------------

  buildFilters() {
    const select = (key, names) => h("select", { class: "q-select", "aria-label": t(`done.by.${key}`) }, ...names.map((name) => h("option", { value: name }, t(`done.${key}.${name || "all"}`))));
    this.by = {
      q: h("input", { class: "q-input q-search", type: "search", "aria-label": t("done.by.q"), placeholder: t("done.by.q") }),
      state: select("state", ["", ...FINISHED]),
      period: select("period", ["", ...Object.keys(PERIODS)]),
      queue: h("select", { class: "q-select", "aria-label": t("done.by.lane"), hidden: true }),
      checkpoint: h("input", { class: "q-input", list: "q-checkpoints", "aria-label": t("form.checkpoint"), placeholder: t("form.checkpoint") }),
      label: h("input", { class: "q-input", list: "q-labels", "aria-label": t("bar.label"), placeholder: t("bar.label") }),
      bookmarked: h("input", { type: "checkbox", class: "q-box" }),
    };
    const { bookmarked, ...others } = this.by;
    const lists = h("span", { hidden: true }, h("datalist", { id: "q-checkpoints" }), h("datalist", { id: "q-labels" }));
    const form = h("form", { class: "q-filters", role: "search", onsubmit: (event) => event.preventDefault() }, ...Object.values(others), h("label", { class: "q-check" }, bookmarked, t("bar.bookmark")), lists);
    form.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.ask(), TYPING);
    });
    return form;
  }

  /** The filter as it stands, in the words of REST. */
  filter() {
    const { q, state, period, queue, checkpoint, label, bookmarked } = this.by;
    const days = PERIODS[period.value];
    return {
      q: q.value.trim(),
      state: state.value || FINISHED.join(","),
      since: days ? new Date(Date.now() - days * 86400e3).toISOString() : "",
      queue: queue.value,
      checkpoint: checkpoint.value.trim(),
      label: label.value.trim(),
      bookmarked: bookmarked.checked ? "true" : "",
    };
  }

  /** Whether news about a job belong into the list as it is. */
  fits(job) {
    const { q, state, queue, checkpoint, label, bookmarked } = this.filter();
    const text = `${job.prompt} ${job.name || ""}`.toLowerCase();
    return (
      state.split(",").includes(job.state) &&
      (!queue || job.queue === queue) &&
      (!label || job.labels.includes(label)) &&
      (!checkpoint || job.summary?.checkpoint === checkpoint) &&
      (!bookmarked || job.bookmarked) &&
      (!q || text.includes(q.toLowerCase()))
    );
  }

  // --- asking --------------------------------------------------------------------------------------------------

  query(more) {
    const said = Object.entries({ ...this.filter(), ...more }).filter(([, value]) => value !== "" && value !== undefined);
    return `jobs?${new URLSearchParams(said)}`;
  }

  async ask() {
    const asked = (this.asked = {});
    if (await this.askPage(asked)) this.askGroups(asked);
  }

  async more() {
    if (!this.cursor || this.loading || this.jobs.size >= MOST || !this.store.connected) return;
    this.loading = true;
    await this.askPage(this.asked, this.cursor);
    this.loading = false;
  }

  /** Take a page of what was asked for; what is heard meanwhile may be newer than the answer. Whether it is still wanted. */
  async askPage(asked, cursor) {
    const since = this.store.expectSnapshot();
    const found = await this.actions.attempt(this.api.get(this.query({ limit: PAGE, cursor })));
    this.store.giveUp(since);
    if (!found || asked !== this.asked) return false;
    if (!cursor) this.jobs.clear();
    this.take(found);
    for (const job of since.jobs.values()) this.heard(job);
    this.draw();
    return true;
  }

  take({ jobs, next_cursor: next, total }) {
    for (const job of jobs) if (job.id) this.jobs.set(job.id, job);
    this.cursor = next;
    this.total = total;
    this.offer("#q-checkpoints", (job) => [job.summary?.checkpoint]);
    this.offer("#q-labels", (job) => job.labels);
  }

  /** What a field could be filled with, as far as it was seen. */
  offer(id, of) {
    const names = new Set([...this.jobs.values()].flatMap(of).filter(Boolean));
    this.filters.querySelector(id).replaceChildren(...[...names].sort().map((value) => h("option", { value })));
  }

  heard(job) {
    if (this.cursor === undefined) return;
    const known = this.jobs.has(job.id);
    const fits = this.fits(job);
    if (fits) this.jobs.set(job.id, { ...this.jobs.get(job.id), ...job, result: job.result ?? this.jobs.get(job.id)?.result });
    else this.jobs.delete(job.id);
    this.total += fits - known;
    if (job.state === "failed" && fits) this.groupsOld = true;
  }

  // --- failures in groups --------------------------------------------------------------------------------------

  async askGroups(asked) {
    if (!this.filter().state.includes("failed")) return this.showGroups([]);
    const groups = new Map();
    let cursor;
    for (let page = 0; page < FAILED_PAGES && cursor !== null; page++) {
      const found = await this.actions.attempt(this.api.get(this.query({ state: "failed", limit: FAILED_PAGE, cursor })));
      if (!found || asked !== this.asked) return;
      for (const job of found.jobs) if (job.id) put(groups, reasonOf(job), job);
      cursor = found.next_cursor;
    }
    this.showGroups([...groups].filter(([, jobs]) => jobs.length > 1).sort((a, b) => b[1].length - a[1].length));
  }

  showGroups(groups) {
    this.groups.hidden = !groups.length;
    const line = ([reason, jobs]) => {
      const again = async () => {
        await this.actions.requeue(jobs);
        this.ask();
      };
      const label = t("done.again_all", { n: jobs.length });
      return h("li", {}, h("span", { class: "q-reason", title: reason }, reason), h("b", {}, `×${jobs.length}`), h("button", { type: "button", class: "q-button", "aria-label": `${label}: ${reason}`, onclick: again }, icon("again"), label));
    };
    this.groups.replaceChildren(...groups.map(line));
  }

  // --- showing -------------------------------------------------------------------------------------------------

  looks() {
    const button = (look) => h("button", { type: "button", class: "q-button", "data-look": look, onclick: () => this.setLook(look) }, t(`done.${look}`));
    return h("div", { class: "q-switch", role: "group", "aria-label": t("done.look") }, button("gallery"), button("table"));
  }

  setLook(look) {
    localStorage.setItem(LOOK, look);
    this.list?.release();
    const gallery = look === "gallery";
    const columns = (width) => Math.max(2, Math.round(width / TILE));
    this.list = new VirtualList({
      label: t("tab.done"),
      name: gallery ? "q-gallery" : "q-table",
      create: ({ job }) => (gallery ? this.createTile(job) : this.createRow(job)),
      update: (element, { job }, reachable) => this.update(element, job, reachable),
      shape: (width) => (gallery ? { height: Math.floor(width / columns(width)), columns: columns(width) } : { height: width < 520 ? 74 : 58 }),
      own: false,
    });
    this.list.onEnd = () => this.more();
    this.place.replaceChildren(this.list.element);
    this.place.className = gallery ? "" : "q-card";
    for (const button of this.element?.querySelectorAll("[data-look]") || []) setAttribute(button, "aria-pressed", button.dataset.look === look ? "true" : "false");
    this.draw();
  }

  /** The jobs of the list, newest first. */
  shown() {
    return [...this.jobs.values()].filter((job) => !this.actions.removing.has(job.id)).sort((a, b) => (a.id < b.id ? 1 : -1));
  }

  draw() {
    if (!this.element || this.element.closest("[hidden]") || this.cursor === undefined) return;
    const lanes = [...this.store.lanes.keys()];
    if (lanes.length > 1 && this.by.queue.options.length !== lanes.length + 1) this.by.queue.replaceChildren(...["", ...lanes].map((name) => h("option", { value: name }, name || t("done.lane.all"))));
    this.by.queue.hidden = lanes.length < 2;
    const jobs = this.shown();
    this.selection.keep(jobs.map((job) => job.id));
    this.empty.hidden = jobs.length > 0;
    this.place.hidden = !jobs.length;
    setText(this.count, t("done.count", { n: Math.max(this.total, jobs.length) }));
    this.list.set(jobs.map((job) => ({ key: job.id, job })));
    this.bar.render();
    if (this.groupsOld) {
      this.groupsOld = false;
      this.askGroups(this.asked);
    }
  }

  parts(job) {
    const element = { job };
    const main = (...content) => h("button", { type: "button", class: "q-open", "data-main": "", onclick: (event) => this.clicked(event, parts.of.job) }, ...content);
    const picture = h("img", { alt: "", loading: "lazy" });
    picture.onerror = () => {
      picture.onerror = null;
      picture.src = picture.src.split("?")[0]; // a signature ends after a day; without it we are asked who we are
    };
    const parts = { of: element, main, picture, box: h("input", { type: "checkbox", class: "q-box", onclick: (event) => this.choose(event, parts.of.job) }), star: h("span", { class: "q-star" }, icon("star")), count: h("span", { class: "q-badge" }) };
    return parts;
  }

  createTile(job) {
    const parts = this.parts(job);
    parts.text = h("span", { class: "q-tile-text" }, (parts.state = h("b")), (parts.reason = h("span")));
    parts.open = parts.main(parts.picture, parts.text);
    const element = h("li", { class: "q-shot" }, h("div", { class: "q-shot-frame" }, parts.open, parts.box, parts.star, parts.count));
    return Object.assign(element, { parts });
  }

  createRow(job) {
    const parts = this.parts(job);
    parts.title = h("span", { class: "q-prompt" });
    parts.facts = h("span", { class: "q-facts" });
    parts.open = parts.main(parts.title, parts.facts);
    parts.state = h("b");
    parts.ended = h("span");
    parts.frame = h("span", { class: "q-thumb" }, parts.picture);
    const element = h("li", { class: "q-row q-done-row" }, parts.box, parts.frame, h("div", { class: "q-what" }, parts.open), h("p", { class: "q-turn" }, parts.state, parts.ended), h("div", { class: "q-tools" }, parts.star, parts.count));
    return Object.assign(element, { parts });
  }

  update(element, job, reachable) {
    const { parts } = element;
    const images = job.result?.images || [];
    const chosen = this.selection.has(job.id);
    parts.of.job = element.job = job;
    element.classList.toggle("q-chosen", chosen);
    const src = images[0] ? this.api.picture(images[0].thumbnail_url) : null;
    if (src && parts.from !== src) parts.picture.src = parts.from = src;
    parts.picture.hidden = !src;
    parts.star.hidden = !job.bookmarked;
    setText(parts.count, images.length > 1 ? `×${images.length}` : "");
    parts.box.checked = chosen;
    setAttribute(parts.box, "aria-label", t("line.choose", { prompt: short(job) }));
    setText(parts.state, t(`job.state.${job.state}`));
    setAttribute(parts.state, "data-state", job.state);
    if (parts.reason) {
      parts.text.hidden = Boolean(src);
      setText(parts.reason, job.error?.message || title(job));
      setAttribute(parts.open, "aria-label", t("pictures.open", { prompt: short(job) }));
      setAttribute(parts.open, "title", title(job).slice(0, 300));
    } else {
      setText(parts.title, title(job));
      setText(parts.facts, job.error?.message || facts(job));
      setText(parts.ended, ended(job));
    }
    for (const control of [parts.box, parts.open]) control.tabIndex = reachable ? 0 : -1;
  }

  // --- choosing ------------------------------------------------------------------------------------------------

  ids() {
    return this.list.items.map((item) => item.key);
  }

  choose(event, job) {
    if (!this.selection.click(event, job.id, this.ids())) this.selection.toggle(job.id);
  }

  clicked(event, job) {
    if (!this.selection.click(event, job.id, this.ids())) this.open(job.id, { ids: this.ids() });
  }

  onKey(event) {
    if (event.key === "Escape" && this.selection.size) return this.selection.clear();
    const id = event.target.closest("li[data-key]")?.dataset.key;
    if (!id) return;
    const { list, selection } = this;
    const meant = () => (selection.has(id) ? this.shown().filter((job) => selection.has(job.id)) : [this.jobs.get(id)]);
    if (chooseByKey(event, id, { list, selection, ids: () => this.ids() })) event.preventDefault();
    else if (event.ctrlKey || event.metaKey || event.altKey) return;
    else if (event.key === "Delete" || event.key === "Backspace") this.actions.remove(meant());
    else if (event.key === "b") this.actions.bookmark(meant());
  }
}

/** What failures are grouped by: the message without its numbers, which differ each time. */
function reasonOf(job) {
  const { type = "", message = job.reason || "" } = job.error || {};
  const plain = message.replace(/\d+([.,]\d+)?/g, "…").slice(0, 160);
  return type && type !== "RuntimeError" ? `${type}: ${plain}` : plain;
}

function put(groups, key, job) {
  if (!groups.has(key)) groups.set(key, []);
  groups.get(key).push(job);
}

function ended(job) {
  const took = job.started_at && job.finished_at ? duration((new Date(job.finished_at) - new Date(job.started_at)) / 1000) : "";
  const parts = [job.finished_at ? moment(job.finished_at) : "", took, job.mine ? "" : owner(job)];
  return parts.filter(Boolean).join(" · ");
}
