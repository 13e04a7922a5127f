// One job, whole: its pictures (zoom, compare, download), what they were made of, what happened to it, and everything
// that can be done with it. A native dialog: Escape closes it, the focus stays inside and returns.
import { allowed } from "../actions.js";
import { h, icon, iconButton, keyed, leavesBy, setText } from "../dom.js";
import { WAITING } from "../store.js";
import { duration, moment, t } from "../texts.js";
import { facts, short, title, when } from "./job.js";

const TOLD = 1500; // ms "Copied" stays
const SEND = ["txt2img", "img2img", "inpaint", "extras"];
const OTHERS = 40; // jobs to compare with

export class JobView {
  constructor(api, store, actions, repeat) {
    Object.assign(this, { api, store, actions, repeat });
    this.job = null;
    this.details = null;
    this.ids = [];
    this.index = 0;
    this.stage = this.buildStage();
    this.head = h("div", { class: "q-top" });
    this.body = h("div", { class: "q-sections" });
    this.about = h("div", { class: "q-about" }, this.head, this.body);
    this.element = h("dialog", { class: "q-viewer", tabindex: -1, "aria-label": t("viewer.title") }, this.stage.element, this.about);
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    leavesBy(this.element, () => this.close());
    this.element.addEventListener("close", () => (this.job = this.editing = null));
    store.on("job", ({ job }) => job.id === this.job?.id && this.load());
  }

  /** Show a job; `ids` are the jobs that the arrow keys lead to, `index` the picture to begin with. */
  async open(id, { ids = [id], index = 0, edit = false, against = null } = {}) {
    this.compared = undefined;
    Object.assign(this, { ids, index, editing: null, details: null, job: this.store.job(id) ?? { id, labels: [], history: [] } });
    this.head.replaceChildren();
    if (!this.element.open) this.element.showModal();
    this.show();
    await this.load();
    if (edit && this.details && WAITING.includes(this.job.state)) this.edit(false);
    if (against && this.details) this.showDifference(against);
  }

  /** The form first: no key and no click beside it loses what was typed, or is being saved. */
  async close() {
    if (!this.editing) this.element.close();
    else if (await this.actions.mayLeave(this.editing)) this.edited();
  }

  async load() {
    const { id } = this.job;
    const found = await this.actions.attempt(this.api.get(`jobs/${id}`));
    if (this.job?.id !== id) return;
    if (!found) return this.details || this.close();
    this.details = this.job = found;
    this.show();
  }

  show() {
    if (!this.editing || !this.stage.element.hidden) this.showStage(); // a first picture would move the form from under one's hands
    this.showHead();
    if (!this.editing) this.showBody();
    if (!this.element.contains(document.activeElement)) this.element.focus(); // what had it is gone
  }

  // --- pictures ------------------------------------------------------------------------------------------------

  buildStage() {
    const image = h("img", { alt: "", onclick: () => this.zoom() });
    const under = h("img", { class: "q-under", alt: "", hidden: true });
    const slider = h("input", { type: "range", min: 0, max: 100, value: 50, class: "q-slider", "aria-label": t("viewer.compare_by"), hidden: true, oninput: () => this.split() });
    const frame = h("div", { class: "q-picture" }, under, image);
    const previous = iconButton("left", t("viewer.previous"), () => this.step(-1), { class: "q-icon q-round" });
    const next = iconButton("right", t("viewer.next"), () => this.step(1), { class: "q-icon q-round" });
    const strip = h("ul", { class: "q-strip" });
    const element = h("div", { class: "q-stage" }, frame, previous, next, slider, strip);
    return { element, frame, image, under, slider, previous, next, strip };
  }

  get images() {
    return this.job.result?.images || [];
  }

  showStage() {
    const { element, image, under, slider, previous, next, strip } = this.stage;
    this.index = Math.max(0, Math.min(this.index, this.images.length - 1));
    const found = this.images[this.index];
    element.hidden = !found;
    this.element.classList.toggle("q-alone", !found);
    if (!found) return;
    const address = this.api.picture(found.url);
    image.width = found.width;
    image.height = found.height;
    image.style.backgroundImage = `url("${this.api.picture(found.thumbnail_url)}")`;
    if (image.src !== address) image.src = address;
    image.alt = short(this.job);
    const other = this.compared !== undefined && this.images[this.compared];
    under.hidden = slider.hidden = !other;
    if (other) under.src = this.api.picture(other.url);
    this.split();
    const at = this.ids.indexOf(this.job.id);
    previous.disabled = this.index === 0 && at <= 0;
    next.disabled = this.index === this.images.length - 1 && at >= this.ids.length - 1;
    strip.hidden = this.images.length < 2;
    keyed(strip, strip.hidden ? [] : this.images.map((each, n) => ({ each, n })), ({ each }) => each.url, ({ each, n }) => this.createThumb(each, n), (child, { n }) => child.firstChild.setAttribute("aria-current", n === this.index));
  }

  createThumb(each, n) {
    const picture = h("img", { src: this.api.picture(each.thumbnail_url), alt: "", loading: "lazy" });
    return h("li", {}, h("button", { type: "button", "aria-label": t("viewer.number", { n: n + 1 }), onclick: () => this.pick(n) }, picture));
  }

  pick(n) {
    this.index = n;
    this.show();
  }

  /** The next picture; behind the last one comes the next job. */
  step(by) {
    const to = this.index + by;
    if (this.images[to]) return this.pick(to);
    const id = this.ids[this.ids.indexOf(this.job.id) + by];
    if (id && !this.editing) this.open(id, { ids: this.ids, index: by > 0 ? 0 : Infinity });
  }

  zoom() {
    this.stage.frame.classList.toggle("q-zoomed");
  }

  /** Lay this picture over another one, up to where the slider stands. */
  compare() {
    this.compared = this.compared === undefined ? (this.index ? this.index - 1 : 1) : undefined;
    this.show();
  }

  split() {
    const { image, slider } = this.stage;
    image.style.clipPath = slider.hidden ? "" : `inset(0 0 0 ${slider.value}%)`;
  }

  // --- what it is ----------------------------------------------------------------------------------------------

  showHead() {
    if (this.head.querySelector("form")) return; // somebody types a name
    const { job } = this;
    const name = h("div", { class: "q-what" }, h("p", { class: "q-prompt" }, title(job)), h("p", { class: "q-facts q-wrap" }, job.state ? `${t(`job.state.${job.state}`)} · ${facts(job)}` : ""));
    if (!this.head.children.length) this.head.append(name, iconButton("close", t("viewer.close"), () => this.close()));
    else this.head.firstChild.replaceWith(name);
  }

  showBody() {
    const open = new Set([...this.body.querySelectorAll("details[open]")].map((section) => section.dataset.name));
    const focused = this.body.contains(document.activeElement) ? document.activeElement.dataset.does : null;
    const first = !this.body.children.length || this.shown !== this.job.id;
    const typed = !first && this.body.querySelector('[data-does="label"]')?.value;
    this.shown = this.job.id;
    this.body.replaceChildren(...[this.message(), this.error(), this.links(), this.tools(), this.labels(), ...this.sections((name, otherwise) => (first ? otherwise : open.has(name)))].filter(Boolean));
    if (typed) this.body.querySelector('[data-does="label"]').value = typed;
    if (focused) this.body.querySelector(`[data-does="${focused}"]`)?.focus();
  }

  message() {
    const { job } = this;
    const paused = job.state === "enqueued" && this.store.lanes.get(job.queue)?.paused; // as its message says, with the reason
    const turn = WAITING.includes(job.state) && !paused ? when(job, this.store) : "";
    const told = turn && job.state !== "enqueued"; // the sentence says the same as the turn, with its time as the server writes it
    const mine = job.mine || (WAITING.includes(job.state) && !turn); // else it speaks of one's own job
    const said = mine && !told ? job.message : "";
    const took = job.started_at && job.finished_at ? t("job.took", { time: duration((new Date(job.finished_at) - new Date(job.started_at)) / 1000) }) : "";
    const ended = job.finished_at ? moment(job.finished_at) : "";
    const parts = [said, turn, ended, took, ...(job.result?.info?.captured?.notes || [])].filter(Boolean);
    return job.state && h("p", { class: "q-facts q-wrap" }, parts.join(" · "));
  }

  error() {
    const { error } = this.job;
    return error && h("p", { class: "q-error" }, h("b", {}, error.type), " ", error.message);
  }

  links() {
    const image = this.images[this.index];
    if (!image) return null;
    const address = this.api.picture(image.url);
    const download = h("a", { class: "q-button", href: address, download: `${image.seed ?? this.job.id}.png`, "data-does": "download" }, icon("download"), t("viewer.download"));
    const parts = [download];
    if (this.images.length > 1) {
      parts.push(h("a", { class: "q-button", href: this.api.address(`jobs/${this.job.id}/images.zip`), download: `${this.job.id}.zip`, "data-does": "zip" }, icon("download"), t("viewer.zip", { n: this.images.length })));
      parts.push(this.button("compare", "viewer.compare", () => this.compare(), { "aria-pressed": this.compared !== undefined }));
    }
    const copy = image.infotext && this.button("copy", "viewer.copy", () => this.copy(image.infotext, copy));
    if (copy) parts.push(copy);
    const send = window.queueExt?.sendTo;
    const targets = send ? h("p", { class: "q-links" }, h("span", { class: "q-facts" }, t("viewer.send")), ...SEND.map((target) => this.sendButton(send, target, address, image))) : "";
    return h("div", {}, h("p", { class: "q-links" }, ...parts), targets);
  }

  sendButton(send, target, address, image) {
    const act = () => {
      this.close();
      send(target, address, image.infotext);
    };
    return h("button", { type: "button", class: "q-button", "data-does": `send ${target}`, onclick: act }, target);
  }

  /** What can be done with it as it stands. */
  tools() {
    const { job, actions } = this;
    if (!job.state) return null;
    const may = allowed(this.store, job);
    const parts = [];
    if (may.change && WAITING.includes(job.state)) parts.push(this.button("edit", "job.edit", () => this.edit(false)));
    if (may.cancel) parts.push(this.button("close", "job.cancel", () => actions.cancel([job])));
    if (may.requeue) parts.push(this.button("again", "job.again", () => actions.requeue([job])));
    parts.push(this.button("copy", "job.clone", () => this.edit(true)));
    parts.push(this.button("clock", "job.repeat", () => this.repeat(this.details)));
    if (may.change) parts.push(this.button("star", job.bookmarked ? "job.unbookmark" : "job.bookmark", () => actions.bookmark([job])));
    if (may.change) parts.push(this.button("edit", "job.rename", () => this.rename()));
    if (may.remove) parts.push(this.button("bin", "job.delete", () => (actions.remove([job]), this.close())));
    for (const part of parts) part.disabled = !this.store.connected || !this.details;
    return h("p", { class: "q-links" }, ...parts);
  }

  button(glyph, key, act, more = {}) {
    return h("button", { type: "button", class: "q-button", "data-does": key, onclick: act, ...more }, icon(glyph), h("span", {}, t(key)));
  }

  labels() {
    const { job } = this;
    if (!job.state || !allowed(this.store, job).change) return null;
    const input = h("input", { class: "q-input", maxlength: 64, "aria-label": t("bar.label"), placeholder: t("bar.label"), "data-does": "label" });
    const add = (event) => {
      event.preventDefault();
      if (input.value.trim()) this.actions.label([job], input.value.trim());
      input.value = "";
    };
    const chips = job.labels.map((label) => h("span", { class: "q-chip" }, label, iconButton("close", t("job.unlabel", { label }), () => this.actions.unlabel(job, label))));
    return h("form", { class: "q-links", onsubmit: add }, ...chips, h("span", { class: "q-field" }, input, h("button", { class: "q-button", "aria-label": t("bar.label_set"), title: t("bar.label_set") }, icon("label"))));
  }

  async rename() {
    const input = h("input", { class: "q-input q-wide", maxlength: 200, value: this.job.name || "", "aria-label": t("job.name") });
    const save = async (event) => {
      event.preventDefault();
      if (await this.actions.change(this.job, { name: input.value.trim() || null })) (form.remove(), this.load());
    };
    const form = h("form", { class: "q-links", onsubmit: save }, input, h("button", { class: "q-button" }, t("edit.save")));
    form.addEventListener("keydown", (event) => event.key === "Escape" && (event.preventDefault(), event.stopPropagation(), form.remove(), this.showHead()));
    this.head.firstChild.replaceChildren(form);
    input.select();
  }

  sections(isOpen) {
    const image = this.images[this.index];
    const found = [];
    const add = (name, ...content) => found.push(h("details", { "data-name": name, open: isOpen(name, name === "infotext") }, h("summary", {}, t(`viewer.${name}`)), ...content));
    if (image?.infotext) add("infotext", h("pre", { class: "q-infotext", tabindex: 0 }, image.infotext));
    if (!this.details) return found;
    add("history", this.history());
    add("payload", h("pre", { tabindex: 0 }, JSON.stringify(this.details.payload, null, 2)));
    add("difference", this.difference());
    return found;
  }

  history() {
    const line = ({ state, reason, at, data }) => {
      const attempt = state === "processing" && data?.attempt ? ` · ${t("job.attempt", { n: data.attempt })}` : "";
      return h("li", { "data-state": state }, h("b", {}, t(`job.state.${state}`) + attempt), h("span", { class: "q-facts q-wrap" }, [moment(at), reason].filter(Boolean).join(" · ")));
    };
    return h("ol", { class: "q-history" }, ...this.details.history.map(line));
  }

  /** Beside another job: what is not the same. */
  difference() {
    const others = [...this.store.finished(), ...this.store.jobs.values()].filter((job) => job.id !== this.job.id).slice(0, OTHERS);
    const table = h("div", { class: "q-difference" });
    const choose = h("select", { class: "q-select q-wide", "aria-label": t("viewer.against") }, h("option", { value: "" }, t("viewer.against")), ...others.map((job) => h("option", { value: job.id }, short(job))));
    choose.onchange = () => this.against(choose.value, table);
    return h("div", {}, choose, table);
  }

  /** Open the section with another job in it. */
  showDifference(id) {
    const section = this.body.querySelector('details[data-name="difference"]');
    section.open = true;
    section.scrollIntoView({ block: "nearest" });
    this.against(id, section.querySelector(".q-difference"));
  }

  async against(id, table) {
    const other = id && (await this.actions.attempt(this.api.get(`jobs/${id}`)));
    if (!other) return table.replaceChildren();
    const { differences } = await import("./edit.js");
    table.replaceChildren(differences(this.details, other));
  }

  // --- editing -------------------------------------------------------------------------------------------------

  /** The form in place of what it is about; what is typed stays until it is saved or given up. */
  async edit(copy) {
    const { Editor } = await import("./edit.js");
    this.editing = new Editor(this.api, this.store, this.details, copy, (saved) => (saved ? this.edited(saved) : this.close()));
    this.body.replaceChildren(this.editing.element);
    this.editing.focus();
  }

  edited(saved) {
    if (saved) this.actions.toasts.show(t(this.editing?.copy ? "edit.cloned" : "edit.saved"));
    this.editing = null;
    return saved ? this.open(saved.id) : this.show();
  }

  // --- keys ----------------------------------------------------------------------------------------------------

  onKey(event) {
    if (event.target.closest("input, textarea, select, pre") || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1), z: () => this.zoom(), e: () => !this.editing && this.details && WAITING.includes(this.job.state) && this.edit(false) }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  async copy(text, button) {
    const label = button.lastChild;
    try {
      await navigator.clipboard.writeText(text);
      setText(label, t("viewer.copied"));
      setTimeout(() => setText(label, t("viewer.copy")), TOLD);
    } catch {
      const pre = this.body.querySelector(".q-infotext"); // no clipboard on plain http: ready for Ctrl+C
      pre.closest("details").open = true;
      getSelection().selectAllChildren(pre);
    }
  }
}
