import type { Fault } from "./contract";

/** What the server refused, or why it could not be reached. `message` is for people, `code` for programs. */
export class QueueError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly status = 0,
    readonly errors: Fault[] = [],
    /** Seconds after which trying again may help. */
    readonly retryAfter: number | null = null,
  ) {
    super(message);
    this.name = "QueueError";
  }

  /** Whether nobody answered: the same request may be sent again. */
  get isUnreachable(): boolean {
    return this.code === "unreachable" || this.status === 502 || this.status === 503;
  }
}

/** The error in what somebody answered or threw. */
export function asQueueError(thrown: unknown): QueueError {
  if (thrown instanceof QueueError) return thrown;
  return new QueueError("unreachable", thrown instanceof Error ? thrown.message : String(thrown));
}
