// A list of which only what is seen has elements: ten thousand rows cost as much as thirty.
import { h, keyed, setAttribute } from "./dom.js";

const MORE = 6; // rows beyond each edge, so that a quick scroll finds them there
const KEYS = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };

export class VirtualList {
  /** `create(item)` makes an element, `update(element, item)` fills it; `shape(width)` says `{ height, columns }`. */
  constructor({ label, create, update, shape, name = "", own = true }) {
    Object.assign(this, { create, update, shape });
    this.items = [];
    this.active = null; // key of the item that Tab reaches
    this.held = null; // key of the item that is dragged
    this.rows = h("ol", { class: `q-rows ${name}`, "aria-label": label });
    this.element = h("div", { class: own ? "q-scroll" : "q-flow" }, this.rows);
    this.rows.addEventListener("focusin", (event) => this.reach(event.target.closest("li")?.dataset.key));
    const scrolled = () => this.schedule();
    document.addEventListener("scroll", scrolled, { capture: true, passive: true });
    this.observer = new ResizeObserver(scrolled);
    this.observer.observe(this.element);
    this.release = () => {
      document.removeEventListener("scroll", scrolled, { capture: true });
      this.observer.disconnect();
    };
  }

  set(items, gliding = true) {
    this.items = items;
    this.render(gliding);
  }

  schedule() {
    if (this.asked || !this.items.length) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.render(false);
    });
  }

  render(gliding) {
    const width = this.element.clientWidth;
    if (!width && this.items.length) return; // not on the page, or hidden
    const { height, columns } = (this.size = { columns: 1, ...this.shape(width) });
    this.rows.style.height = `${Math.ceil(this.items.length / columns) * height}px`;
    const [first, last] = this.seen(height);
    const from = first * columns;
    const shown = this.items.slice(from, last * columns).map((item, n) => ({ item, index: from + n }));
    if (this.indexOf(this.active) < 0) this.active = null;
    const held = this.indexOf(this.held ?? (this.rows.contains(document.activeElement) ? this.active : null));
    if (held >= 0 && !shown.some(({ index }) => index === held)) {
      shown.push({ item: this.items[held], index: held }); // it has the focus or the pointer: it keeps its element
      shown.sort((a, b) => a.index - b.index);
    }
    const reachable = this.active ?? this.items[0]?.key;
    keyed(
      this.rows,
      shown,
      ({ item }) => item.key,
      ({ item }) => this.create(item),
      (element, { item, index }) => {
        element.dataset.key = item.key;
        element.style.top = `${Math.floor(index / columns) * height}px`;
        element.style.height = `${height}px`;
        if (columns > 1) element.style.insetInlineStart = `${((index % columns) * 100) / columns}%`;
        if (columns > 1) element.style.width = `${100 / columns}%`;
        setAttribute(element, "aria-setsize", this.items.length);
        setAttribute(element, "aria-posinset", index + 1);
        this.update(element, item, item.key === reachable);
      },
      gliding && this.held === null,
    );
    if (last >= Math.ceil(this.items.length / columns) - MORE) this.onEnd?.();
  }

  /** The first row that is seen, and the one behind the last. */
  seen(height) {
    const list = this.rows.getBoundingClientRect();
    const frame = this.element.getBoundingClientRect();
    const top = Math.max(frame.top, 0) - list.top;
    const bottom = Math.min(frame.bottom, innerHeight) - list.top;
    const first = Math.max(0, Math.min(Math.floor(top / height) - MORE, this.items.length - MORE));
    return [first, Math.max(Math.ceil(bottom / height) + MORE, first + 2 * MORE)];
  }

  reach(key) {
    if (!key || key === this.active) return;
    this.active = key;
    this.render(false);
  }

  /** Bring an item into view and put the focus on it. */
  focus(index) {
    const item = this.items[index];
    if (!item) return;
    this.active = item.key;
    const { height, columns } = this.size;
    const top = Math.floor(index / columns) * height;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop || top + height > scrollTop + clientHeight) this.element.scrollTop = top < scrollTop ? top : top + height - clientHeight;
    this.render(false);
    const element = this.rows.keyed?.get(item.key) || this.pin(item, index);
    element?.scrollIntoView({ block: "nearest" });
    element?.querySelector("[data-main]")?.focus({ preventScroll: true });
  }

  /** Where the page itself scrolls, an item far away has to be scrolled to before it can have an element. */
  pin(item, index) {
    const { height, columns } = this.size;
    const from = this.rows.getBoundingClientRect().top + Math.floor(index / columns) * height;
    document.scrollingElement.scrollBy({ top: from - innerHeight / 2, behavior: "instant" });
    this.render(false);
    return this.rows.keyed?.get(item.key);
  }

  indexOf(key) {
    return key === null ? -1 : this.items.findIndex((item) => item.key === key);
  }

  /** Where an arrow key leads from an item; null for other keys. */
  step(event, index) {
    const { columns } = this.size;
    const last = this.items.length - 1;
    if (event.key === "Home") return 0;
    if (event.key === "End") return last;
    const side = columns > 1 ? { ArrowLeft: -1, ArrowRight: 1 }[event.key] : undefined;
    const by = side ?? (KEYS[event.key] === undefined ? null : KEYS[event.key] * columns);
    return by === null ? null : Math.min(last, Math.max(0, index + by));
  }
}
