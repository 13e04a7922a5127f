// The keys, in a sheet that "?" opens.
import { h, iconButton, modal } from "../dom.js";
import { t } from "../texts.js";

const KEYS = [
  ["?", "help"],
  ["1 – 4", "pages"],
  ["↑ ↓ Home End", "move_focus"],
  ["Enter", "open"],
  ["Space", "choose"],
  ["Shift + ↑ ↓", "extend"],
  ["Ctrl + A", "all"],
  ["Esc", "none"],
  ["Alt + ↑ ↓", "shift"],
  ["Alt + Home / End", "ends"],
  ["E", "edit"],
  ["B", "bookmark"],
  ["Del", "cancel"],
  ["Ctrl + Z", "undo"],
  ["← →", "pictures"],
  ["Z", "zoom"],
];

export function help() {
  const rows = KEYS.map(([keys, what]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, keys)), h("td", {}, t(`help.${what}`))));
  const dialog = modal({ class: "q-dialog", "aria-label": t("help.title") }, h("div", { class: "q-top" }, h("h3", {}, t("help.title")), iconButton("close", t("viewer.close"), () => dialog.close())), h("table", {}, h("tbody", {}, ...rows)));
}
