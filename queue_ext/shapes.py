"""What comes in at the doors: requests and their limits. Annotations are read at run time on pydantic 1.10."""

import re
from datetime import datetime
from typing import Any, Literal, overload

from pydantic import Field, StrictBool, StrictStr

from .compat import PYDANTIC_2, Shape, checked, either
from .errors import InvalidRequest
from .models import LAST_MOMENT, is_text, moment_of
from .order import PRIORITY_LIMIT

if PYDANTIC_2:
    from pydantic import field_validator

    def check(*fields: str) -> Any:
        return field_validator(*fields)

else:
    from pydantic import validator

    def check(*fields: str) -> Any:
        return validator(*fields, allow_reuse=True)


TASKS = ("txt2img", "img2img", "extras")
LONGEST_DELAY = 366 * 86400.0  # seconds
LABELS_LIMIT = 20
BATCH_LIMIT = 1000
PARENTS_LIMIT = 100


def queue_name(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[a-z0-9_-]{1,32}", value):
        raise ValueError("must be 1 to 32 characters a-z, 0-9, _ or -")
    return value


def _seconds(value: Any, low: float, high: float) -> Any:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"must be a number from {low:.12g} to {high:.12g} (seconds)")
    return float(value)


def _whole(value: Any, low: int, high: int) -> Any:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"must be a whole number from {low} to {high}")
    return value


def _text(value: str | None, limit: int, least: int = 0) -> str | None:
    if value is not None and not least <= len(value) <= limit:
        raise ValueError(f"must be text of {least} to {limit} characters")
    if value is not None and not is_text(value):
        raise ValueError("must be Unicode text without NUL characters and lone surrogates")
    return value


def _label_list(value: list[str] | None) -> list[str] | None:
    if value is None:
        return None
    if len(value) > LABELS_LIMIT or not all(1 <= len(label) <= 64 and is_text(label) for label in value):
        raise ValueError(f"must be up to {LABELS_LIMIT} labels of 1 to 64 characters")
    return list(dict.fromkeys(value))


def task_name(value: str | None) -> str | None:
    if value is not None and value not in TASKS and not re.fullmatch(r"ui:[A-Za-z0-9_.:-]{1,100}", value):
        raise ValueError(f"must be {', '.join(TASKS)} or ui:<elem_id>")
    return value


def _one_of(value: str | None, *allowed: str) -> str | None:
    if value is not None and value not in allowed:
        raise ValueError(f"must be {either(allowed)}")
    return value


def moment(value: str | None) -> str | None:
    """An ISO 8601 time with its offset, such as 2026-11-22T09:30:00+01:00; checked, not changed."""
    if value is not None:
        to_epoch(value)
    return value


def to_epoch(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 time. Raises ValueError."""
    try:
        parsed = datetime.fromisoformat(re.sub(r"[Zz]$", "+00:00", text.strip()))
    except ValueError:
        raise ValueError("must be an ISO 8601 date and time with offset, such as 2026-11-22T09:30:00+01:00") from None
    if parsed.tzinfo is None:
        raise ValueError("must name its offset from UTC, such as 2026-11-22T09:30:00+01:00")
    moment = parsed.timestamp()
    if not 0 <= moment <= LAST_MOMENT:
        raise ValueError("must lie between the years 1970 and 9999 (UTC)")
    return moment


@overload
def from_epoch(seconds: float) -> str: ...
@overload
def from_epoch(seconds: float | None) -> str | None: ...
def from_epoch(seconds: float | None) -> str | None:
    """ISO 8601 in UTC with milliseconds."""
    if seconds is None:
        return None
    return moment_of(seconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Retry(Shape):
    """How often a failed attempt is tried again, and after how long."""

    attempts: Any | None = checked(type="integer", minimum=0, maximum=100)
    delay_s: Any | None = checked("Seconds before the first; doubles.", type="number", minimum=0, maximum=86400)

    @check("attempts")
    def _attempts(cls, value: Any) -> Any:
        return _whole(value, 0, 100)

    @check("delay_s")
    def _delay(cls, value: Any) -> Any:
        return _seconds(value, 0, 86400)


class Webhook(Shape):
    """Where to tell of the end of a job, and the secret that proves who tells."""

    url: StrictStr = Field(..., description="An http(s) address on a host that the setting webhook_hosts names.")
    secret: StrictStr = Field(..., description="Signs what is sent; 8 to 200 characters.")

    @check("secret")
    def _secret(cls, value: Any) -> Any:
        return _text(value, 200, 8)


class JobChanges(Shape):
    """What may be said of a job in any request."""

    queue: StrictStr | None = Field(None, description="The lane; made when it is new.")
    priority: Any | None = checked(
        "Higher runs first.", type="integer", minimum=-PRIORITY_LIMIT, maximum=PRIORITY_LIMIT
    )
    name: StrictStr | None = None
    labels: list[StrictStr] | None = None
    run_at: StrictStr | None = Field(None, description="ISO 8601 with offset: not before this time.")

    @check("queue")
    def _queue(cls, value: Any) -> Any:
        return queue_name(value)

    @check("priority")
    def _priority(cls, value: Any) -> Any:
        return _whole(value, -PRIORITY_LIMIT, PRIORITY_LIMIT)

    @check("name")
    def _name(cls, value: Any) -> Any:
        return _text(value, 200)

    @check("labels")
    def _labels(cls, value: Any) -> Any:
        return _label_list(value)

    @check("run_at")
    def _run_at(cls, value: Any) -> Any:
        return moment(value)


class JobSettings(JobChanges):
    """What may be said of a job when it is made."""

    delay_s: Any | None = checked(
        "Seconds to wait before it may run; instead of run_at.",
        type="number",
        minimum=0,
        maximum=LONGEST_DELAY,
    )
    retry: Retry | None = None
    webhook: Webhook | None = Field(None, description="Told when the job has succeeded, failed or been deleted.")
    timeout_s: Any | None = checked("Longest an attempt may run, seconds.", type="number", minimum=1, maximum=604800)
    idempotency_key: StrictStr | None = Field(None, description="The same key gives the same job for 24 h.")
    after: list[Any] | None = checked(
        "Jobs it waits for: ids, or in a batch the numbers (from 0) of requests before it.",
        type="array", items={"anyOf": [{"type": "string"}, {"type": "integer"}]}, minItems=1, maxItems=PARENTS_LIMIT,
    )  # fmt: skip
    after_on: StrictStr | None = checked(
        "How they must end: succeeded (default), finished or deleted.",
        type="string",
        enum=["succeeded", "finished", "deleted"],
    )
    ttl_s: Any | None = checked(
        "Seconds it may wait before it is given up.", type="number", minimum=1, maximum=LONGEST_DELAY
    )
    concurrency_key: StrictStr | None = Field(None, description="Never two jobs with the same key at once.")

    @check("delay_s")
    def _delay(cls, value: Any) -> Any:
        return _seconds(value, 0, LONGEST_DELAY)

    @check("timeout_s")
    def _timeout(cls, value: Any) -> Any:
        return _seconds(value, 1, 604800)

    @check("after")
    def _after(cls, value: Any) -> Any:
        fits = all(isinstance(one, str) or (isinstance(one, int) and not isinstance(one, bool)) for one in value or ())
        if value is not None and not (fits and 1 <= len(value) <= PARENTS_LIMIT):
            raise ValueError(f"must be 1 to {PARENTS_LIMIT} job ids (in a batch also numbers of requests before it)")
        return value if value is None else list(dict.fromkeys(value))

    @check("after_on")
    def _after_on(cls, value: Any) -> Any:
        return _one_of(value, "succeeded", "finished", "deleted")

    @check("ttl_s")
    def _ttl(cls, value: Any) -> Any:
        return _seconds(value, 1, LONGEST_DELAY)

    @check("concurrency_key")
    def _concurrency(cls, value: Any) -> Any:
        return _text(value, 200, 1)

    @check("idempotency_key")
    def _key(cls, value: Any) -> Any:
        return _text(value, 200, 1)


class JobRequest(JobSettings):
    """A request for pictures: what to run and how."""

    task: StrictStr = Field(..., description="txt2img, img2img or extras.")
    payload: dict[str, Any] = Field(..., description="As the WebUI's own /sdapi/v1/<task> takes it.")

    @check("task")
    def _task(cls, value: Any) -> Any:
        return task_name(value)

    if PYDANTIC_2:
        model_config = {
            "extra": "forbid",
            "json_schema_extra": {
                "example": {"task": "txt2img", "payload": {"prompt": "a lighthouse at dusk", "steps": 20}}
            },
        }


class Clone(JobSettings):
    """What is to differ in a copy of a job; ``payload`` fields are laid over the original's."""

    task: StrictStr | None = None
    payload: dict[str, Any] | None = None


class Patch(JobChanges):
    """What is to change in a job."""

    bookmarked: StrictBool | None = None
    payload: dict[str, Any] | None = None


class Batch(Shape):
    """Several requests, all or none of which are accepted."""

    jobs: list[Any] = Field(..., description=f"1 to {BATCH_LIMIT} requests as for POST /jobs.")

    @check("jobs")
    def _jobs(cls, value: Any) -> Any:
        if not 1 <= len(value) <= BATCH_LIMIT:
            raise ValueError(f"must be a list of 1 to {BATCH_LIMIT} requests, not {len(value)}")
        return value


class Move(Shape):
    """Where a waiting job is to go; exactly one of the three."""

    to: Literal["front", "back"] | None = None
    before: StrictStr | None = None
    after: StrictStr | None = None

    def place(self) -> dict[str, str]:
        """The one that was given. Raises InvalidRequest."""
        places = {
            name: value for name, value in (("to", self.to), ("before", self.before), ("after", self.after)) if value
        }
        if len(places) != 1:
            raise InvalidRequest(
                [{"loc": ["to"], "msg": 'give exactly one of "to" (front or back), "before" or "after" (a job id)'}]
            )
        return places


class ActionFilter(Shape):
    """Which jobs an action is for."""

    state: list[StrictStr] | None = None
    queue: StrictStr | None = None
    task: StrictStr | None = None
    label: StrictStr | None = None
    q: StrictStr | None = None
    bookmarked: StrictBool | None = None

    @check("queue")
    def _queue(cls, value: Any) -> Any:
        return queue_name(value)

    @check("task")
    def _task(cls, value: Any) -> Any:
        return task_name(value)


class Action(Shape):
    """One thing done to many jobs, named by ids or found by a filter."""

    action: Literal["cancel", "requeue", "delete", "bookmark", "unbookmark", "prioritise", "label", "unlabel", "move"]
    ids: list[StrictStr] | None = None
    filter: ActionFilter | None = None
    priority: Any | None = Field(None, description="For prioritise: as in a request.")
    labels: list[StrictStr] | None = Field(None, description="For label and unlabel: what to add or take away.")
    place: Move | None = Field(None, description="For move: where all of them go, in the order of ids.")

    @check("ids")
    def _ids(cls, value: Any) -> Any:
        if value is not None and len(value) > 10_000:
            raise ValueError("must be at most 10000 ids")
        return value

    @check("priority")
    def _priority(cls, value: Any) -> Any:
        return _whole(value, -PRIORITY_LIMIT, PRIORITY_LIMIT)

    @check("labels")
    def _labels(cls, value: Any) -> Any:
        return _label_list(value)


class QueueChanges(Shape):
    """What a lane says about retries and time limits; null leaves it to the settings."""

    paused: StrictBool | None = None
    retry_attempts: Any | None = checked(type="integer", minimum=0, maximum=100)
    retry_delay_s: Any | None = checked(type="number", minimum=0, maximum=86400)
    retry_delay_max_s: Any | None = checked(type="number", minimum=0, maximum=86400)
    timeout_s: Any | None = checked(type="number", minimum=1, maximum=604800)

    @check("retry_attempts")
    def _attempts(cls, value: Any) -> Any:
        return _whole(value, 0, 100)

    @check("retry_delay_s", "retry_delay_max_s")
    def _delay(cls, value: Any) -> Any:
        return _seconds(value, 0, 86400)

    @check("timeout_s")
    def _timeout(cls, value: Any) -> Any:
        return _seconds(value, 1, 604800)


class SchedulePreview(Shape):
    """A cron expression to be put in words."""

    cron: StrictStr
    timezone: StrictStr = "UTC"


class ScheduleChanges(Shape):
    """What may be changed in a schedule."""

    name: StrictStr | None = None
    cron: StrictStr | None = Field(None, description="Five fields, or a macro such as @daily. 0 and 7 are Sunday.")
    timezone: StrictStr | None = Field(None, description="An IANA zone such as Europe/Berlin.")
    template: dict[str, Any] | None = Field(None, description="A request as for POST /jobs.")
    enabled: StrictBool | None = None
    misfire: StrictStr | None = checked(
        "Runs that were missed: once (default), all or skip.", type="string", enum=["once", "all", "skip"]
    )
    overlap: StrictStr | None = checked(
        "While the run before has not ended: allow (default), skip or queue.",
        type="string",
        enum=["allow", "skip", "queue"],
    )
    seed: StrictStr | None = checked(
        "fixed (default): the template's; random; counting: one more each run.",
        type="string",
        enum=["fixed", "random", "counting"],
    )
    jitter_s: Any | None = checked(
        "Start up to this many seconds later, by chance.", type="number", minimum=0, maximum=86400
    )
    end_at: StrictStr | None = Field(None, description="ISO 8601 with offset: no run after this time.")
    max_runs: Any | None = checked(type="integer", minimum=1, maximum=1_000_000)

    @check("name")
    def _name(cls, value: Any) -> Any:
        return _text(value, 120, 1)

    @check("misfire")
    def _misfire(cls, value: Any) -> Any:
        return _one_of(value, "once", "all", "skip")

    @check("overlap")
    def _overlap(cls, value: Any) -> Any:
        return _one_of(value, "allow", "skip", "queue")

    @check("seed")
    def _seed(cls, value: Any) -> Any:
        return _one_of(value, "fixed", "random", "counting")

    @check("jitter_s")
    def _jitter(cls, value: Any) -> Any:
        return _seconds(value, 0, 86400)

    @check("end_at")
    def _end_at(cls, value: Any) -> Any:
        return moment(value)

    @check("max_runs")
    def _max_runs(cls, value: Any) -> Any:
        return _whole(value, 1, 1_000_000)


class ScheduleRequest(ScheduleChanges):
    """A recurring definition: when, and what."""

    name: StrictStr
    cron: StrictStr
    template: dict[str, Any]
    timezone: StrictStr = "UTC"
    enabled: StrictBool = True
    misfire: StrictStr = "once"
    overlap: StrictStr = "allow"
    seed: StrictStr = "fixed"
    jitter_s: Any = 0
