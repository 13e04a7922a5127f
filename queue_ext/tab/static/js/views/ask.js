// "Are you sure?", for the little that cannot be taken back. Escape is no.
import { h, modal } from "../dom.js";
import { t } from "../texts.js";

/** Whether the person says yes. */
export function ask(text, yes) {
  const dialog = modal(
    { class: "q-dialog q-ask", "aria-label": text },
    h("form", { method: "dialog" }, h("p", {}, text), h("p", { class: "q-links" }, h("button", { class: "q-button", value: "" }, t("ask.no")), h("button", { class: "q-button q-danger", value: "yes" }, yes))),
  );
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes")));
}
