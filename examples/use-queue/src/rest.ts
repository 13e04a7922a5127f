// REST with the identity of the session: errors become QueueError, an expired token is replaced once.
import type { Fault } from "./contract";
import { QueueError } from "./errors";

/** Who asks: made anew for every request, because tokens expire. */
export interface Identity {
  headers(): Promise<Record<string, string>>;
  /** Called when the server no longer takes the token; whether there can be another. */
  renew(): boolean;
}

export interface Request {
  method?: string;
  /** Sent as JSON, but for a Blob, which is sent as it is. */
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export class Rest {
  constructor(
    private readonly base: string,
    private readonly identity: Identity,
    private readonly language: () => string | undefined,
  ) {}

  /** The answer of `/queue-ext/v1/<path>`. Throws QueueError. */
  async ask<T>(path: string, request: Request = {}): Promise<T> {
    try {
      return await this.once<T>(path, request);
    } catch (error) {
      if (!(error instanceof QueueError) || error.code !== "token_refused" || !this.identity.renew()) throw error;
      return await this.once<T>(path, request);
    }
  }

  private async once<T>(path: string, { method = "GET", body, headers, signal }: Request): Promise<T> {
    const language = this.language();
    const raw = body instanceof Blob;
    const sent: Record<string, string> = {
      ...(await this.identity.headers()),
      ...(language ? { "Accept-Language": language } : {}),
      ...(body === undefined || raw ? {} : { "Content-Type": "application/json" }),
      ...headers,
    };
    let answer: Response;
    try {
      const content = body === undefined ? null : raw ? body : JSON.stringify(body);
      answer = await fetch(`${this.base}/v1/${path}`, { method, headers: sent, body: content, signal: signal ?? null });
    } catch (error) {
      throw new QueueError("unreachable", error instanceof Error ? error.message : String(error));
    }
    const said = answer.headers.get("content-type")?.includes("json") ? await answer.json().catch(() => null) : null;
    if (!answer.ok) throw problem(answer, said);
    return said as T;
  }
}

function problem(answer: Response, said: { code?: string; detail?: string; errors?: Fault[] } | null): QueueError {
  const after = Number(answer.headers.get("retry-after"));
  return new QueueError(
    said?.code ?? "http_problem",
    said?.detail ?? `${answer.status} ${answer.statusText}`,
    answer.status,
    said?.errors ?? [],
    after > 0 ? after : null,
  );
}
