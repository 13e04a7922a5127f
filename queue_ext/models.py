"""What is stored: the states of a job with their transitions, and the tables.

The classes describe; ``store.tables`` clones their tables under the configured prefix. Times are seconds since the
epoch, UTC. Values are JSON as text, never pickles. Annotations are read at run time, so no postponed evaluation here.
"""

from datetime import datetime, timedelta, timezone
from enum import Enum

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, String, Text
from sqlalchemy.dialects.mysql import DOUBLE, LONGTEXT, VARCHAR
from sqlalchemy.types import TypeEngine
from sqlmodel import Field, SQLModel

LAST_MOMENT = 253402300799.0  # seconds since the epoch at the end of the year 9999, the last that can be shown
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def moment_of(seconds: float) -> datetime:
    """Seconds since the epoch as a date and time in UTC; ``fromtimestamp`` ends at the year 3000 on Windows."""
    return EPOCH + timedelta(seconds=seconds)


def is_name(text: str) -> bool:
    """Whether a text may be an id, a lane or a hash. Databases refuse to look for what they could not store."""
    return text.isascii() and "\0" not in text


def is_text(text: str) -> bool:
    """Whether a text may stand in a column: PostgreSQL takes no NUL, no database half a surrogate pair."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text))


class State(str, Enum):
    """The seven states of a job, named as Hangfire names them (contract, section 2)."""

    SCHEDULED = "scheduled"  # waits for run_at: a delay, or a retry's back-off
    AWAITING = "awaiting"  # waits for its parent jobs
    ENQUEUED = "enqueued"  # waits for a worker
    PROCESSING = "processing"  # a worker runs it under a lease
    SUCCEEDED = "succeeded"  # done, pictures stored
    FAILED = "failed"  # out of attempts
    DELETED = "deleted"  # cancelled, or its parents cannot finish as required

    def __str__(self) -> str:
        return self.value


WAITING = (State.SCHEDULED, State.AWAITING, State.ENQUEUED)
UNFINISHED = (*WAITING, State.PROCESSING)
FINISHED = (State.SUCCEEDED, State.FAILED, State.DELETED)
EXPIRING = (State.SUCCEEDED, State.DELETED)

TRANSITIONS: dict[State | None, frozenset[State]] = {
    None: frozenset({State.SCHEDULED, State.AWAITING, State.ENQUEUED}),
    State.SCHEDULED: frozenset({State.ENQUEUED, State.DELETED}),
    State.AWAITING: frozenset({State.ENQUEUED, State.DELETED}),
    State.ENQUEUED: frozenset({State.PROCESSING, State.SCHEDULED, State.DELETED}),
    State.PROCESSING: frozenset({State.SUCCEEDED, State.FAILED, State.SCHEDULED, State.ENQUEUED, State.DELETED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset({State.ENQUEUED, State.DELETED}),
    State.DELETED: frozenset({State.ENQUEUED}),
}


def name_type(length: int) -> TypeEngine:
    """Names and keys compare byte by byte on every database: their order is an order, not a dictionary's."""
    return (
        String(length)
        .with_variant(String(length, collation="C"), "postgresql")
        .with_variant(VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
    )


def text_type(length: int) -> TypeEngine:
    """Short text in any script."""
    return String(length).with_variant(VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")


def long_type() -> TypeEngine:
    """Text without a limit worth naming (MariaDB's own TEXT ends at 64 KB)."""
    return Text().with_variant(LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")


def time_type() -> TypeEngine:
    return Double().with_variant(DOUBLE(asdecimal=False), "mysql", "mariadb")


def _name(length: int, **options) -> Column:
    return Column(name_type(length), **{"nullable": False, **options})


def _text(length: int, **options) -> Column:
    return Column(text_type(length), **{"nullable": False, **options})


def _long(**options) -> Column:
    return Column(long_type(), **{"nullable": False, **options})


def _time(**options) -> Column:
    return Column(time_type(), **{"nullable": False, **options})


class Job(SQLModel, table=True):
    """The row that is scanned; what is large stands in ``JobBody``."""

    __tablename__ = "job"
    __table_args__ = (
        Index("job_line", "queue", "state", "order_key", "work", "owner", "id"),  # all that a whole line is asked for
        Index("job_turn", "owner", "state", "queue", "order_key"),
        Index("job_owner", "owner", "state", "id"),
        Index("job_state", "state", "id"),
        Index("job_due", "state", "run_at"),
        Index("job_expiry", "expires_at"),
        Index("job_bookmark", "bookmarked", "id"),
        Index("job_schedule", "schedule_id", "id"),
        Index("job_slot", "schedule_id", "slot", unique=True),
        Index("job_patience", "ttl_at"),
        Index("job_concurrency", "concurrency_key", "state"),
    )

    id: str = Field(sa_column=_name(32, primary_key=True))  # sorts by arrival
    queue: str = Field(sa_column=_name(32))
    task: str = Field(sa_column=_text(120))
    name: str | None = Field(sa_column=_text(200, nullable=True))
    prompt: str = Field(sa_column=_text(2000))  # its beginning, to show and to search
    owner: str = Field(sa_column=_text(200))
    state: str = Field(sa_column=_name(12))
    reason: str | None = Field(sa_column=_text(1000, nullable=True))
    priority: int = Field(sa_column=Column(Integer, nullable=False))
    order_key: str = Field(sa_column=_name(200))
    work: float = Field(sa_column=_time())  # seconds it is expected to take
    labels: str = Field(sa_column=_long())  # JSON list
    summary: str = Field(sa_column=_long())  # JSON: width, height, steps, images, checkpoint
    created_at: float = Field(sa_column=_time())
    run_at: float | None = Field(sa_column=_time(nullable=True))
    started_at: float | None = Field(sa_column=_time(nullable=True))
    finished_at: float | None = Field(sa_column=_time(nullable=True))
    expires_at: float | None = Field(sa_column=_time(nullable=True))
    attempt: int = Field(sa_column=Column(Integer, nullable=False))
    retry_attempts: int | None = Field(sa_column=Column(Integer, nullable=True))
    retry_delay_s: float | None = Field(sa_column=_time(nullable=True))
    timeout_s: float | None = Field(sa_column=_time(nullable=True))
    lease: int = Field(sa_column=Column(Integer, nullable=False))  # grows with every claim and fences late writers
    lease_until: float | None = Field(sa_column=_time(nullable=True))
    worker_id: str | None = Field(sa_column=_name(32, nullable=True))
    crashes: int = Field(sa_column=Column(Integer, nullable=False))
    cancel_at: float | None = Field(sa_column=_time(nullable=True))  # when somebody asked the running job to stop
    bookmarked: bool = Field(sa_column=Column(Boolean, nullable=False))
    error: str | None = Field(sa_column=_long(nullable=True))  # JSON: type, message, attempt
    after_on: str | None = Field(sa_column=_name(12, nullable=True))  # how its parents must end
    schedule_id: str | None = Field(sa_column=_name(32, nullable=True))
    slot: float | None = Field(sa_column=_time(nullable=True))  # the moment of the schedule it was made for
    ttl_at: float | None = Field(sa_column=_time(nullable=True))  # when it has waited too long
    concurrency_key: str | None = Field(sa_column=_text(200, nullable=True))  # never two of these at once
    parameters: str | None = Field(sa_column=_long(nullable=True))  # JSON: what filters keep from moment to moment
    effort: str | None = Field(sa_column=_long(nullable=True))  # JSON: what decides how long it takes


class JobParent(SQLModel, table=True):
    """A job that another one waits for; ``number`` is its place in ``after``."""

    __tablename__ = "job_parent"
    __table_args__ = (Index("job_parent_parent", "parent_id"),)

    job_id: str = Field(sa_column=_name(32, primary_key=True))
    number: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    parent_id: str = Field(sa_column=_name(32))


class Schedule(SQLModel, table=True):
    """A recurring definition: when, and what to enqueue then."""

    __tablename__ = "schedule"
    __table_args__ = (
        Index("schedule_name", "owner", "name", unique=True),
        Index("schedule_due", "enabled", "next_run_at"),
    )

    id: str = Field(sa_column=_name(32, primary_key=True))
    name: str = Field(sa_column=_text(120))
    owner: str = Field(sa_column=_text(200))
    cron: str = Field(sa_column=_text(200))
    timezone: str = Field(sa_column=_text(64))
    template: str = Field(sa_column=_long())  # JSON: a request as for POST /jobs
    enabled: bool = Field(sa_column=Column(Boolean, nullable=False))
    reason: str | None = Field(sa_column=_text(1000, nullable=True))  # why it is off, or what went wrong last
    misfire: str = Field(sa_column=_name(8))
    overlap: str = Field(sa_column=_name(8))
    seed: str = Field(sa_column=_name(8))
    jitter_s: float = Field(sa_column=_time())
    end_at: float | None = Field(sa_column=_time(nullable=True))
    max_runs: int | None = Field(sa_column=Column(Integer, nullable=True))
    runs: int = Field(sa_column=Column(Integer, nullable=False))
    next_run_at: float | None = Field(sa_column=_time(nullable=True))
    last_run_at: float | None = Field(sa_column=_time(nullable=True))
    created_at: float = Field(sa_column=_time())
    updated_at: float = Field(sa_column=_time())


class Usage(SQLModel, table=True):
    """What an owner has used of a limit within a span: ``day:<epoch day>``, ``minute:<epoch minute>``."""

    __tablename__ = "usage"
    __table_args__ = (Index("usage_age", "ends_at"),)

    owner: str = Field(sa_column=_text(200, primary_key=True))
    span: str = Field(sa_column=_name(32, primary_key=True))
    used: int = Field(sa_column=Column(Integer, nullable=False))
    ends_at: float = Field(sa_column=_time())


class JobBody(SQLModel, table=True):
    """The large values of a job."""

    __tablename__ = "job_body"

    job_id: str = Field(sa_column=_name(32, primary_key=True))
    payload: str = Field(sa_column=_long())
    result: str | None = Field(sa_column=_long(nullable=True))  # JSON: info, parameters


class JobFile(SQLModel, table=True):
    """A file a job owns: an input of its payload or a picture it made."""

    __tablename__ = "job_file"
    __table_args__ = (Index("job_file_content", "sha256"),)

    job_id: str = Field(sa_column=_name(32, primary_key=True))
    role: str = Field(sa_column=_name(8, primary_key=True))  # input or picture
    number: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    sha256: str = Field(sa_column=_name(64))
    mime: str = Field(sa_column=_name(32))
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    width: int = Field(sa_column=Column(Integer, nullable=False))
    height: int = Field(sa_column=Column(Integer, nullable=False))
    seed: str | None = Field(sa_column=_name(24, nullable=True))  # up to 2**64, more than any database's integer
    infotext: str = Field(sa_column=_long())


class JobLabel(SQLModel, table=True):
    """A label of a job, to find it by."""

    __tablename__ = "job_label"
    __table_args__ = (Index("job_label_job", "job_id"),)

    label: str = Field(sa_column=_text(64, primary_key=True))
    job_id: str = Field(sa_column=_name(32, primary_key=True))


class JobHistory(SQLModel, table=True):
    """One state a job was in, and why."""

    __tablename__ = "job_history"
    __table_args__ = (Index("job_history_job", "job_id", "id"),)

    id: int = Field(
        sa_column=Column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True)
    )
    job_id: str = Field(sa_column=_name(32))
    state: str = Field(sa_column=_name(12))
    reason: str | None = Field(sa_column=_text(1000, nullable=True))
    at: float = Field(sa_column=_time())
    data: str = Field(sa_column=_long())  # JSON


class LogEvent(SQLModel, table=True):
    """The event log. ``seq`` is handed out last in each transaction, so that it grows in the order of the commits."""

    __tablename__ = "event"
    __table_args__ = (Index("event_owner", "owner", "seq"),)

    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    at: float = Field(sa_column=_time())
    kind: str = Field(sa_column=_name(32))
    owner: str = Field(sa_column=_text(200))
    job_id: str | None = Field(sa_column=_name(32, nullable=True))
    queue: str | None = Field(sa_column=_name(32, nullable=True))
    data: str = Field(sa_column=_long())  # JSON


class Queue(SQLModel, table=True):
    """A lane and what it says about retries and time limits; None leaves it to the settings."""

    __tablename__ = "queue"

    name: str = Field(sa_column=_name(32, primary_key=True))
    paused: bool = Field(sa_column=Column(Boolean, nullable=False))
    pause_reason: str | None = Field(sa_column=_text(500, nullable=True))
    retry_attempts: int | None = Field(sa_column=Column(Integer, nullable=True))
    retry_delay_s: float | None = Field(sa_column=_time(nullable=True))
    retry_delay_max_s: float | None = Field(sa_column=_time(nullable=True))
    timeout_s: float | None = Field(sa_column=_time(nullable=True))
    created_at: float = Field(sa_column=_time())


class Turn(SQLModel, table=True):
    """The fair turn of the job that started last, by queue and priority: where a newcomer's turns begin."""

    __tablename__ = "turn"

    queue: str = Field(sa_column=_name(32, primary_key=True))
    priority: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    turn: int = Field(sa_column=Column(BigInteger, nullable=False))


class Worker(SQLModel, table=True):
    """A process that runs jobs. ``host``, ``pid`` and ``born`` name it beyond doubt: process ids come again."""

    __tablename__ = "worker"

    id: str = Field(sa_column=_name(32, primary_key=True))
    host: str = Field(sa_column=_text(255))
    pid: int = Field(sa_column=Column(Integer, nullable=False))
    born: float = Field(sa_column=_time())
    pipeline: str = Field(sa_column=_text(200))
    queues: str = Field(sa_column=_long())  # JSON list; empty: all of them
    started_at: float = Field(sa_column=_time())
    heartbeat_at: float = Field(sa_column=_time())
    lease_s: float = Field(sa_column=_time())  # how long its silence is to be borne
    job_id: str | None = Field(sa_column=_name(32, nullable=True))
    progress: str | None = Field(sa_column=_long(nullable=True))  # JSON


class Counter(SQLModel, table=True):
    """A running count: jobs by queue and state (bucket 0), endings by hour and day, the last ``seq`` of the log."""

    __tablename__ = "counter"

    kind: str = Field(sa_column=_name(32, primary_key=True))
    queue: str = Field(sa_column=_name(32, primary_key=True))
    bucket: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    value: int = Field(sa_column=Column(BigInteger, nullable=False))


class Upload(SQLModel, table=True):
    """A picture somebody brought; the file is named by its content and shared by all who bring the same."""

    __tablename__ = "upload"
    __table_args__ = (Index("upload_content", "sha256"), Index("upload_age", "created_at"))

    owner: str = Field(sa_column=_text(200, primary_key=True))
    sha256: str = Field(sa_column=_name(64, primary_key=True))
    mime: str = Field(sa_column=_name(32))
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    width: int = Field(sa_column=Column(Integer, nullable=False))
    height: int = Field(sa_column=Column(Integer, nullable=False))
    created_at: float = Field(sa_column=_time())


class Idempotency(SQLModel, table=True):
    """Which job an owner's idempotency key stands for, and what the request looked like."""

    __tablename__ = "idempotency"
    __table_args__ = (Index("idempotency_age", "created_at"), Index("idempotency_job", "job_id"))

    owner: str = Field(sa_column=_text(200, primary_key=True))
    key: str = Field(sa_column=_text(200, primary_key=True))
    job_id: str = Field(sa_column=_name(32))
    digest: str = Field(sa_column=_name(64))
    created_at: float = Field(sa_column=_time())


class Delivery(SQLModel, table=True):
    """Something to be told to the world outside, and how that went; ``due_at`` is None once nothing is left to do."""

    __tablename__ = "delivery"
    __table_args__ = (Index("delivery_due", "due_at"), Index("delivery_job", "job_id"))

    id: str = Field(sa_column=_name(64, primary_key=True))
    job_id: str | None = Field(sa_column=_name(32, nullable=True))
    event: str = Field(sa_column=_name(32))
    reason: str | None = Field(sa_column=_text(1000, nullable=True))
    at: float = Field(sa_column=_time())
    url: str = Field(sa_column=_text(2000))
    secret: str = Field(sa_column=_text(200))
    tries: int = Field(sa_column=Column(Integer, nullable=False))
    due_at: float | None = Field(sa_column=_time(nullable=True))
    delivered_at: float | None = Field(sa_column=_time(nullable=True))
    error: str | None = Field(sa_column=_text(1000, nullable=True))  # why the last try did not arrive


class Measurement(SQLModel, table=True):
    """How long a job took on a machine, and what it was: what expectations are learnt from."""

    __tablename__ = "measurement"
    __table_args__ = (Index("measurement_machine", "machine", "id"),)

    id: int = Field(
        sa_column=Column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True)
    )
    machine: str = Field(sa_column=_text(200))
    at: float = Field(sa_column=_time())
    effort: str = Field(sa_column=_long())  # JSON
    seconds: float = Field(sa_column=_time())


class Secret(SQLModel, table=True):
    """The key that signs picture addresses, shared by all processes of a database."""

    __tablename__ = "secret"

    name: str = Field(sa_column=_name(32, primary_key=True))
    value: str = Field(sa_column=_name(64))


TABLES: tuple[type[SQLModel], ...] = (
    Job, JobParent, JobBody, JobFile, JobLabel, JobHistory, LogEvent, Queue, Schedule, Turn, Worker, Counter, Usage, Upload,
    Idempotency, Delivery, Measurement, Secret,
)  # fmt: skip
