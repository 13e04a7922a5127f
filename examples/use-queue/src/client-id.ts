// Who this browser is where nobody logs in: a secret of its own, kept for as long as the browser keeps it.

const KEY = "queue-client-id";

/** 32 hexadecimal digits nobody can guess; `crypto.randomUUID` is missing on plain http. */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

let kept: string | undefined;

/** The id of this browser, made when it is first asked for. Where nothing can be stored it lasts as long as the page. */
export function clientId(): string {
  try {
    kept = localStorage.getItem(KEY) ?? kept ?? randomId();
    localStorage.setItem(KEY, kept);
  } catch {
    kept ??= randomId();
  }
  return kept;
}
