// Dragging rows of a list by their grip, with mouse, pen or finger. Escape lets go.
import { h } from "./dom.js";

const START = 4; // px before a press is a drag
const EDGE = 48; // px from the edge of the list in which it scrolls by itself
const SPEED = 14; // px a frame

/** `held(key)` says what is dragged by a grip ({ keys, text }, or null); `drop(keys, index)` puts it there. */
export function makeSortable(list, held, drop) {
  list.rows.addEventListener("pointerdown", (event) => {
    const grip = event.target.closest("[data-grip]");
    const row = grip?.closest("li");
    const what = row && event.button === 0 && held(row.dataset.key);
    if (what) begin(list, event, grip, what, drop);
  });
}

function begin(list, start, grip, { keys, text }, drop) {
  const line = h("li", { class: "q-dropline", "aria-hidden": "true" });
  const ghost = h("div", { class: "q-ghost" }, text);
  let index = null;
  let y = start.clientY;
  let frame = 0;

  const place = () => {
    const box = list.rows.getBoundingClientRect();
    index = Math.max(0, Math.min(list.items.length, Math.round((y - box.top) / list.size.height)));
    line.style.top = `${index * list.size.height - 1}px`;
  };
  const creep = () => {
    const box = list.element.getBoundingClientRect();
    const by = y < box.top + EDGE ? -SPEED : y > box.bottom - EDGE ? SPEED : 0;
    if (by) list.element.scrollTop += by;
    place();
    frame = requestAnimationFrame(creep);
  };
  const move = (event) => {
    y = event.clientY;
    if (index === null && Math.abs(y - start.clientY) < START) return;
    if (index === null) {
      list.held = grip.closest("li").dataset.key;
      list.rows.append(line);
      list.element.closest(".queue-ext").append(ghost);
      creep();
    }
    ghost.style.transform = `translate(${event.clientX + 14}px, ${y + 10}px)`;
  };
  const end = (event) => {
    cancelAnimationFrame(frame);
    for (const [name, listener] of listeners) grip.removeEventListener(name, listener);
    document.removeEventListener("keydown", key, true);
    line.remove();
    ghost.remove();
    list.held = null;
    if (event.type === "pointerup" && index !== null) drop(keys, index);
  };
  const key = (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    end(event);
  };
  const listeners = [
    ["pointermove", move],
    ["pointerup", end],
    ["pointercancel", end],
  ];
  grip.setPointerCapture(start.pointerId);
  for (const [name, listener] of listeners) grip.addEventListener(name, listener);
  document.addEventListener("keydown", key, true);
}
