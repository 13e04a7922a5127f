// Now: the running job, its picture as it forms, how far it is and how long it takes.
import { allowed } from "../actions.js";
import { h, icon, keyed, setAttribute, setText } from "../dom.js";
import { duration, t } from "../texts.js";
import { hidden } from "./head.js";
import { facts, short, title } from "./job.js";

const IDLE = { id: "idle" };
const HIDDEN = { id: "hidden" };

export class NowView {
  constructor(actions, open) {
    this.actions = actions;
    this.open = open;
    this.list = h("div", { class: "q-now-list" });
    this.element = h("section", { class: "q-now", "aria-label": t("now.title") }, h("h3", {}, t("now.title")), this.list);
  }

  render(store) {
    const running = store.running();
    const items = running.length ? running : [hidden(store) ? HIDDEN : IDLE];
    keyed(this.list, items, (item) => item.id, (item) => this.create(item), (child, job) => job.state && update(child, job, store));
  }

  create(job) {
    if (job === IDLE) return quiet("now.idle", "now.idle_hint");
    if (job === HIDDEN) return quiet("now.somebody", "now.somebody_hint");
    const parts = {
      image: h("img", { alt: t("now.preview"), hidden: true }),
      title: h("span", { class: "q-prompt" }),
      facts: h("span", { class: "q-facts" }),
      fill: h("div", { class: "q-fill" }),
      part: h("div", { class: "q-fill" }),
      step: h("span"),
      left: h("span", { class: "q-left" }),
      percent: h("span", { class: "q-percent" }),
    };
    parts.bar = h("div", { class: "q-bar", role: "progressbar", "aria-label": t("now.progress"), "aria-valuemin": 0, "aria-valuemax": 100 }, parts.fill);
    parts.picture = h("div", { class: "q-bar q-thin", "aria-hidden": "true" }, parts.part);
    parts.cancel = h("button", { type: "button", class: "q-button", onclick: () => this.actions.cancel([child.job]) }, t("job.cancel"));
    parts.skip = h("button", { type: "button", class: "q-button", onclick: () => this.actions.skip(child.job) }, icon("skip"), t("job.skip"));
    const openJob = h("button", { type: "button", class: "q-open", onclick: () => this.open?.(job.id) }, parts.title, parts.facts);
    const child = h(
      "article",
      { class: "q-card q-running" },
      h("div", { class: "q-frame" }, icon("picture"), parts.image),
      h(
        "div",
        { class: "q-body" },
        h("div", { class: "q-top" }, h("div", { class: "q-what" }, openJob), h("div", { class: "q-tools" }, parts.skip, parts.cancel)),
        h("div", { class: "q-gauge" }, h("p", { class: "q-numbers" }, parts.percent, parts.left), parts.bar, parts.picture, h("p", { class: "q-facts" }, parts.step)),
      ),
    );
    child.parts = parts;
    return child;
  }
}

function quiet(headline, hint) {
  const frame = h("div", { class: "q-frame" }, icon("picture"));
  return h("article", { class: "q-card q-running q-quiet" }, frame, h("div", { class: "q-body" }, h("p", { class: "q-prompt" }, t(headline)), h("p", { class: "q-facts" }, t(hint))));
}

function update(child, job, store) {
  const { parts } = child;
  child.job = job;
  const progress = store.progress.get(job.id) || {};
  const percent = Math.round(100 * (progress.fraction || 0));
  setText(parts.title, title(job));
  setText(parts.facts, facts(job));
  setText(parts.percent, `${percent} %`);
  parts.fill.style.transform = `scaleX(${(progress.fraction || 0).toFixed(4)})`;
  setAttribute(parts.bar, "aria-valuenow", percent);
  const part = progress.steps ? progress.step / progress.steps : 0;
  parts.part.style.transform = `scaleX(${part.toFixed(4)})`;
  parts.picture.hidden = !(progress.images > 1);
  parts.skip.hidden = !(progress.images > 1) || !allowed(store, job).change;
  parts.skip.disabled = !store.connected;
  setText(parts.step, steps(progress));
  const eta = progress.eta_s;
  setText(parts.left, eta === null || eta === undefined ? "" : t("now.left", { time: duration(eta) }));
  const stopping = store.stopping.has(job.id);
  parts.cancel.disabled = stopping || !store.connected;
  parts.cancel.hidden = !allowed(store, job).change;
  setText(parts.cancel, t(stopping ? "job.stopping" : "job.cancel"));
  setAttribute(parts.cancel, "aria-label", stopping ? null : t("job.cancel_this", { prompt: short(job) }));
  const preview = store.previews.get(job.id);
  if (preview) setAttribute(parts.image, "src", preview);
  parts.image.hidden = !preview;
}

function steps(progress) {
  if (!progress.steps) return t("now.starting");
  const parts = [t("now.step", progress)];
  if (progress.images > 1) parts.unshift(t("now.picture", progress));
  return parts.join(" · ");
}
