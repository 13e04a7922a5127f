// Which jobs of a list are chosen, by mouse (Shift, Ctrl) and by keyboard.
export class Selection {
  constructor(onChange) {
    this.ids = new Set();
    this.anchor = null;
    this.onChange = onChange;
  }

  has(id) {
    return this.ids.has(id);
  }

  get size() {
    return this.ids.size;
  }

  clear() {
    if (this.ids.size) this.set([]);
  }

  set(ids) {
    this.ids = new Set(ids);
    this.onChange();
  }

  toggle(id) {
    if (!this.ids.delete(id)) this.ids.add(id);
    this.anchor = id;
    this.onChange();
  }

  /** Everything between the last one chosen and `id`, in the order of `all`. */
  extend(id, all) {
    const from = Math.max(0, all.indexOf(this.anchor ?? id));
    const to = all.indexOf(id);
    this.anchor ??= id;
    const [low, high] = from < to ? [from, to] : [to, from];
    this.set(new Set([...this.ids, ...all.slice(low, high + 1)]));
  }

  /** A click with its modifier keys; whether it was one that chooses. */
  click(event, id, all) {
    if (event.shiftKey) this.extend(id, all);
    else if (event.ctrlKey || event.metaKey) this.toggle(id);
    else return false;
    return true;
  }

  /** Forget what is no longer in the list. */
  keep(all) {
    if (!this.ids.size) return;
    const there = new Set(all);
    for (const id of this.ids) if (!there.has(id)) this.ids.delete(id);
  }
}

/** What keys mean in every list of jobs; whether this one meant anything. `rows` has { list, selection, ids }. */
export function chooseByKey(event, id, { list, selection, ids }) {
  const { key } = event;
  if ((event.ctrlKey || event.metaKey) && key === "a") return selection.set(ids()), true;
  if (event.altKey || event.ctrlKey || event.metaKey) return false;
  if (key === " " && event.target.dataset.main !== undefined) return selection.toggle(id), true;
  const step = list.step(event, list.indexOf(id));
  if (step === null) return false;
  if (event.shiftKey) selection.anchor ??= id;
  list.focus(step);
  if (event.shiftKey && list.items[step]?.job) selection.extend(list.items[step].key, ids());
  return true;
}
