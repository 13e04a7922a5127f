// What can be done to all that are chosen: a bar that appears when something is.
import { allowed } from "../actions.js";
import { h, icon, iconButton, setText } from "../dom.js";
import { t } from "../texts.js";

const HIGHEST = 1000;

export class Bar {
  /** `jobs()` gives the jobs of the list in their order; `can` names the actions in the order they are shown. */
  constructor(actions, store, selection, jobs, can, open) {
    Object.assign(this, { actions, store, selection, jobs });
    this.count = h("b");
    const make = {
      front: () => this.button("front", (chosen) => actions.front(chosen), "move"),
      back: () => this.button("back", (chosen) => actions.back(chosen), "move"),
      priority: () => this.field("up", "priority", { type: "number", min: -HIGHEST, max: HIGHEST, step: 1 }, (chosen, text) => actions.prioritise(chosen, Number(text))),
      bookmark: () => this.button("star", (chosen) => actions.bookmark(chosen), "change", "bookmark"),
      label: () => this.field("label", "label", { maxlength: 64 }, (chosen, text) => actions.label(chosen, text)),
      compare: () => this.button("compare", ([one, other]) => open(one.id, { against: other.id }), "change"),
      requeue: () => this.button("again", (chosen) => actions.requeue(chosen), "requeue", "requeue"),
      cancel: () => this.button("close", (chosen) => actions.cancel(chosen), "cancel", "cancel"),
      remove: () => this.button("bin", (chosen) => actions.remove(chosen), "remove", "remove"),
    };
    this.controls = can.map((name) => make[name]());
    this.element = h("div", { class: "q-bar-actions", role: "toolbar", "aria-label": t("bar.title"), hidden: true }, this.count, ...this.controls, iconButton("close", t("bar.none"), () => selection.clear(), { class: "q-icon q-end" }));
  }

  chosen() {
    return this.jobs().filter((job) => this.selection.has(job.id));
  }

  render() {
    const { size } = this.selection;
    this.element.hidden = size === 0;
    if (!size) return;
    setText(this.count, t("bar.chosen", { n: size }));
    const chosen = this.chosen();
    for (const control of this.controls) {
      control.hidden = !chosen.some((job) => allowed(this.store, job)[control.need]) || (control.name === "compare" && size !== 2);
      for (const part of control.matches("button") ? [control] : control.children) part.disabled = !this.store.connected;
    }
  }

  button(glyph, act, need, name = glyph) {
    const meant = () => this.chosen().filter((job) => allowed(this.store, job)[need]);
    const made = h("button", { type: "button", class: "q-button", onclick: () => act(meant()) }, icon(glyph), h("span", {}, t(`bar.${name}`)));
    return Object.assign(made, { need, name });
  }

  field(glyph, name, attributes, act) {
    const input = h("input", { class: "q-input", required: true, "aria-label": t(`bar.${name}`), placeholder: t(`bar.${name}`), ...attributes });
    const submit = (event) => {
      event.preventDefault();
      if (input.value.trim()) act(this.chosen(), input.value.trim());
      input.value = "";
    };
    const made = h("form", { class: "q-field", onsubmit: submit }, input, h("button", { class: "q-button", "aria-label": t(`bar.${name}_set`), title: t(`bar.${name}_set`) }, icon(glyph)));
    return Object.assign(made, { need: name === "priority" ? "cancel" : "change" });
  }
}
