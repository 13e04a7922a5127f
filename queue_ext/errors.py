"""Everything the queue refuses or fails with. The docstring of a class is its message; its arguments fill it in.

``status`` is the HTTP status a door answers with, ``code`` the machine-readable name (contract, section 4).
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any


class QueueExtError(Exception):
    """The queue could not do this."""

    status = 400

    def __init__(self, **values: Any) -> None:
        self.values = values
        super().__init__(" ".join((self.__doc__ or "").format(**values).split()))

    @property
    def code(self) -> str:
        """``JobNotFound`` is ``job_not_found``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()

    @property
    def detail(self) -> str:
        return self.args[0]

    @property
    def title(self) -> str:
        """``JobNotFound`` is ``Job not found``."""
        return self.code.replace("_", " ").capitalize()

    @property
    def errors(self) -> list[dict[str, Any]]:
        """One ``{"loc": [...], "msg": "..."}`` for each field at fault."""
        return self.values.get("errors", [])


class JobNotFound(QueueExtError, LookupError):
    """Job {job_id} does not exist."""

    status = 404


class QueueNotFound(QueueExtError, LookupError):
    """Queue {queue} does not exist."""

    status = 404


class ScheduleNotFound(QueueExtError, LookupError):
    """Schedule {schedule_id} does not exist."""

    status = 404


class PictureNotFound(QueueExtError, LookupError):
    """Job {job_id} has no picture {number}."""

    status = 404


class RouteNotFound(QueueExtError, LookupError):
    """There is nothing at {path}; {docs} describes what there is."""

    status = 404


class MethodNotAllowed(QueueExtError, ValueError):
    """{method} is not allowed here; allowed is {allowed}"""

    status = 405


class InvalidRequest(QueueExtError, ValueError):
    """{summary}"""

    status = 422

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(summary=summary(errors), errors=errors)


@contextmanager
def placed(where: Callable[[list[Any]], list[Any]]) -> Iterator[None]:
    """Faults found inside the block stand in what was sent where ``where`` says, given their place in what was checked."""
    try:
        yield
    except InvalidRequest as error:
        raise InvalidRequest([{**fault, "loc": where(fault["loc"])} for fault in error.errors]) from None


def below(*place: "str | int") -> AbstractContextManager[None]:
    """Faults found inside the block stand below ``place`` in what was sent."""
    return placed(lambda loc: [*place, *loc])


def summary(faults: list[dict[str, Any]]) -> str:
    """The first few faults in one line, each behind its field."""
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults[:5])


def invalid(*loc: "str | int", msg: str) -> InvalidRequest:
    """One field at fault: ``invalid("payload", "width", msg="must be …")``."""
    return InvalidRequest([{"loc": list(loc), "msg": msg}])


class IdempotencyKeyReused(QueueExtError, ValueError):
    """Idempotency key {key} was used for a different request less than 24 hours ago; a new request needs a new key."""

    status = 422


class UnexpectedState(QueueExtError, RuntimeError):
    """Job {job_id} is {state}; this needs it to be {expected}."""

    status = 409


class QueueNotEmpty(QueueExtError, RuntimeError):
    """Queue {queue} still holds {waiting} unfinished jobs; clear it first."""

    status = 409


class QueueIsPermanent(QueueExtError, RuntimeError):
    """Queue {queue} always exists and cannot be deleted."""

    status = 409


class NotAuthenticated(QueueExtError, PermissionError):
    """{reason}"""

    status = 401


class NotAllowed(QueueExtError, PermissionError):
    """{action} is for {who} only."""

    status = 403


class LimitReached(QueueExtError, RuntimeError):
    """Limit {limit} of {value} is reached; try again in {retry_after} s."""

    status = 429


class TooLarge(QueueExtError, ValueError):
    """The body is larger than {limit_mb} MB (setting max_payload_mb)."""

    status = 413


class RangeNotSatisfiable(QueueExtError, ValueError):
    """Range {range} lies outside the {size} bytes of this picture."""

    status = 416


class StorageUnavailable(QueueExtError, OSError):
    """The queue cannot store this now: {reason}. Nothing was changed; try again later."""

    status = 503


class PipelineUnavailable(QueueExtError, ConnectionError):
    """{pipeline} is not reachable: {reason}. The job keeps waiting."""

    status = 503


class WaitTimeout(QueueExtError, TimeoutError):
    """Job {job_id} did not finish within {seconds} s; it goes on and can be found at {url}."""

    status = 504


class JobFailed(QueueExtError, RuntimeError):
    """Job {job_id} ended as {state}: {reason}"""

    status = 500


class LeaseLost(QueueExtError, RuntimeError):
    """Job {job_id} is no longer held by lease {lease}: another worker has it or it was cancelled."""

    status = 409


class FilterFailed(QueueExtError, RuntimeError):
    """A filter failed at {moment}: {error}. Nothing was changed."""

    status = 500


class FilterBroken(QueueExtError, ValueError):
    """The filter {name} cannot be used: {error}."""


class InvalidSetting(QueueExtError, ValueError):
    """{name}={value!r} is not valid: {allowed}."""


class DatabaseTooNew(QueueExtError, RuntimeError):
    """The database holds schema {found}, this version knows {known}: update the extension or use another database."""


class SchemaMissing(QueueExtError, RuntimeError):
    """The database at {url} has no queue tables and prepare_schema is off: run `python -m queue_ext migrate` once."""


class RequestRefused(QueueExtError, ValueError):
    """{reason}"""

    # Raised by a pipeline when an attempt cannot get better by trying again.
    status = 422
