// Short messages at the edge of the page. Good ones go by themselves, bad ones stay until they were read; the same one
// again is counted.
import { h, iconButton, setText } from "../dom.js";
import { t } from "../texts.js";

const SHOWN = 4500; // ms
const MOST = 5;

export class Toasts {
  constructor() {
    this.element = h("div", { class: "q-toasts", role: "status", "aria-live": "polite" });
    this.undo = null;
  }

  /** `action`: { label, run } makes a button; `bad`: it stays; `open` is called when the text is clicked. */
  show(text, { bad = false, action = null, ms = SHOWN } = {}) {
    const same = [...this.element.children].find((toast) => toast.dataset.text === text && !action);
    if (same && bad) return setText(same.querySelector(".q-times"), `×${++same.times}`);
    same?.remove();
    const toast = h("div", { class: bad ? "q-toast q-bad" : "q-toast", "data-text": text }, h("p", {}, text, " ", h("b", { class: "q-times" })));
    toast.times = 1;
    const close = () => {
      toast.remove();
      if (this.undo === act) this.undo = null;
    };
    const act = () => {
      close();
      action.run();
    };
    if (action) {
      toast.append(h("button", { type: "button", class: "q-button", onclick: act }, action.label));
      this.undo = act;
    }
    toast.append(iconButton("close", t("toast.close"), close));
    this.rise();
    this.element.append(toast);
    while (this.element.children.length > MOST) this.element.firstChild.remove();
    if (!bad) setTimeout(close, ms);
  }

  /** In front of what is in front: a modal dialog leaves nothing else within reach. */
  rise() {
    const floating = document.querySelector(".queue-ext.q-floating");
    [floating, ...floating.querySelectorAll("dialog[open]")].at(-1).append(this.element);
  }
}
