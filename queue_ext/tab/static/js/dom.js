// Elements. Text only ever becomes a text node: nothing in the tab sets innerHTML.
const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  close: "M6 6l12 12M18 6L6 18",
  front: "M5 4h14M12 20V9M7 13l5-5 5 5",
  back: "M5 20h14M12 4v11M7 11l5 5 5-5",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  again: "M20 11a8 8 0 1 0-2.3 6M20 4v7h-7",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01",
  pause: "M9 5v14M15 5v14",
  play: "M7 4.5v15l12-7.5z",
  star: "M12 3.5l2.6 5.3 5.9.9-4.3 4.1 1 5.8-5.2-2.7-5.2 2.7 1-5.8-4.3-4.1 5.9-.9z",
  label: "M4 4h8l8 8-8 8-8-8zM8 8h.01",
  bell: "M6 16V11a6 6 0 0 1 12 0v5l2 2H4zM10 21h4",
  help: "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 18h.01",
  edit: "M4 20h4L19 9l-4-4L4 16z",
  skip: "M5 5l9 7-9 7zM18 5v14",
  bin: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  up: "M12 19V6M6 12l6-6 6 6",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  clock: "M12 7v5l3 2M12 3a9 9 0 1 0 .01 0",
  plus: "M12 5v14M5 12h14",
  compare: "M12 4v16M4 6h5v12H4zM15 6h5v12h-5z",
};
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
const MOVE = 220; // ms a row takes to its new place

/** An element: `h("button", { class: "x", onclick: f, "aria-label": "y" }, "text", child)`. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button that shows only a picture of what it does, and says it to those who cannot see it. */
export function iconButton(name, label, onclick, more = {}) {
  return h("button", { type: "button", class: "q-icon", title: label, "aria-label": label, onclick, ...more }, icon(name));
}

/** A native dialog, shown at once and gone when it is closed: Escape or a click beside it closes it, the focus returns. */
export function modal(props, ...children) {
  const dialog = h("dialog", props, ...children);
  leavesBy(dialog, () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.querySelector(".queue-ext.q-floating").append(dialog);
  dialog.showModal();
  return dialog;
}

/** Have `leave` decide whether a dialog closes at Escape or at a click beside it. The key is taken too: a browser closes
 * at the fifth Escape, unasked. And the press, not the click, which also ends a selection that began inside. */
export function leavesBy(dialog, leave) {
  dialog.addEventListener("mousedown", (event) => event.target === dialog && isBeside(dialog, event) && leave());
  dialog.addEventListener("cancel", (event) => (event.preventDefault(), leave()));
  dialog.addEventListener("keydown", (event) => event.key === "Escape" && (event.preventDefault(), leave()));
}

/** The backdrop belongs to the dialog's element, as its own padding does. */
function isBeside(dialog, { clientX: x, clientY: y }) {
  const { left, right, top, bottom } = dialog.getBoundingClientRect();
  return x < left || x > right || y < top || y > bottom;
}

/** Set a text only where it differs, so that selections and live regions are left alone. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/**
 * Make the children of `parent` show `items`, keeping the element of every item that stays (by `key`) and letting
 * it glide to its new place.
 */
export function keyed(parent, items, key, create, update, gliding = true) {
  const kept = (parent.keyed ??= new Map());
  const wanted = new Set(items.map(key));
  const before = !gliding || calm.matches || document.hidden ? null : new Map([...kept.values()].map((child) => [child, child.getBoundingClientRect()]));
  for (const [id, child] of kept) {
    if (!wanted.has(id)) {
      if (gliding && child.contains(document.activeElement)) focusNeighbour(child);
      child.remove();
      kept.delete(id);
    }
  }
  let previous = null;
  for (const item of items) {
    const id = key(item);
    let child = kept.get(id);
    if (!child) kept.set(id, (child = create(item)));
    update?.(child, item);
    const place = previous ? previous.nextSibling : parent.firstChild;
    if (place !== child) moveTo(parent, child, place);
    previous = child;
  }
  if (before) glide(kept, before);
}

/** Moving an element takes the focus from what is in it; whoever moved a row by keyboard wants to go on there. */
function moveTo(parent, child, place) {
  const focused = child.contains(document.activeElement) ? document.activeElement : null;
  parent.insertBefore(child, place);
  focused?.focus();
}

function focusNeighbour(child) {
  const next = child.nextElementSibling?.querySelector("button") || child.previousElementSibling?.querySelector("button");
  next?.focus();
}

function glide(kept, before) {
  for (const child of kept.values()) {
    const from = before.get(child);
    if (!from || !from.width) continue;
    const to = child.getBoundingClientRect();
    const [x, y] = [from.left - to.left, from.top - to.top];
    if (x || y) child.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], { duration: MOVE, easing: "ease-out" });
  }
}
