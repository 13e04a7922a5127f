// REST. Where the extension lives is what this module's own address says, under any root path.
import { t } from "./texts.js";

export const BASE = new URL("../../", import.meta.url); // …/queue-ext/

/** What the server refused, in its own words (problem+json). */
export class Problem extends Error {
  constructor(status, problem) {
    super(problem?.detail || t("error.unreachable"));
    this.status = status;
    this.errors = problem?.errors || [];
  }
}

export class Api {
  get = (path) => this.send("GET", path);
  post = (path, body = {}) => this.send("POST", path, body);
  patch = (path, body) => this.send("PATCH", path, body);
  put = (path, body) => this.send("PUT", path, body);
  delete = (path) => this.send("DELETE", path);

  /** Called when something was changed. */
  wrote() {}

  async send(method, path, body, more = {}) {
    const options = { method, headers: { Accept: "application/json" }, ...more };
    if (body !== undefined) {
      options.headers["Content-Type"] = "application/json";
      options.body = JSON.stringify(body);
    }
    const answer = await fetch(this.address(path), options).catch(() => Promise.reject(new Problem(0)));
    const told = await answer.json().catch(() => null);
    if (!answer.ok) throw new Problem(answer.status, told);
    if (method !== "GET") this.wrote();
    return told;
  }

  address(path) {
    return new URL(`v1/${path}`, BASE).href;
  }

  /** The address of a picture: signed paths start at the server's root, which a proxy may have moved. */
  picture(path) {
    return new URL(path.replace(/^.*?\/queue-ext\//, ""), BASE).href;
  }
}
