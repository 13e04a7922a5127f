// The latest pictures, newest first; jobs that failed stand among them and can be tried again.
import { h, iconButton, keyed, setText } from "../dom.js";
import { t } from "../texts.js";
import { short, title } from "./job.js";

const SHOWN = 24; // tiles

export class PicturesView {
  constructor(api, actions, open) {
    this.api = api;
    this.actions = actions;
    this.openJob = open;
    this.grid = h("ul", { class: "q-grid" });
    this.empty = h("p", { class: "q-card q-empty" }, t("pictures.empty"));
    this.element = h("section", { class: "q-pictures", "aria-label": t("pictures.title") }, h("h3", {}, t("pictures.title")), this.empty, this.grid);
    this.tiles = [];
  }

  render(store) {
    this.tiles = store.finished().filter((job) => !this.actions.removing.has(job.id)).flatMap(tilesOf).slice(0, SHOWN);
    this.empty.hidden = this.tiles.length > 0;
    keyed(this.grid, this.tiles, (tile) => tile.key, (tile) => this.create(tile), update);
  }

  create(tile) {
    return tile.image ? this.createPicture(tile) : this.createFailure(tile);
  }

  createPicture(tile) {
    const { image, job } = tile;
    const picture = h("img", { src: this.api.picture(image.thumbnail_url), alt: "", loading: "lazy", width: image.width, height: image.height });
    picture.onerror = () => this.withoutSignature(picture);
    const label = t("pictures.open", { prompt: title(job).slice(0, 120) });
    return h("li", { class: "q-tile" }, h("button", { type: "button", "aria-label": label, title: title(job).slice(0, 300), onclick: () => this.open(tile) }, picture));
  }

  /** A signature ends after a day; the address without it asks who we are. */
  withoutSignature(picture) {
    picture.onerror = null;
    picture.src = picture.src.split("?")[0];
  }

  createFailure({ job }) {
    const reason = h("p", { class: "q-reason" });
    const again = iconButton("again", t("job.requeue_this", { prompt: short(job) }), () => this.actions.requeue([job]));
    const child = h("li", { class: "q-tile q-failed" }, h("p", { class: "q-failed-title" }, t("job.failed")), reason, h("button", { type: "button", class: "q-open q-facts", onclick: () => this.openJob(job.id) }, title(job)), again);
    return Object.assign(child, { reason });
  }

  open({ job, index }) {
    const ids = [...new Set(this.tiles.map((tile) => tile.job.id))];
    this.openJob(job.id, { ids, index });
  }
}

function tilesOf(job) {
  if (job.state === "failed") return [{ key: job.id, job }];
  return (job.result?.images || []).map((image, n) => ({ key: `${job.id}/${n}`, job, image, index: n }));
}

function update(child, { job }) {
  if (child.reason) setText(child.reason, job.error?.message || job.reason || "");
}
