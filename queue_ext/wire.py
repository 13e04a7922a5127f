"""What goes over the wire, written once: the shapes of answers and pushes, and the table of socket events.

``views`` and ``namespace`` build these; ``contract`` makes OpenAPI, AsyncAPI and TypeScript of them. What comes in over
REST is in ``shapes``. Times are ISO 8601 in UTC, durations seconds, addresses paths from the server's root.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from .shapes import JobRequest


def about(text: str) -> Any:
    """What a field means, for the documents."""
    return Field(description=text)


StateName = Literal["scheduled", "awaiting", "enqueued", "processing", "succeeded", "failed", "deleted"]
Seconds = float | None


class Picture(TypedDict):
    """A picture that was made. Its addresses carry a signature that is good for a day."""

    url: Annotated[str, about("Path from the server's root.")]
    thumbnail_url: Annotated[str, about("A small WebP of it.")]
    width: int
    height: int
    seed: int | None
    infotext: str | None


class Result(TypedDict):
    """What a job has made so far; ``info`` and ``parameters``, as the WebUI told them, only where one job is asked for."""

    images: list[Picture]
    info: NotRequired[Any]
    parameters: NotRequired[dict[str, Any]]


class Failure(TypedDict):
    """What went wrong in an attempt."""

    type: str
    message: str
    attempt: int


class Place(TypedDict):
    """Where a job stands in its line."""

    position: Annotated[int | None, about("1 is next, 0 is running; null when it does not wait.")]
    ahead: Annotated[int | None, about("Other jobs that finish before this one starts, the running one included.")]
    eta_s: Annotated[Seconds, about("Seconds until it starts, when they can be told.")]


class Progress(TypedDict):
    """How far a running job is."""

    fraction: Annotated[float, about("0 to 1.")]
    step: int
    steps: int
    image: Annotated[int, about("The picture being made, from 1.")]
    images: int
    eta_s: Seconds


class Summary(TypedDict):
    """What a line of a list shows of a payload."""

    width: int | None
    height: int | None
    steps: int
    images: int
    checkpoint: str | None
    inputs: Annotated[int, about("Pictures that came with the request.")]


class Job(TypedDict):
    """A job as everybody who may see it sees it."""

    id: str
    queue: str
    task: Annotated[str, about("txt2img, img2img, extras, or ui:<elem_id> for a captured Generate button.")]
    name: str | None
    prompt: str
    state: StateName
    reason: Annotated[str | None, about("Why it is in this state, in the language of Accept-Language.")]
    priority: int
    labels: list[str]
    summary: Summary
    position: int | None
    ahead: int | None
    eta_s: Seconds
    duration_estimate_s: Seconds
    owner: str
    mine: bool
    created_at: str
    run_at: str | None
    started_at: str | None
    finished_at: str | None
    expires_at: str | None
    attempt: int
    max_attempts: int
    after: list[str]
    schedule_id: str | None
    bookmarked: bool
    progress: Progress | None
    result: Annotated[Result | None, about("Null until something is made, and for everybody but the owner in pushes.")]
    error: Failure | None
    message: Annotated[str, about("The sentence a person reads, in the language of Accept-Language.")]


class HistoryEntry(TypedDict):
    """One state a job was in: since when, why, and what belongs to it."""

    state: StateName
    reason: Annotated[str | None, about("Why it is in this state, in the language of Accept-Language.")]
    at: str
    data: dict[str, Any]


class Delivery(TypedDict):
    """How far a webhook has come; where neither ``delivered_at`` nor ``next_try_at`` is given it was given up."""

    event: str
    at: str
    tries: int
    delivered_at: str | None
    next_try_at: str | None
    error: str | None


class JobDetails(Job):
    """One job with its payload, its history and what was told of it to its webhook."""

    payload: dict[str, Any]
    history: list[HistoryEntry]
    deliveries: list[Delivery]


class HiddenJob(TypedDict):
    """Somebody else's job where that is private: a place in line and nothing more."""

    id: None
    queue: str
    state: StateName
    mine: Literal[False]
    position: int | None
    ahead: int | None
    eta_s: Seconds


class JobList(TypedDict):
    """A page of jobs."""

    jobs: list[Job | HiddenJob]
    next_cursor: str | None
    total: int


class Lane(TypedDict):
    """A queue and what it says of retries and time limits; null leaves it to the settings."""

    name: str
    paused: bool
    pause_reason: str | None
    retry_attempts: int | None
    retry_delay_s: Seconds
    retry_delay_max_s: Seconds
    timeout_s: Seconds
    counts: Annotated[dict[str, int], about("Jobs by state.")]
    waiting_count: int


class LaneList(TypedDict):
    """All queues."""

    queues: list[Lane]


class LaneDeleted(TypedDict):
    """A queue that is no more."""

    name: str
    deleted: Literal[True]


class Schedule(TypedDict):
    """A recurring job."""

    id: str
    name: str
    cron: str
    timezone: str
    template: dict[str, Any]
    enabled: bool
    misfire: str
    overlap: str
    seed: str
    jitter_s: float
    end_at: str | None
    max_runs: int | None
    owner: str
    mine: bool
    reason: Annotated[str | None, about("Why it is off, or what became of its last run.")]
    description: Annotated[str, about("The expression in words.")]
    runs: int
    next_runs: list[str]
    last_run_at: str | None
    created_at: str
    updated_at: str


class ScheduleList(TypedDict):
    """The recurring jobs one may see."""

    schedules: list[Schedule]


class ScheduleDetails(Schedule):
    """One schedule with the last job it made."""

    last_job: Job | HiddenJob | None


class Quota(TypedDict):
    """How many jobs of a day (UTC) are used and left; nulls where there is no limit."""

    limit: int | None
    used: int
    remaining: int | None
    resets_at: str | None


class Me(TypedDict):
    """Who asks, and their limits."""

    owner: str
    admin: bool
    visibility: Literal["private", "shared"]
    quota: Quota
    limits: "MyLimits"
    waiting: int
    pipeline: str
    version: str


class MyLimits(TypedDict):
    """What is refused above which number; null is no limit."""

    max_waiting: int
    max_waiting_per_owner: int | None
    max_payload_mb: float


class Token(TypedDict):
    """Stands for its owner until it expires: ``Authorization: Bearer …``, or ``auth.token`` of a socket."""

    token: str
    owner: str
    expires_at: str


class Upload(TypedDict):
    """A picture that was uploaded; ``id`` may stand in a payload wherever a picture may."""

    id: str
    mime: str
    size: Annotated[int, about("Bytes.")]
    width: int
    height: int


class Fault(TypedDict):
    """One field at fault, and what is allowed there."""

    loc: list[str | int]
    msg: str


class Problem(TypedDict):
    """An error of REST (RFC 9457), also the data of a refused connection."""

    type: str
    title: str
    status: int
    detail: Annotated[str, about("The sentence a person reads.")]
    code: Annotated[str, about("What a program looks at, such as job_not_found.")]
    errors: list[Fault]


# --- socket: server → client -------------------------------------------------------------------------------------------


class WaitingCountPush(TypedDict):
    """How many jobs wait in a queue."""

    queue: str
    count: int


class JobPush(Job):
    """A job after a change."""

    seq: Annotated[int, about("Grows with every message of news; what is not above the last one heard is old.")]


Positions = dict[str, Place]


class LinePlace(Place):
    """One place of a watched line."""

    job_id: str


class LinePush(TypedDict):
    """The first 200 places of a watched queue."""

    queue: str
    jobs: list[LinePlace]


class ProgressPush(Progress):
    """How far a job is, at most four times a second."""

    job_id: str
    preview: NotRequired[Annotated[bytes, about("The forming picture as JPEG, where previews were asked for.")]]


class RemovedPush(TypedDict):
    """A job that is no more: somebody removed it, or its time to be kept is over."""

    job_id: str
    queue: str
    seq: int


class ResultPush(TypedDict):
    """The pictures of a job that succeeded."""

    job_id: str
    images: list[Picture]
    seq: int


class FailedPush(TypedDict):
    """A failed attempt."""

    job_id: str
    error: Failure
    will_retry: bool
    run_at: Annotated[str | None, about("When it is tried again.")]
    seq: int


class SchedulePush(TypedDict):
    """A schedule was changed, deleted or fired."""

    id: str
    what: str


class EmptyPush(TypedDict):
    """When the last job of the line had ended."""

    at: str


# --- socket: client → server -------------------------------------------------------------------------------------------


class Handshake(TypedDict, total=False):
    """``auth`` of the connection; all of it optional."""

    client_id: Annotated[str, about("A secret of one's own, 16 to 128 printable ASCII characters.")]
    token: Annotated[str, about("From POST /v1/tokens, instead of a client_id.")]
    since: Annotated[int, about("The last seq or cursor that was heard: what came after it is replayed.")]


class HelloRequest(TypedDict, total=False):
    """Where to go on from."""

    since: int


class JobReference(TypedDict):
    """Which job."""

    job_id: str


class MoveRequest(TypedDict):
    """Which job, and exactly one of to, before and after."""

    job_id: str
    to: NotRequired[Literal["front", "back"]]
    before: NotRequired[str]
    after: NotRequired[str]


class QueueReference(TypedDict, total=False):
    """Which queue; default where none is named."""

    queue: str


class WatchRequest(TypedDict, total=False):
    """A job or a queue, one of them."""

    job_id: str
    queue: str


class PreviewRequest(TypedDict):
    """Whether progress is to carry the forming picture."""

    enabled: bool


class Done(TypedDict):
    """It went well."""

    ok: Literal[True]


class Refused(TypedDict):
    """It did not go well, and why."""

    ok: Literal[False]
    error: "Refusal"


class Refusal(TypedDict):
    """What was wrong, and what is allowed."""

    code: str
    detail: str
    errors: list[Fault]


class JobDone(Done):
    """The job as it is now."""

    job: Job


class CountDone(Done):
    """How many jobs wait."""

    count: int


class ReplayedJob(TypedDict):
    """A missed ``job``."""

    event: Literal["job"]
    data: JobPush


class ReplayedRemoved(TypedDict):
    """A missed ``removed``."""

    event: Literal["removed"]
    data: RemovedPush


class ReplayedResult(TypedDict):
    """A missed ``result``."""

    event: Literal["result"]
    data: ResultPush


class ReplayedFailed(TypedDict):
    """A missed ``failed``."""

    event: Literal["failed"]
    data: FailedPush


class HelloDone(Done):
    """How things stand. Either ``replay`` holds what was missed, or ``snapshot`` says to begin anew from ``jobs``."""

    owner: str
    admin: bool
    cursor: int
    waiting_count: int
    jobs: Annotated[list[Job], about("One's own unfinished jobs.")]
    queues: list[Lane]
    replay: NotRequired[list[ReplayedJob | ReplayedResult | ReplayedFailed | ReplayedRemoved]]
    snapshot: NotRequired[Literal[True]]


@dataclass(frozen=True)
class Asked:
    """An event a client sends: its argument, what the acknowledgement holds besides a refusal, what it does."""

    argument: Any
    answer: Any
    does: str


@dataclass(frozen=True)
class Told:
    """An event the server sends: its payload, who gets it, when."""

    payload: Any
    to: str
    when: str


CLIENT_EVENTS = {
    "hello": Asked(HelloRequest, HelloDone, "How things stand, and what was missed."),
    "enqueue": Asked(JobRequest, JobDone, "Accept a job, as POST /jobs does."),
    "cancel": Asked(JobReference, JobDone, "Cancel a waiting or running job."),
    "requeue": Asked(JobReference, JobDone, "Let a failed or deleted job wait again."),
    "skip": Asked(JobReference, JobDone, "Leave the current picture of a running job."),
    "move": Asked(MoveRequest, JobDone, "Give a waiting job another place."),
    "waiting_count": Asked(QueueReference, CountDone, "How many jobs wait in a queue."),
    "watch": Asked(WatchRequest, Done, "Be told of a job, or of everybody's jobs in a queue."),
    "unwatch": Asked(WatchRequest, Done, "Be told no more."),
    "preview": Asked(PreviewRequest, Done, "Have progress carry the forming picture, or not."),
}
SERVER_EVENTS = {
    "waiting_count": Told(WaitingCountPush, "all", "whenever the number changes"),
    "job": Told(JobPush, "owner, watchers, admins", "at every change of a job's state"),
    "removed": Told(RemovedPush, "owner, watchers, admins", "when a job is forgotten, with its pictures"),
    "positions": Told(
        Positions, "owner", "whenever the place of one of the owner's waiting jobs changes: all of them, by id"
    ),
    "line": Told(LinePush, "watchers of a queue", "whenever a place in it changes"),
    "progress": Told(ProgressPush, "owner, watchers", "while a job runs"),
    "result": Told(ResultPush, "owner", "when an attempt succeeds, right behind its job"),
    "failed": Told(FailedPush, "owner", "when an attempt fails, right behind its job"),
    "queue": Told(Lane | LaneDeleted, "all", "when a queue is made, paused, resumed, changed or deleted"),
    "empty": Told(EmptyPush, "all", "when nothing is in line any more and nothing runs (setting when_empty_notify)"),
    "schedule": Told(SchedulePush, "owner, admins", "when a schedule is changed or fires"),
}
ANSWERS = {  # what REST answers with and no socket event holds
    "JobDetails": JobDetails,
    "JobList": JobList,
    "LaneList": LaneList,
    "ScheduleList": ScheduleList,
    "ScheduleDetails": ScheduleDetails,
    "Me": Me,
    "Token": Token,
    "Upload": Upload,
    "Problem": Problem,
    "Handshake": Handshake,
    "Refused": Refused,
}
