// In line: who waits, in the order they will run. Places come from the server; what may not be seen is a gap. Rows are
// dragged by their place, moved by Alt and arrows, chosen with Shift and Ctrl.
import { allowed } from "../actions.js";
import { h, icon, iconButton, keyed, setAttribute, setText } from "../dom.js";
import { makeSortable } from "../drag.js";
import { VirtualList } from "../list.js";
import { chooseByKey, Selection } from "../select.js";
import { t } from "../texts.js";
import { Bar } from "./bar.js";
import { before, facts, short, title, when } from "./job.js";

const WIDE = 520; // px of the list; below it a row has two lines
const LATER = " later"; // key of the jobs that wait for something; no lane has a space in its name

export class LineView {
  constructor(api, actions, store, open, more) {
    Object.assign(this, { api, actions, store, open, more });
    this.selection = new Selection(() => this.render(store));
    this.bar = new Bar(actions, store, this.selection, () => this.jobs(), ["front", "back", "priority", "bookmark", "label", "compare", "cancel"], open);
    this.lanes = h("div", { class: "q-lanes" });
    this.empty = h("p", { class: "q-card q-empty" }, t("line.empty"));
    this.element = h("section", { class: "q-line", "aria-label": t("line.title") }, h("h3", {}, t("line.title")), this.empty, this.lanes, this.bar.element);
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    this.element.addEventListener("keyup", (event) => event.key === " " && event.target.dataset.main && event.preventDefault());
  }

  /** The jobs of all lanes in the order they are shown. */
  jobs() {
    return [...(this.lanes.keyed?.values() || [])].flatMap((lane) => lane.list.items).flatMap((row) => row.job || []);
  }

  render(store) {
    const lanes = lanesOf(store);
    this.empty.hidden = lanes.length > 0;
    keyed(this.lanes, lanes, (lane) => lane.key, (lane) => this.createLane(lane), (child, lane) => updateLane(child, lane));
    this.selection.keep(this.jobs().map((job) => job.id));
    this.bar.render();
  }

  tick(store) {
    for (const lane of this.lanes.keyed?.values() || []) {
      for (const row of lane.list.rows.keyed?.values() || []) if (row.job) setText(row.parts.when, when(store.jobs.get(row.job.id) || row.job, store));
    }
  }

  createLane({ key, name }) {
    const heading = h("h4", { hidden: true });
    const paused = h("p", { class: "q-paused", hidden: true });
    const list = new VirtualList({
      label: name ? t("line.lane", { queue: name }) : t("line.title"),
      create: (row) => (row.job ? this.createRow(row, list) : h("li", { class: "q-others" })),
      update: (element, row, reachable) => this.updateRow(element, row, reachable),
      shape: (width) => ({ height: width < WIDE ? 78 : 58 }),
    });
    if (key !== LATER) {
      list.onEnd = () => this.more(key);
      makeSortable(list, (id) => this.held(id), (ids, index) => this.drop(list, ids, index));
    }
    return Object.assign(h("div", { class: "q-card q-lane" }, heading, paused, list.element), { heading, paused, list });
  }

  createRow({ job }, list) {
    const main = () => element.job;
    const parts = {
      box: h("input", { type: "checkbox", class: "q-box", onclick: (event) => this.choose(event, element.job, list) }),
      place: h("span", { class: "q-place", "data-grip": "", title: t("line.drag") }),
      thumb: h("img", { class: "q-thumb", alt: "", loading: "lazy", hidden: true }),
      title: h("span", { class: "q-prompt" }),
      facts: h("span", { class: "q-facts" }),
      star: h("span", { class: "q-star", hidden: true }, icon("star")),
      before: h("span", { class: "q-before" }),
      when: h("span", { class: "q-when" }),
      front: iconButton("front", t("job.front"), () => this.actions.front([main()])),
      cancel: iconButton("close", t("job.cancel"), () => this.actions.cancel([main()])),
    };
    parts.open = h("button", { type: "button", class: "q-open", "data-main": "", onclick: (event) => this.clicked(event, main(), list) }, parts.title, parts.facts);
    parts.thumb.onerror = () => (parts.thumb.hidden = true);
    const turn = h("p", { class: "q-turn" }, parts.before, parts.when);
    const tools = h("div", { class: "q-tools" }, parts.star, parts.front, parts.cancel);
    const element = h("li", { class: "q-row", "data-job": job.id }, parts.box, parts.place, h("div", { class: "q-what" }, parts.thumb, parts.open), turn, tools);
    return Object.assign(element, { parts });
  }

  updateRow(element, row, reachable) {
    if (!row.job) return setText(element, t(row.more ? "line.more" : "line.others", { n: row.gap }));
    const { job, place = null, ahead = null } = row;
    const { parts } = element;
    const may = allowed(this.store, job);
    const chosen = this.selection.has(job.id);
    element.job = job;
    element.classList.toggle("q-mine", Boolean(job.mine));
    element.classList.toggle("q-chosen", chosen);
    setText(parts.place, place === null ? "" : place.toLocaleString());
    parts.place.classList.toggle("q-grip", may.move && this.store.connected);
    setText(parts.title, title(job));
    setText(parts.facts, facts(job));
    setText(parts.before, before(job, ahead));
    setText(parts.when, when(job, this.store));
    parts.star.hidden = !job.bookmarked;
    parts.box.checked = chosen;
    setAttribute(parts.box, "aria-label", t("line.choose", { prompt: short(job) }));
    parts.front.hidden = !may.move;
    parts.front.disabled = place === 1 || !this.store.connected;
    parts.cancel.disabled = !may.cancel || !this.store.connected;
    parts.cancel.hidden = !job.mine && !this.store.seesAll;
    setAttribute(parts.cancel, "aria-label", t("job.cancel_this", { prompt: short(job) }));
    setAttribute(parts.front, "aria-label", t("job.front_this", { prompt: short(job) }));
    if (job.summary?.inputs && !parts.thumb.src) {
      parts.thumb.src = this.api.address(`jobs/${job.id}/inputs/0/thumbnail`);
      parts.thumb.hidden = false;
    }
    for (const control of [parts.box, parts.open, parts.front, parts.cancel]) control.tabIndex = reachable ? 0 : -1;
  }

  // --- choosing --------------------------------------------------------------------------------------------------

  choose(event, job, list) {
    if (!this.selection.click(event, job.id, idsOf(list))) this.selection.toggle(job.id);
  }

  clicked(event, job, list) {
    if (!this.selection.click(event, job.id, idsOf(list))) this.open(job.id, { ids: this.jobs().map((one) => one.id) });
  }

  /** What an action at a job is meant for: all chosen ones, if it is one of them. */
  meant(job) {
    return this.selection.has(job.id) ? this.jobs().filter((one) => this.selection.has(one.id)) : [job];
  }

  // --- moving ----------------------------------------------------------------------------------------------------

  held(id) {
    const job = this.store.jobs.get(id);
    if (!job || !this.store.connected || !allowed(this.store, job).move) return null;
    const jobs = this.meant(job).filter((one) => allowed(this.store, one).move && one.queue === job.queue);
    return { keys: jobs.map((one) => one.id), text: jobs.length > 1 ? t("line.dragged", { n: jobs.length }) : short(job) };
  }

  /** Put jobs before what stands at `index`; a gap there is stood behind. */
  drop(list, ids, index) {
    const moved = new Set(ids);
    const stays = (row) => row?.job && !moved.has(row.key);
    let to = index;
    while (to < list.items.length && moved.has(list.items[to].key)) to += 1;
    let from = index - 1;
    while (from >= 0 && moved.has(list.items[from].key)) from -= 1;
    if (to - from === ids.length + 1 && ids.length === list.items.slice(from + 1, to).length) return; // they stand there
    const place = stays(list.items[to]) ? { before: list.items[to].key } : stays(list.items[from]) ? { after: list.items[from].key } : null;
    if (place) this.actions.moveAndOffer(ids.map((id) => this.store.jobs.get(id)).filter(Boolean), place);
  }

  /** One place up or down, for all that are chosen. */
  shift(list, job, by) {
    const ids = this.meant(job).filter((one) => one.queue === job.queue && one.state === "enqueued").map((one) => one.id);
    const at = ids.map((id) => list.indexOf(id)).sort((a, b) => a - b);
    const to = by < 0 ? at[0] - 1 : at.at(-1) + 2;
    if (to >= 0 && to <= list.items.length) this.drop(list, ids, to);
  }

  onKey(event) {
    if (event.key === "Escape" && this.selection.size) return this.selection.clear();
    const element = event.target.closest("li.q-row");
    const list = [...(this.lanes.keyed?.values() || [])].find((lane) => lane.contains(element))?.list;
    if (!list || event.target.matches("input:not(.q-box)")) return;
    if (this.keyed(event, element.job, list)) event.preventDefault();
  }

  /** Do what a key means for a row; whether it means anything. */
  keyed(event, job, list) {
    const { key } = event;
    if (event.altKey && (key === "ArrowUp" || key === "ArrowDown") && list.onEnd) return this.shift(list, job, key === "ArrowUp" ? -1 : 1), true;
    if (event.altKey && key === "Home") return this.actions.front(this.meant(job)), true;
    if (event.altKey && key === "End") return this.actions.back(this.meant(job)), true;
    if (chooseByKey(event, job.id, { list, selection: this.selection, ids: () => idsOf(list) })) return true;
    if (event.altKey || event.ctrlKey || event.metaKey) return false;
    if (key === "Delete" || key === "Backspace") return this.actions.cancel(this.meant(job)), true;
    if (key === "e") return this.open(job.id, { edit: true }), true;
    if (key === "b") return this.actions.bookmark(this.meant(job)), true;
    return false;
  }
}

const idsOf = (list) => list.items.map((row) => row.key);

/** The lanes to show: those in which anybody waits, and last what waits for a time. */
function lanesOf(store) {
  const named = [...store.lanes.keys()].filter((name) => store.waiting(name) > 0);
  const lanes = named.map((name) => ({
    key: name,
    name: named.length > 1 || name !== "default" ? name : "",
    paused: store.lanes.get(name)?.paused,
    why: store.lanes.get(name)?.why,
    rows: store.line(name),
  }));
  const later = store.later();
  if (later.length) lanes.push({ key: LATER, name: "", heading: t("line.later"), rows: later.map((job) => ({ key: job.id, job })) });
  return lanes;
}

function updateLane(child, lane) {
  const heading = lane.heading || (lane.name ? t("line.lane", { queue: lane.name }) : "");
  setText(child.heading, heading);
  child.heading.hidden = !heading;
  child.paused.hidden = !lane.paused;
  setText(child.paused, lane.why ? `${t("line.paused")} (${lane.why})` : t("line.paused"));
  child.list.set(lane.rows);
}
