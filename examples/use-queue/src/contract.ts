// Made of the server's own models by `python -m queue_ext contract`; a test checks that it is current.

/** Several requests, all or none of which are accepted. */
export interface Batch {
  /** 1 to 1000 requests as for POST /jobs. */
  jobs: unknown[];
}

/** What is to differ in a copy of a job; ``payload`` fields are laid over the original's. */
export interface Clone {
  /** The lane; made when it is new. */
  queue?: string | null;
  /** Higher runs first. */
  priority?: number | null;
  name?: string | null;
  labels?: string[] | null;
  /** ISO 8601 with offset: not before this time. */
  run_at?: string | null;
  /** Seconds to wait before it may run; instead of run_at. */
  delay_s?: number | null;
  retry?: Retry | null;
  /** Told when the job has succeeded, failed or been deleted. */
  webhook?: Webhook | null;
  /** Longest an attempt may run, seconds. */
  timeout_s?: number | null;
  /** The same key gives the same job for 24 h. */
  idempotency_key?: string | null;
  /** Jobs it waits for: ids, or in a batch the numbers (from 0) of requests before it. */
  after?: (string | number)[] | null;
  /** How they must end: succeeded (default), finished or deleted. */
  after_on?: "succeeded" | "finished" | "deleted" | null;
  /** Seconds it may wait before it is given up. */
  ttl_s?: number | null;
  /** Never two jobs with the same key at once. */
  concurrency_key?: string | null;
  task?: string | null;
  payload?: Record<string, unknown> | null;
}

/** How many jobs wait. */
export interface CountDone {
  ok: true;
  count: number;
}

/** How far a webhook has come; where neither ``delivered_at`` nor ``next_try_at`` is given it was given up. */
export interface Delivery {
  event: string;
  at: string;
  tries: number;
  delivered_at: string | null;
  next_try_at: string | null;
  error: string | null;
}

/** It went well. */
export interface Done {
  ok: true;
}

/** When the last job of the line had ended. */
export interface EmptyPush {
  at: string;
}

/** A failed attempt. */
export interface FailedPush {
  job_id: string;
  error: Failure;
  will_retry: boolean;
  /** When it is tried again. */
  run_at: string | null;
  seq: number;
}

/** What went wrong in an attempt. */
export interface Failure {
  type: string;
  message: string;
  attempt: number;
}

/** One field at fault, and what is allowed there. */
export interface Fault {
  loc: (string | number)[];
  msg: string;
}

/** ``auth`` of the connection; all of it optional. */
export interface Handshake {
  /** A secret of one's own, 16 to 128 printable ASCII characters. */
  client_id?: string;
  /** From POST /v1/tokens, instead of a client_id. */
  token?: string;
  /** The last seq or cursor that was heard: what came after it is replayed. */
  since?: number;
}

/** How things stand. Either ``replay`` holds what was missed, or ``snapshot`` says to begin anew from ``jobs``. */
export interface HelloDone {
  ok: true;
  owner: string;
  admin: boolean;
  cursor: number;
  waiting_count: number;
  /** One's own unfinished jobs. */
  jobs: Job[];
  queues: Lane[];
  replay?: (ReplayedJob | ReplayedResult | ReplayedFailed | ReplayedRemoved)[];
  snapshot?: true;
}

/** Where to go on from. */
export interface HelloRequest {
  since?: number;
}

/** Somebody else's job where that is private: a place in line and nothing more. */
export interface HiddenJob {
  id: null;
  queue: string;
  state: "scheduled" | "awaiting" | "enqueued" | "processing" | "succeeded" | "failed" | "deleted";
  mine: false;
  position: number | null;
  ahead: number | null;
  eta_s: number | null;
}

/** One state a job was in: since when, why, and what belongs to it. */
export interface HistoryEntry {
  state: "scheduled" | "awaiting" | "enqueued" | "processing" | "succeeded" | "failed" | "deleted";
  /** Why it is in this state, in the language of Accept-Language. */
  reason: string | null;
  at: string;
  data: Record<string, unknown>;
}

/** A job as everybody who may see it sees it. */
export interface Job {
  id: string;
  queue: string;
  /** txt2img, img2img, extras, or ui:<elem_id> for a captured Generate button. */
  task: string;
  name: string | null;
  prompt: string;
  state: "scheduled" | "awaiting" | "enqueued" | "processing" | "succeeded" | "failed" | "deleted";
  /** Why it is in this state, in the language of Accept-Language. */
  reason: string | null;
  priority: number;
  labels: string[];
  summary: Summary;
  position: number | null;
  ahead: number | null;
  eta_s: number | null;
  duration_estimate_s: number | null;
  owner: string;
  mine: boolean;
  created_at: string;
  run_at: string | null;
  started_at: string | null;
  finished_at: string | null;
  expires_at: string | null;
  attempt: number;
  max_attempts: number;
  after: string[];
  schedule_id: string | null;
  bookmarked: boolean;
  progress: Progress | null;
  /** Null until something is made, and for everybody but the owner in pushes. */
  result: Result | null;
  error: Failure | null;
  /** The sentence a person reads, in the language of Accept-Language. */
  message: string;
}

/** One job with its payload, its history and what was told of it to its webhook. */
export interface JobDetails {
  id: string;
  queue: string;
  /** txt2img, img2img, extras, or ui:<elem_id> for a captured Generate button. */
  task: string;
  name: string | null;
  prompt: string;
  state: "scheduled" | "awaiting" | "enqueued" | "processing" | "succeeded" | "failed" | "deleted";
  /** Why it is in this state, in the language of Accept-Language. */
  reason: string | null;
  priority: number;
  labels: string[];
  summary: Summary;
  position: number | null;
  ahead: number | null;
  eta_s: number | null;
  duration_estimate_s: number | null;
  owner: string;
  mine: boolean;
  created_at: string;
  run_at: string | null;
  started_at: string | null;
  finished_at: string | null;
  expires_at: string | null;
  attempt: number;
  max_attempts: number;
  after: string[];
  schedule_id: string | null;
  bookmarked: boolean;
  progress: Progress | null;
  /** Null until something is made, and for everybody but the owner in pushes. */
  result: Result | null;
  error: Failure | null;
  /** The sentence a person reads, in the language of Accept-Language. */
  message: string;
  payload: Record<string, unknown>;
  history: HistoryEntry[];
  deliveries: Delivery[];
}

/** The job as it is now. */
export interface JobDone {
  ok: true;
  job: Job;
}

/** A page of jobs. */
export interface JobList {
  jobs: (Job | HiddenJob)[];
  next_cursor: string | null;
  total: number;
}

/** A job after a change. */
export interface JobPush {
  id: string;
  queue: string;
  /** txt2img, img2img, extras, or ui:<elem_id> for a captured Generate button. */
  task: string;
  name: string | null;
  prompt: string;
  state: "scheduled" | "awaiting" | "enqueued" | "processing" | "succeeded" | "failed" | "deleted";
  /** Why it is in this state, in the language of Accept-Language. */
  reason: string | null;
  priority: number;
  labels: string[];
  summary: Summary;
  position: number | null;
  ahead: number | null;
  eta_s: number | null;
  duration_estimate_s: number | null;
  owner: string;
  mine: boolean;
  created_at: string;
  run_at: string | null;
  started_at: string | null;
  finished_at: string | null;
  expires_at: string | null;
  attempt: number;
  max_attempts: number;
  after: string[];
  schedule_id: string | null;
  bookmarked: boolean;
  progress: Progress | null;
  /** Null until something is made, and for everybody but the owner in pushes. */
  result: Result | null;
  error: Failure | null;
  /** The sentence a person reads, in the language of Accept-Language. */
  message: string;
  /** Grows with every message of news; what is not above the last one heard is old. */
  seq: number;
}

/** Which job. */
export interface JobReference {
  job_id: string;
}

/** A request for pictures: what to run and how. */
export interface JobRequest {
  /** The lane; made when it is new. */
  queue?: string | null;
  /** Higher runs first. */
  priority?: number | null;
  name?: string | null;
  labels?: string[] | null;
  /** ISO 8601 with offset: not before this time. */
  run_at?: string | null;
  /** Seconds to wait before it may run; instead of run_at. */
  delay_s?: number | null;
  retry?: Retry | null;
  /** Told when the job has succeeded, failed or been deleted. */
  webhook?: Webhook | null;
  /** Longest an attempt may run, seconds. */
  timeout_s?: number | null;
  /** The same key gives the same job for 24 h. */
  idempotency_key?: string | null;
  /** Jobs it waits for: ids, or in a batch the numbers (from 0) of requests before it. */
  after?: (string | number)[] | null;
  /** How they must end: succeeded (default), finished or deleted. */
  after_on?: "succeeded" | "finished" | "deleted" | null;
  /** Seconds it may wait before it is given up. */
  ttl_s?: number | null;
  /** Never two jobs with the same key at once. */
  concurrency_key?: string | null;
  /** txt2img, img2img or extras. */
  task: string;
  /** As the WebUI's own /sdapi/v1/<task> takes it. */
  payload: Record<string, unknown>;
}

/** A queue and what it says of retries and time limits; null leaves it to the settings. */
export interface Lane {
  name: string;
  paused: boolean;
  pause_reason: string | null;
  retry_attempts: number | null;
  retry_delay_s: number | null;
  retry_delay_max_s: number | null;
  timeout_s: number | null;
  /** Jobs by state. */
  counts: Record<string, number>;
  waiting_count: number;
}

/** A queue that is no more. */
export interface LaneDeleted {
  name: string;
  deleted: true;
}

/** All queues. */
export interface LaneList {
  queues: Lane[];
}

/** One place of a watched line. */
export interface LinePlace {
  /** 1 is next, 0 is running; null when it does not wait. */
  position: number | null;
  /** Other jobs that finish before this one starts, the running one included. */
  ahead: number | null;
  /** Seconds until it starts, when they can be told. */
  eta_s: number | null;
  job_id: string;
}

/** The first 200 places of a watched queue. */
export interface LinePush {
  queue: string;
  jobs: LinePlace[];
}

/** Who asks, and their limits. */
export interface Me {
  owner: string;
  admin: boolean;
  visibility: "private" | "shared";
  quota: Quota;
  limits: MyLimits;
  waiting: number;
  pipeline: string;
  version: string;
}

/** Which job, and exactly one of to, before and after. */
export interface MoveRequest {
  job_id: string;
  to?: "front" | "back";
  before?: string;
  after?: string;
}

/** What is refused above which number; null is no limit. */
export interface MyLimits {
  max_waiting: number;
  max_waiting_per_owner: number | null;
  max_payload_mb: number;
}

/** What is to change in a job. */
export interface Patch {
  /** The lane; made when it is new. */
  queue?: string | null;
  /** Higher runs first. */
  priority?: number | null;
  name?: string | null;
  labels?: string[] | null;
  /** ISO 8601 with offset: not before this time. */
  run_at?: string | null;
  bookmarked?: boolean | null;
  payload?: Record<string, unknown> | null;
}

/** A picture that was made. Its addresses carry a signature that is good for a day. */
export interface Picture {
  /** Path from the server's root. */
  url: string;
  /** A small WebP of it. */
  thumbnail_url: string;
  width: number;
  height: number;
  seed: number | null;
  infotext: string | null;
}

/** Where a job stands in its line. */
export interface Place {
  /** 1 is next, 0 is running; null when it does not wait. */
  position: number | null;
  /** Other jobs that finish before this one starts, the running one included. */
  ahead: number | null;
  /** Seconds until it starts, when they can be told. */
  eta_s: number | null;
}

/** Whether progress is to carry the forming picture. */
export interface PreviewRequest {
  enabled: boolean;
}

/** An error of REST (RFC 9457), also the data of a refused connection. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  /** The sentence a person reads. */
  detail: string;
  /** What a program looks at, such as job_not_found. */
  code: string;
  errors: Fault[];
}

/** How far a running job is. */
export interface Progress {
  /** 0 to 1. */
  fraction: number;
  step: number;
  steps: number;
  /** The picture being made, from 1. */
  image: number;
  images: number;
  eta_s: number | null;
}

/** How far a job is, at most four times a second. */
export interface ProgressPush {
  /** 0 to 1. */
  fraction: number;
  step: number;
  steps: number;
  /** The picture being made, from 1. */
  image: number;
  images: number;
  eta_s: number | null;
  job_id: string;
  /** The forming picture as JPEG, where previews were asked for. */
  preview?: ArrayBuffer;
}

/** Which queue; default where none is named. */
export interface QueueReference {
  queue?: string;
}

/** How many jobs of a day (UTC) are used and left; nulls where there is no limit. */
export interface Quota {
  limit: number | null;
  used: number;
  remaining: number | null;
  resets_at: string | null;
}

/** What was wrong, and what is allowed. */
export interface Refusal {
  code: string;
  detail: string;
  errors: Fault[];
}

/** It did not go well, and why. */
export interface Refused {
  ok: false;
  error: Refusal;
}

/** A job that is no more: somebody removed it, or its time to be kept is over. */
export interface RemovedPush {
  job_id: string;
  queue: string;
  seq: number;
}

/** A missed ``failed``. */
export interface ReplayedFailed {
  event: "failed";
  data: FailedPush;
}

/** A missed ``job``. */
export interface ReplayedJob {
  event: "job";
  data: JobPush;
}

/** A missed ``removed``. */
export interface ReplayedRemoved {
  event: "removed";
  data: RemovedPush;
}

/** A missed ``result``. */
export interface ReplayedResult {
  event: "result";
  data: ResultPush;
}

/** What a job has made so far; ``info`` and ``parameters``, as the WebUI told them, only where one job is asked for. */
export interface Result {
  images: Picture[];
  info?: unknown;
  parameters?: Record<string, unknown>;
}

/** The pictures of a job that succeeded. */
export interface ResultPush {
  job_id: string;
  images: Picture[];
  seq: number;
}

/** How often a failed attempt is tried again, and after how long. */
export interface Retry {
  attempts?: number | null;
  /** Seconds before the first; doubles. */
  delay_s?: number | null;
}

/** A recurring job. */
export interface Schedule {
  id: string;
  name: string;
  cron: string;
  timezone: string;
  template: Record<string, unknown>;
  enabled: boolean;
  misfire: string;
  overlap: string;
  seed: string;
  jitter_s: number;
  end_at: string | null;
  max_runs: number | null;
  owner: string;
  mine: boolean;
  /** Why it is off, or what became of its last run. */
  reason: string | null;
  /** The expression in words. */
  description: string;
  runs: number;
  next_runs: string[];
  last_run_at: string | null;
  created_at: string;
  updated_at: string;
}

/** One schedule with the last job it made. */
export interface ScheduleDetails {
  id: string;
  name: string;
  cron: string;
  timezone: string;
  template: Record<string, unknown>;
  enabled: boolean;
  misfire: string;
  overlap: string;
  seed: string;
  jitter_s: number;
  end_at: string | null;
  max_runs: number | null;
  owner: string;
  mine: boolean;
  /** Why it is off, or what became of its last run. */
  reason: string | null;
  /** The expression in words. */
  description: string;
  runs: number;
  next_runs: string[];
  last_run_at: string | null;
  created_at: string;
  updated_at: string;
  last_job: Job | HiddenJob | null;
}

/** The recurring jobs one may see. */
export interface ScheduleList {
  schedules: Schedule[];
}

/** A cron expression to be put in words. */
export interface SchedulePreview {
  cron: string;
  timezone?: string;
}

/** A schedule was changed, deleted or fired. */
export interface SchedulePush {
  id: string;
  what: string;
}

/** A recurring definition: when, and what. */
export interface ScheduleRequest {
  name: string;
  cron: string;
  timezone?: string;
  template: Record<string, unknown>;
  enabled?: boolean;
  misfire?: string;
  overlap?: string;
  seed?: string;
  jitter_s?: unknown;
  /** ISO 8601 with offset: no run after this time. */
  end_at?: string | null;
  max_runs?: number | null;
}

/** What a line of a list shows of a payload. */
export interface Summary {
  width: number | null;
  height: number | null;
  steps: number;
  images: number;
  checkpoint: string | null;
  /** Pictures that came with the request. */
  inputs: number;
}

/** Stands for its owner until it expires: ``Authorization: Bearer …``, or ``auth.token`` of a socket. */
export interface Token {
  token: string;
  owner: string;
  expires_at: string;
}

/** A picture that was uploaded; ``id`` may stand in a payload wherever a picture may. */
export interface Upload {
  id: string;
  mime: string;
  /** Bytes. */
  size: number;
  width: number;
  height: number;
}

/** How many jobs wait in a queue. */
export interface WaitingCountPush {
  queue: string;
  count: number;
}

/** A job or a queue, one of them. */
export interface WatchRequest {
  job_id?: string;
  queue?: string;
}

/** Where to tell of the end of a job, and the secret that proves who tells. */
export interface Webhook {
  /** An http(s) address on a host that the setting webhook_hosts names. */
  url: string;
  /** Signs what is sent; 8 to 200 characters. */
  secret: string;
}

/** What the server sends, and when. */
export interface ServerToClientEvents {
  /** whenever the number changes */
  waiting_count: (data: WaitingCountPush) => void;
  /** at every change of a job's state */
  job: (data: JobPush) => void;
  /** when a job is forgotten, with its pictures */
  removed: (data: RemovedPush) => void;
  /** whenever the place of one of the owner's waiting jobs changes: all of them, by id */
  positions: (data: Record<string, Place>) => void;
  /** whenever a place in it changes */
  line: (data: LinePush) => void;
  /** while a job runs */
  progress: (data: ProgressPush) => void;
  /** when an attempt succeeds, right behind its job */
  result: (data: ResultPush) => void;
  /** when an attempt fails, right behind its job */
  failed: (data: FailedPush) => void;
  /** when a queue is made, paused, resumed, changed or deleted */
  queue: (data: Lane | LaneDeleted) => void;
  /** when nothing is in line any more and nothing runs (setting when_empty_notify) */
  empty: (data: EmptyPush) => void;
  /** when a schedule is changed or fires */
  schedule: (data: SchedulePush) => void;
}

/** What a client asks; every event is acknowledged. */
export interface ClientToServerEvents {
  /** How things stand, and what was missed. */
  hello: (data: HelloRequest, answer: (said: HelloDone | Refused) => void) => void;
  /** Accept a job, as POST /jobs does. */
  enqueue: (data: JobRequest, answer: (said: JobDone | Refused) => void) => void;
  /** Cancel a waiting or running job. */
  cancel: (data: JobReference, answer: (said: JobDone | Refused) => void) => void;
  /** Let a failed or deleted job wait again. */
  requeue: (data: JobReference, answer: (said: JobDone | Refused) => void) => void;
  /** Leave the current picture of a running job. */
  skip: (data: JobReference, answer: (said: JobDone | Refused) => void) => void;
  /** Give a waiting job another place. */
  move: (data: MoveRequest, answer: (said: JobDone | Refused) => void) => void;
  /** How many jobs wait in a queue. */
  waiting_count: (data: QueueReference, answer: (said: CountDone | Refused) => void) => void;
  /** Be told of a job, or of everybody's jobs in a queue. */
  watch: (data: WatchRequest, answer: (said: Done | Refused) => void) => void;
  /** Be told no more. */
  unwatch: (data: WatchRequest, answer: (said: Done | Refused) => void) => void;
  /** Have progress carry the forming picture, or not. */
  preview: (data: PreviewRequest, answer: (said: Done | Refused) => void) => void;
}
