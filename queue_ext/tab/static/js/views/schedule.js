// The editor of a schedule: while one types the expression, the server says it in words and when it comes next.
import { h, iconButton, leavesBy, setText } from "../dom.js";
import { elsewhere, moment, t } from "../texts.js";
import { Fields, forgives, local, tell } from "./edit.js";

const TYPING = 250; // ms after the last key until the expression is explained
const PRESETS = ["0 * * * *", "0 9 * * *", "0 9 * * 1-5", "30 22 * * 0", "0 0 1 * *"];
const FRESH = { task: "txt2img", payload: { prompt: "", negative_prompt: "", width: 512, height: 512, steps: 20, n_iter: 1, seed: -1 } };
const CHOICES = { misfire: ["once", "all", "skip"], overlap: ["allow", "skip", "queue"], seed: ["fixed", "random", "counting"] };

export class ScheduleEditor {
  constructor(api, actions, saved) {
    Object.assign(this, { api, actions, saved });
    this.element = h("dialog", { class: "q-dialog q-wide-dialog", "aria-label": t("schedule.title") });
    leavesBy(this.element, () => this.leave());
  }

  /** Edit a schedule; null makes a new one, a job's request may be its template. */
  open(schedule, template = schedule?.template ?? FRESH, name = schedule?.name ?? "") {
    this.schedule = schedule;
    this.template = template;
    const text = (value, more = {}) => h("input", { class: "q-input", value: value ?? "", ...more });
    const now = schedule || { cron: "0 9 * * *", timezone: Intl.DateTimeFormat().resolvedOptions().timeZone, misfire: "once", overlap: "allow", seed: template.payload.seed >= 0 ? "counting" : "random", jitter_s: 0 };
    this.inputs = {
      name: text(name, { maxlength: 120, required: true }),
      cron: text(now.cron, { required: true, spellcheck: false, class: "q-input q-mono" }),
      timezone: text(now.timezone, { list: "q-zones" }),
      ...Object.fromEntries(Object.entries(CHOICES).map(([key, names]) => [key, select(key, names, now[key])])),
      jitter_s: text(now.jitter_s, { type: "number", min: 0, max: 86400, step: "any" }),
      end_at: text(local(now.end_at), { type: "datetime-local", step: 1 }),
      max_runs: text(now.max_runs, { type: "number", min: 1, step: 1 }),
    };
    this.lane = text(template.queue || "default", { pattern: "[a-z0-9_\\-]{1,32}" });
    this.fields = new Fields(this.api, template.task, template.payload);
    this.build();
    this.before = this.state();
    this.element.isConnected || document.querySelector(".queue-ext.q-floating").append(this.element);
    this.element.showModal();
    this.explain();
  }

  build() {
    const { inputs } = this;
    this.faults = {};
    const label = (key, input, look = "") => h("label", { class: `q-label ${look}` }, h("span", {}, t(`schedule.${key}`)), input, (this.faults[key] = h("span", { class: "q-fault", role: "alert" })));
    this.words = h("p", { class: "q-words", role: "status" });
    this.next = h("ol", { class: "q-next" });
    this.said = h("p", { class: "q-fault", role: "alert" });
    const presets = h("select", { class: "q-select", "aria-label": t("schedule.presets") }, h("option", { value: "" }, t("schedule.presets")), ...PRESETS.map((cron, n) => h("option", { value: cron }, t(`schedule.preset${n}`))));
    presets.onchange = () => {
      if (presets.value) inputs.cron.value = presets.value;
      this.explain();
    };
    const zones = h("datalist", { id: "q-zones" }, ...(Intl.supportedValuesOf?.("timeZone") || []).map((value) => h("option", { value })));
    const rest = Object.keys(inputs).slice(3).map((key) => label(key, inputs[key], inputs[key].type === "datetime-local" ? "q-two" : ""));
    this.save = h("button", { class: "q-button q-primary" }, t("edit.save"));
    const form = h(
      "form",
      { novalidate: true, onsubmit: (event) => this.submit(event) },
      h("div", { class: "q-top" }, h("h3", {}, t("schedule.title")), iconButton("close", t("viewer.close"), () => this.leave())),
      h("div", { class: "q-form-grid" }, label("name", inputs.name, "q-all"), label("cron", inputs.cron, "q-two"), h("label", { class: "q-label" }, h("span", {}, "\u00a0"), presets), label("timezone", inputs.timezone)),
      h("div", { class: "q-explained" }, this.words, this.next),
      this.fields.element,
      h("details", {}, h("summary", {}, t("schedule.more")), h("div", { class: "q-form-grid" }, label("lane", this.lane), ...rest)),
      zones,
      this.said,
      h("p", { class: "q-links q-foot" }, this.save, h("button", { type: "button", class: "q-button", onclick: () => this.leave() }, t("edit.cancel"))),
    );
    forgives(form, this.said);
    form.addEventListener("input", (event) => {
      if (![inputs.cron, inputs.timezone].includes(event.target)) return;
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.explain(), TYPING);
    });
    this.element.replaceChildren(form);
  }

  async explain() {
    const { cron, timezone } = this.inputs;
    const asked = (this.asked = {});
    let found = null;
    try {
      found = await this.api.post("schedules/preview", { cron: cron.value, timezone: timezone.value || "UTC" });
    } catch (problem) {
      if (asked === this.asked) this.refuse(problem);
    }
    if (asked !== this.asked) return;
    if (found) this.refuse({ errors: [] });
    setText(this.words, found?.description || "");
    this.next.replaceChildren(...(found?.next_runs || []).map((at) => h("li", {}, [moment(at, true), elsewhere(at, timezone.value || "UTC")].filter(Boolean).join(" · "))));
  }

  // --- saving --------------------------------------------------------------------------------------------------

  state() {
    return JSON.stringify([...Object.values(this.inputs), this.lane].map((input) => input.value));
  }

  changed() {
    return this.fields.changed() || this.state() !== this.before;
  }

  async leave() {
    if (await this.actions.mayLeave(this)) this.element.close();
  }

  request() {
    const said = Object.fromEntries(Object.entries(this.inputs).map(([key, input]) => [key, input.value.trim()]));
    const number = (text) => (text === "" ? null : Number(text));
    const template = { ...this.template, payload: this.fields.values(), queue: this.lane.value };
    return { ...said, timezone: said.timezone || "UTC", jitter_s: number(said.jitter_s) ?? 0, max_runs: number(said.max_runs), end_at: said.end_at ? new Date(said.end_at).toISOString() : null, enabled: this.schedule?.enabled ?? true, template };
  }

  async submit(event) {
    event.preventDefault();
    this.save.disabled = true;
    try {
      const made = this.request();
      await (this.schedule ? this.api.put(`schedules/${this.schedule.id}`, made) : this.api.post("schedules", made));
      this.element.close();
      this.actions.toasts.show(t("edit.saved"));
      this.saved();
    } catch (problem) {
      this.refuse(problem, true);
    } finally {
      this.save.disabled = false;
    }
  }

  /** Say what is wrong beside its field. */
  refuse(problem, all = false) {
    const { errors = [] } = problem;
    for (const fault of Object.values(this.faults)) setText(fault, "");
    const own = errors.filter(({ loc }) => loc[0] !== "template" && this.faults[loc[0]]);
    for (const { loc, msg } of own) setText(this.faults[loc[0]], msg);
    if (all) tell(this.said, problem, this.fields.refuse(errors.filter((error) => !own.includes(error))));
  }
}

function select(key, names, value) {
  const made = h("select", { class: "q-select" }, ...names.map((name) => h("option", { value: name }, t(`schedule.${key}.${name}`))));
  made.value = value;
  return made;
}
