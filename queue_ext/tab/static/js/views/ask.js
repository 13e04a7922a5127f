// "Are you sure?", for the little that cannot be taken back. A native dialog: Escape is no, and the focus returns.
import { h } from "../dom.js";
import { t } from "../texts.js";

/** Whether the person says yes. */
export function ask(text, yes) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { class: "q-dialog q-ask", "aria-label": text },
      h("form", { method: "dialog" }, h("p", {}, text), h("p", { class: "q-links" }, h("button", { class: "q-button", value: "" }, t("ask.no")), h("button", { class: "q-button q-danger", value: "yes" }, yes))),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.querySelector(".queue-ext.q-floating").append(dialog);
    dialog.showModal();
  });
}
