// What a job is made of, as a form: the usual fields first, then every other control by its label. And the difference
// between two jobs.
import { h, icon, setText } from "../dom.js";
import { t } from "../texts.js";
import { short } from "./job.js";

const USUAL = {
  prompt: "area",
  negative_prompt: "area",
  checkpoint: "sd-models",
  sampler_name: "samplers",
  scheduler: "schedulers",
  steps: "number",
  width: "number",
  height: "number",
  n_iter: "number",
  batch_size: "number",
  cfg_scale: "number",
  seed: "number",
  denoising_strength: "number",
};
const MISSING = { txt2img: ["prompt", "negative_prompt", "steps", "width", "height", "n_iter", "cfg_scale", "seed", "sampler_name", "checkpoint"] };
MISSING.img2img = [...MISSING.txt2img, "denoising_strength"];
// A captured page also holds these as controls of its own; the fields above win over them.
const MIRRORED = /_(prompt|neg_prompt|width|height|steps|batch_count|batch_size|cfg_scale|seed|denoising_strength|sampling)$/;
const LONG = 5000; // characters; a picture in base64 is nothing to edit by hand
const lists = new Map(); // by path: what a host can be asked for (samplers, checkpoints), once

/** Fields of one payload. `values()` gives the payload as it was changed. */
export class Fields {
  constructor(api, task, payload) {
    this.payload = payload;
    this.task = task;
    this.inputs = [];
    const usual = Object.keys(USUAL).filter((name) => this.read(name) !== undefined || MISSING[task]?.includes(name));
    const grid = h("div", { class: "q-form-grid" }, ...usual.map((name) => this.usual(api, name)));
    const others = Object.entries(payload).filter(([name]) => !(name in USUAL) && name !== "controls");
    const controls = Object.entries(payload.controls || {}).filter(([key]) => !MIRRORED.test(key));
    this.element = h("div", { class: "q-form" }, grid);
    this.more("edit.controls", controls, ["controls"]);
    this.more("edit.others", others, []);
  }

  /** Where a field is kept: the checkpoint of an API request stands among its overrides. */
  path(name) {
    return name === "checkpoint" && !this.task.startsWith("ui:") ? ["override_settings", "sd_model_checkpoint"] : [name];
  }

  read(name) {
    return this.path(name).reduce((value, key) => value?.[key], this.payload);
  }

  usual(api, name) {
    const kind = USUAL[name];
    const label = t(name === "sampler_name" ? "edit.sampler" : `form.${name}`);
    if (kind === "area") return this.add(this.path(name), label, h("textarea", { class: "q-area", rows: name === "prompt" ? 4 : 2 }), this.read(name), "q-all");
    if (kind === "number") return this.add(this.path(name), label, h("input", { class: "q-input", type: "number", step: "any" }), this.read(name));
    const id = `q-${kind}-${++Fields.count}`;
    const options = h("datalist", { id });
    fetchList(api, kind).then((names) => options.append(...names.map((each) => h("option", { value: each }))));
    const field = this.add(this.path(name), label, h("input", { class: "q-input", list: id }), this.read(name));
    field.append(options);
    return field;
  }

  /** Fields behind a fold: whatever is no text, number or switch stands there as JSON. */
  more(heading, entries, within) {
    if (!entries.length) return;
    const fields = entries.map(([name, value]) => {
      const label = calledByHost(name) || name.replace(/^\w+:/, "").replace(/[_/]/g, " ");
      const path = [...within, name];
      if (typeof value === "boolean") return this.add(path, label, h("input", { type: "checkbox", class: "q-box" }), value, "q-check");
      if (typeof value === "number") return this.add(path, label, h("input", { class: "q-input", type: "number", step: "any" }), value);
      if (typeof value === "string") return this.add(path, label, h("input", { class: "q-input" }), value);
      const text = JSON.stringify(value);
      if (text.length > LONG) return h("p", { class: "q-label" }, h("span", {}, label), t("edit.long", { n: text.length }));
      return this.add(path, label, h("textarea", { class: "q-area q-code", rows: 2, spellcheck: false }), text, "q-all", true);
    });
    this.element.append(h("details", {}, h("summary", {}, t(heading, { n: entries.length })), h("div", { class: "q-form-grid" }, ...fields)));
  }

  add(path, label, input, value, look = "", json = false) {
    if (input.type === "checkbox") input.checked = value;
    else input.value = value ?? "";
    const fault = h("span", { class: "q-fault", role: "alert" });
    const field = h("label", { class: `q-label ${look}` }, h("span", {}, label), input, fault);
    this.inputs.push({ path, input, json, fault, before: shown(input) });
    return field;
  }

  changed() {
    return this.inputs.some(({ input, before }) => shown(input) !== before);
  }

  /** The payload with what was typed. Raises a fault of the field that holds no JSON. */
  values() {
    const made = structuredClone(this.payload);
    for (const each of this.inputs) if (shown(each.input) !== each.before) put(made, each.path, this.valueOf(each));
    return made;
  }

  valueOf({ input, json, path }) {
    if (input.type === "checkbox") return input.checked;
    if (json) {
      try {
        return JSON.parse(input.value);
      } catch {
        throw new Fault(path, t("edit.not_json"));
      }
    }
    if (input.value === "") return input.type === "number" || input.list ? null : "";
    return input.type === "number" ? Number(input.value) : input.value;
  }

  /** Say what is wrong beside the fields at fault; what belongs to none is the answer. */
  refuse(errors) {
    const left = [];
    this.inputs.forEach(({ input, fault }) => (input.removeAttribute("aria-invalid"), (fault.textContent = "")));
    let first = null;
    for (const { loc, msg } of errors) {
      const where = loc.filter((part) => part !== "payload" && part !== "template").join("\n");
      const each = this.inputs.find(({ path }) => path.join("\n") === where || path.at(-1) === loc.at(-1));
      if (!each) left.push(`${loc.join(".")}: ${msg}`);
      else {
        each.fault.textContent = msg;
        each.input.setAttribute("aria-invalid", "true");
        const fold = each.input.closest("details");
        if (fold) fold.open = true;
        first ??= each.input;
      }
    }
    first?.focus();
    return left;
  }
}
Fields.count = 0;

/** What a control is called on the page of the host, if we are on one. */
function calledByHost(key) {
  const label = globalThis.gradio_config?.components?.find(({ props }) => props?.elem_id === key)?.props.label;
  return globalThis.getTranslation?.(label) || label;
}

/** Say below a form what its fields do not say (`left`). What is said of a server out of reach goes when it is back. */
export function tell(said, { status, errors, message }, left) {
  setText(said, left.join("\n") || (errors?.length ? t("edit.refused") : message));
  said.classList.toggle("q-unreached", status === 0);
}

/** Take back what is said of a field, and below the form, as soon as somebody corrects it. */
export function forgives(form, said) {
  form.addEventListener("input", ({ target }) => {
    const fault = target.closest(".q-label")?.querySelector(".q-fault");
    if (fault) setText(fault, "");
    target.removeAttribute("aria-invalid");
    setText(said, "");
  });
}

export class Fault extends Error {
  constructor(path, msg) {
    super(msg);
    this.errors = [{ loc: path, msg }];
  }
}

const shown = (input) => (input.type === "checkbox" ? String(input.checked) : input.value);

/** Set a value deep inside; null at the end of a way takes a field away, which leaves it to the host. */
function put(target, path, value) {
  const last = path.at(-1);
  let at = target;
  for (const key of path.slice(0, -1)) at = at[key] ??= {};
  if (value === null) delete at[last];
  else at[last] = value;
}

async function fetchList(api, kind) {
  if (!lists.has(kind)) lists.set(kind, api.get(`../sdapi/v1/${kind}`).then((found) => found.map((each) => each.title || each.label || each.name), () => []));
  return lists.get(kind);
}

/** Changes a waiting job, or makes a copy of any with changes. `done(job)` when it is saved, `done()` when not. */
export class Editor {
  constructor(api, store, job, copy, done) {
    Object.assign(this, { api, store, job, copy, done });
    this.fields = new Fields(api, job.task, job.payload);
    this.priority = h("input", { class: "q-input", type: "number", step: 1, min: -1000, max: 1000, value: job.priority });
    this.lane = h("input", { class: "q-input", value: job.queue, pattern: "[a-z0-9_\\-]{1,32}" });
    this.runAt = h("input", { class: "q-input", type: "datetime-local", step: 1, value: copy ? "" : local(job.run_at) });
    this.before = this.own();
    this.said = h("p", { class: "q-fault", role: "alert" });
    this.save = h("button", { class: "q-button q-primary" }, t(copy ? "edit.clone" : "edit.save"));
    const label = (key, input, look = "") => h("label", { class: `q-label ${look}` }, h("span", {}, t(key)), input);
    const row = h("div", { class: "q-form-grid" }, label("edit.lane", this.lane), label("edit.priority", this.priority), label("edit.run_at", this.runAt, "q-two"));
    const buttons = h("p", { class: "q-links q-foot" }, this.save, h("button", { type: "button", class: "q-button", onclick: () => done() }, t("edit.cancel")));
    this.element = h("form", { onsubmit: (event) => this.submit(event), novalidate: true }, h("h3", {}, t(copy ? "edit.title_clone" : "edit.title")), this.fields.element, row, this.said, buttons);
    forgives(this.element, this.said);
  }

  focus() {
    this.element.querySelector("textarea, input")?.focus();
  }

  own() {
    return JSON.stringify([this.priority.value, this.lane.value, this.runAt.value]);
  }

  changed() {
    return this.fields.changed() || this.own() !== this.before;
  }

  /** Only what is different: somebody may have moved the job meanwhile. */
  request() {
    const made = {};
    const payload = this.fields.changed() ? this.fields.values() : null;
    if (payload) made.payload = this.copy ? onlyChanges(this.job.payload, payload) : payload;
    if (Number(this.priority.value) !== this.job.priority) made.priority = Number(this.priority.value);
    if (this.lane.value !== this.job.queue) made.queue = this.lane.value;
    if (this.runAt.value !== (this.copy ? "" : local(this.job.run_at))) made.run_at = this.runAt.value ? new Date(this.runAt.value).toISOString() : null;
    return made;
  }

  async submit(event) {
    event.preventDefault();
    this.save.disabled = true;
    this.said.textContent = "";
    this.fields.refuse([]);
    try {
      const path = `jobs/${this.job.id}`;
      const made = this.request();
      this.done(await (this.copy ? this.api.post(`${path}/clone`, made) : this.api.patch(path, made)));
    } catch (problem) {
      if (problem.status === 409) return this.becomeCopy();
      tell(this.said, problem, this.fields.refuse(problem.errors || []));
    } finally {
      this.save.disabled = false;
    }
  }

  /** It waits no longer: what was typed can still become a job of its own. */
  becomeCopy() {
    this.copy = true;
    this.element.querySelector("h3").textContent = t("edit.title_clone");
    this.save.textContent = t("edit.clone");
    this.said.textContent = t("edit.started");
  }
}

function onlyChanges(before, after) {
  const names = Object.keys(after).filter((name) => JSON.stringify(after[name]) !== JSON.stringify(before[name]));
  const gone = Object.keys(before).filter((name) => !(name in after) && name === "override_settings");
  return Object.fromEntries([...names.map((name) => [name, after[name]]), ...gone.map((name) => [name, {}])]);
}

/** A time as an input for local times wants it. */
export function local(iso) {
  if (!iso) return "";
  const when = new Date(iso);
  return new Date(when - when.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

// --- difference ------------------------------------------------------------------------------------------------

function flat(value, path = "", found = new Map()) {
  if (value && typeof value === "object" && !Array.isArray(value)) {
    for (const [key, inner] of Object.entries(value)) flat(inner, path ? `${path}.${key}` : key, found);
  } else found.set(path, typeof value === "string" ? value : JSON.stringify(value));
  return found;
}

/** A table of what two jobs (with payloads) differ in. */
export function differences(one, other) {
  const [left, right] = [one, other].map((job) => flat({ task: job.task, ...job.payload }));
  const keys = [...new Set([...left.keys(), ...right.keys()])].filter((key) => left.get(key) !== right.get(key));
  if (!keys.length) return h("p", { class: "q-facts" }, icon("compare"), t("viewer.same"));
  const row = (key) => h("tr", {}, h("th", { scope: "row" }, key.replace(/^controls\./, "")), h("td", {}, left.get(key) ?? "–"), h("td", {}, right.get(key) ?? "–"));
  const head = h("tr", {}, h("td"), h("th", { scope: "col" }, short(one)), h("th", { scope: "col" }, short(other)));
  return h("table", {}, h("thead", {}, head), h("tbody", {}, ...keys.map(row)));
}
