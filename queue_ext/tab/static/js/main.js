// The tab's front door: start(mount) brings the live queue into an element of the host's page. Only what is looked at
// is loaded: each of the other pages, a job and its form come when they are first opened.
import { Actions } from "./actions.js";
import { Api, BASE } from "./api.js";
import { Away } from "./away.js";
import { Connection } from "./connection.js";
import { h, iconButton, setText } from "./dom.js";
import { Store } from "./store.js";
import { loadTexts, t } from "./texts.js";
import { ask } from "./views/ask.js";
import { HeadView } from "./views/head.js";
import { LineView } from "./views/line.js";
import { NowView } from "./views/now.js";
import { PicturesView } from "./views/pictures.js";
import { Toasts } from "./views/toasts.js";

const TICK = 1000; // ms between two looks at the clock for what is shown as "about 40 s"; it asks nobody
const TWICE = 1000; // ms in which the same answer again is no trouble
const answered = new Map(); // clicks of the form whose answers have been shown → when, ms
const started = new WeakMap();

/** Show the queue in `mount`. Called again for the same element it changes nothing. */
export function start(mount) {
  if (mount && !started.has(mount)) started.set(mount, run(mount));
  return started.get(mount);
}

async function run(mount) {
  await Promise.all([loadTexts(), loadStyle()]);
  const page = new Page(mount);
  await page.connection.start();
  return page.store;
}

class Page {
  constructor(mount) {
    const api = (this.api = new Api());
    const store = (this.store = new Store());
    const toasts = new Toasts();
    const actions = (this.actions = new Actions(api, store, toasts, ask));
    this.connection = new Connection(store, api);
    const open = (id, how) => this.open(id, how);
    this.head = new HeadView(actions, [(this.away = new Away(mount, store, toasts)).element, iconButton("help", t("help.title"), () => this.help())]);
    const queue = [new NowView(actions, open), new LineView(api, actions, store, open, (lane) => this.connection.more(lane)), new PicturesView(api, actions, open)];
    this.pages = {
      queue: { views: queue, panel: panelOf("queue", ...queue.map((view) => view.element)) },
      done: { panel: panelOf("done"), load: async () => new (await import("./views/done.js")).DoneView(api, store, actions, open) },
      later: { panel: panelOf("later"), load: async () => new (await import("./views/later.js")).LaterView(api, store, actions, open, (schedule) => this.schedule(schedule)) },
      numbers: { panel: panelOf("numbers"), load: async () => new (await import("./views/numbers.js")).NumbersView(api, store, actions) },
    };
    this.tabs = this.buildTabs();
    this.mount = mount;
    mount.classList.add("queue-ext");
    mount.closest(".prose")?.classList.remove("prose"); // Gradio would set our lists and links like an article
    mount.replaceChildren(this.head.element, this.tabs, ...Object.values(this.pages).map((page) => page.panel));
    this.floating = h("div", { class: "queue-ext q-floating" }, toasts.element);
    this.floating.addEventListener("close", () => toasts.rise(), true); // of a dialog
    document.body.append(this.floating);
    const clear = getComputedStyle(mount).getPropertyValue("--block-background-fill").trim() === "transparent";
    for (const part of [mount, this.floating]) part.classList.toggle("q-clear", clear);
    document.documentElement.classList.add("queue-live");
    store.on("change", onceAFrame(() => this.render()));
    store.on("emptied", async () => (await import("./views/empty.js")).sayEmpty(toasts)); // loaded when it is first needed
    store.on("failed", ({ text }) => toasts.show(text, { bad: true }));
    document.addEventListener("keydown", (event) => this.onKey(event));
    setInterval(() => !document.hidden && this.tick(), TICK);
    window.queueExt = { told: (outcome) => tell(toasts, outcome), ...window.queueExt }; // a WebUI's page has its own
    this.show("queue");
  }

  // --- pages ---------------------------------------------------------------------------------------------------

  buildTabs() {
    const tabs = Object.keys(this.pages).map((name) => h("button", { type: "button", role: "tab", id: `q-tab-${name}`, "aria-controls": `q-panel-${name}`, "data-tab": name, onclick: () => this.show(name) }, t(`tab.${name}`)));
    const list = h("div", { class: "q-tabs", role: "tablist", "aria-label": t("tab.all") }, ...tabs);
    list.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const next = by && tabs[(tabs.indexOf(event.target) + by + tabs.length) % tabs.length];
      next?.focus();
      next?.click();
    });
    return list;
  }

  async show(name) {
    this.current = name;
    for (const [key, { panel }] of Object.entries(this.pages)) panel.hidden = key !== name;
    for (const tab of this.tabs.children) {
      tab.setAttribute("aria-selected", tab.dataset.tab === name);
      tab.tabIndex = tab.dataset.tab === name ? 0 : -1;
    }
    const page = this.pages[name];
    if (!page.views) {
      page.views = [await page.load()];
      page.panel.replaceChildren(...page.views.map((view) => view.element));
    }
    for (const view of page.views) view.shownAgain?.();
    this.render();
  }

  render() {
    this.head.render(this.store);
    this.away.render();
    if (this.store.connected && !this.reached) for (const said of this.floating.querySelectorAll(".q-unreached")) setText(said, "");
    this.reached = this.store.connected;
    for (const view of this.pages[this.current].views || []) view.render(this.store);
  }

  tick() {
    this.head.tick(this.store);
    for (const view of this.pages[this.current].views || []) view.tick?.(this.store);
  }

  // --- one job -------------------------------------------------------------------------------------------------

  async open(id, how) {
    if (!this.jobView) {
      const { JobView } = await import("./views/jobview.js");
      this.jobView ??= new JobView(this.api, this.store, this.actions, (job) => this.repeat(job));
      if (!this.jobView.element.isConnected) this.floating.append(this.jobView.element);
    }
    return this.jobView.open(id, how);
  }

  /** The editor of a schedule; null makes a new one. */
  async schedule(schedule, template, name) {
    const { ScheduleEditor } = await import("./views/schedule.js");
    const saved = () => (this.current === "later" ? this.show("later") : null);
    this.editor ??= new ScheduleEditor(this.api, this.actions, saved);
    this.editor.open(schedule, template, name);
  }

  /** A job's request, again and again. */
  repeat({ task, payload, queue, priority, name, labels }) {
    return this.schedule(null, { task, payload, queue, priority, labels }, name || (payload.prompt || "").slice(0, 60));
  }

  async help() {
    (await import("./views/help.js")).help();
  }

  // --- keys ----------------------------------------------------------------------------------------------------

  /** Keys that mean the same everywhere in the tab, as long as it is what one looks at and nobody types. */
  onKey(event) {
    if (!this.mount.offsetParent || event.target.closest?.("input:not([type=checkbox]), textarea, select, dialog")) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && this.actions.toasts.undo) {
      event.preventDefault();
      this.actions.toasts.undo();
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "?") this.help();
    const page = this.tabs.children[Number(event.key) - 1];
    if (page) page.click();
  }
}

function panelOf(name, ...content) {
  return h("div", { class: "q-panel", role: "tabpanel", id: `q-panel-${name}`, "aria-labelledby": `q-tab-${name}`, hidden: true }, ...content);
}

/** What the form's button led to; what was wrong with it is shown beside the button, by Gradio. After a click that
 * reached nobody, Gradio hands us the answer to an earlier one again; also the later answer twice where two clicks were
 * answered at once. */
function tell(toasts, outcome) {
  const { click, ok, text } = JSON.parse(outcome || "{}");
  if (Date.now() - answered.get(click) < TWICE) return;
  if (!click || answered.has(click)) return toasts.show(t("toast.unanswered"), { bad: true });
  answered.set(click, Date.now());
  if (ok) toasts.show(text);
}

function onceAFrame(render) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      render();
    });
  };
}

function loadStyle() {
  return new Promise((resolve) => {
    const link = h("link", { rel: "stylesheet", href: new URL("tab/queue.css", BASE).href });
    link.onload = link.onerror = resolve;
    document.head.append(link);
  });
}
