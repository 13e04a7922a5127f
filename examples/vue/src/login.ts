// Who uses this page, and where: kept over a reload, the password never.
import { ref } from "vue";
import { type Problem, QueueError, type Token } from "use-queue";

export interface Login {
  server: string;
  /** The name of a login; null for somebody without one. */
  user: string | null;
}

const TOKEN = "queue-token";
const stored = localStorage.getItem("queue-login");

export const defaultServer = new URLSearchParams(location.search).get("server") ?? import.meta.env.VITE_QUEUE_URL ?? "";
export const login = ref<Login | null>(stored ? (JSON.parse(stored) as Login) : null);
export const expired = ref(false);

function keep(made: Login): void {
  localStorage.setItem("queue-login", JSON.stringify(made));
  expired.value = false;
  login.value = made;
}

export function continueAsGuest(server: string): void {
  keep({ server, user: null });
}

/** Get a token for a name and a password. Throws QueueError. */
export async function signIn(server: string, user: string, password: string): Promise<void> {
  const secret = btoa(String.fromCharCode(...new TextEncoder().encode(`${user}:${password}`)));
  const address = `${server.replace(/\/+$/, "")}/queue-ext/v1/tokens`;
  const answer = await fetch(address, { method: "POST", credentials: "omit", headers: { Authorization: `Basic ${secret}` } });
  const said = (await answer.json()) as Token | Problem;
  if (!("token" in said)) throw new QueueError(said.code, said.detail, said.status);
  localStorage.setItem(TOKEN, JSON.stringify(said));
  keep({ server, user });
}

/** The token of who is signed in, while it is good. */
export function token(): string {
  const said = JSON.parse(localStorage.getItem(TOKEN) ?? "null") as Token | null;
  if (!said || Date.parse(said.expires_at) <= Date.now()) {
    expired.value = true;
    signOut();
    throw new QueueError("login_expired", "the login has expired");
  }
  return said.token;
}

export function signOut(): void {
  localStorage.removeItem("queue-login");
  localStorage.removeItem(TOKEN);
  login.value = null;
}
