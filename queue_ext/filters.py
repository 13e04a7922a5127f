"""Filters: what may look at a job, change it or turn it away at five moments of its life (docs/filters.md).

Pluggy calls them, in the order they were registered with: the lowest ``order`` first. Ours are registered with a
``Filters`` of their own process, those of other extensions with ``register``, those of the administrator stand in the
file ``queue_filters.py`` of the data folder.
"""

import importlib.util
import json
import logging
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pluggy
from sqlalchemy.exc import DBAPIError

from .errors import FilterBroken, FilterFailed, InvalidRequest, QueueExtError, RequestRefused
from .models import LAST_MOMENT, TRANSITIONS, State, is_text

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from .pipelines import Result

log = logging.getLogger(__name__)

PROJECT = "queue_ext"
FILE = "queue_filters.py"  # of the data folder
REPLACEMENTS = (State.ENQUEUED, State.SCHEDULED, State.FAILED, State.DELETED)  # what needs no worker and no pictures
LASTING = ("error", "crashes", "parameters")  # what a candidate wanted to set and its replacement sets as well

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Row = Mapping[str, Any]


class Moment:
    """What a filter is handed: the job as it is, and what filters have kept of it so far.

    ``job`` has the columns of the table (id, queue, task, owner, name, priority, state, attempt, ...).
    """

    def __init__(self, job: Row) -> None:
        self.job = job
        self._parameters: dict[str, Any] | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """Values of JSON by name, kept with the job from this moment on. Change it in place."""
        if self._parameters is None:
            self._parameters = json.loads(self.job.get("parameters") or "{}")
        return self._parameters

    def changed_parameters(self) -> str | None:
        """The parameters as they are stored, if a filter changed them. Raises ValueError for what JSON cannot say."""
        if self._parameters is None or self._parameters == json.loads(self.job.get("parameters") or "{}"):
            return None
        try:
            return json.dumps(self._parameters, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"parameters must be values of JSON: {error}") from None


class Creation(Moment):
    """A request at the door, before it is checked and stored. ``request`` is as in POST /jobs and may be changed.

    Where somebody gives a waiting job another payload, ``job`` is that job and ``request`` has its task and the new
    payload; else ``job`` is empty.
    """

    def __init__(self, owner: str, request: dict[str, Any], job: Row | None = None) -> None:
        super().__init__(job or {})
        self.owner = owner
        self.request = request

    @property
    def payload(self) -> dict[str, Any]:
        return self.request["payload"]

    def refuse(self, why: str, *field: str) -> NoReturn:
        """Turn the request away with a 422 that names ``field``, such as ``"payload", "prompt"``."""
        raise InvalidRequest([{"loc": list(field) or ["body"], "msg": why}])


class Election(Moment):
    """A job about to enter the state ``candidate``; ``previous`` is None for a new one. Inside the transaction."""

    def __init__(
        self,
        job: Row,
        previous: State | None,
        candidate: State,
        reason: str | None,
        data: Mapping[str, Any],
        columns: Mapping[str, Any],
        final: bool = False,
    ) -> None:
        super().__init__(job)
        self.previous = previous
        self.candidate = candidate
        self.reason = reason
        self.data = dict(data)
        self.columns = dict(columns)
        self.final = final  # trying again is pointless
        self.replaced: list[tuple[State, str | None, dict[str, Any]]] = []

    def replace(self, state: State | str, reason: str, run_at: float | None = None) -> None:
        """Elect another state; the one it replaces enters the job's history all the same.

        ``run_at`` (seconds since the epoch) goes with ``scheduled``. Raises ValueError for a state the job cannot enter.
        """
        to = State(state)
        if to not in TRANSITIONS[self.previous] or to not in REPLACEMENTS:
            allowed = sorted(str(other) for other in TRANSITIONS[self.previous] if other in REPLACEMENTS)
            raise ValueError(f"a job that is {self.previous or 'new'} can be made {' or '.join(allowed)}, not {to}")
        if (to == State.SCHEDULED) != (run_at is not None):
            raise ValueError("run_at goes with the state scheduled, and only with it")
        if run_at is not None and not 0 <= run_at <= LAST_MOMENT:
            raise ValueError(f"run_at must be seconds since the epoch, at most {LAST_MOMENT:.0f}")
        if not is_text(reason):
            raise ValueError("the reason must be Unicode text without NUL characters and lone surrogates")
        self.replaced.append((self.candidate, self.reason, self.data))
        lasting = {name: value for name, value in self.columns.items() if name in LASTING}
        self.columns = {**lasting, "run_at": run_at}
        self.data = {key: value for key, value in self.data.items() if key in ("attempt", "error")}
        if run_at is not None:
            self.data["run_at"] = run_at
        self.candidate, self.reason = to, reason[:1000]


class Application(Moment):
    """A job that has just entered ``state``. Inside the transaction: what raises here undoes all of it.

    Statements executed on ``connection`` are committed together with the state, or not at all.
    """

    def __init__(self, election: Election, change: Any) -> None:
        super().__init__({**election.job, **election.columns, "state": election.candidate.value})
        self.state = election.candidate
        self.previous = election.previous
        self.reason = election.reason
        self.data = election.data
        self.at: float = change.now
        self.change = change  # for our own filters: counters, events, children

    @property
    def connection(self) -> "Connection":
        return self.change.conn


class Run(Moment):
    """An attempt in the worker's thread. Before: ``payload`` as the pipeline will get it, to be changed.
    After: what it made or raised; ``result`` may be replaced, ``stopped`` says why it was told to stop, if it was.
    """

    def __init__(self, job: Row) -> None:
        super().__init__(job)
        self.payload: dict[str, Any] = {}
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.stopped: str | None = None

    def refuse(self, why: str) -> NoReturn:
        """Fail the job for good: trying again would be pointless."""
        raise RequestRefused(reason=why)


class Specification:
    """The five moments."""

    @hookspec
    def job_creating(self, creation: Creation) -> None:
        """A request has come in and is about to be checked."""

    @hookspec
    def state_electing(self, election: Election) -> None:
        """A job is about to enter a state."""

    @hookspec
    def state_applied(self, application: Application) -> None:
        """A job has entered a state, and the transaction is about to be committed."""

    @hookspec
    def job_starting(self, run: Run) -> None:
        """An attempt is about to begin."""

    @hookspec
    def job_finished(self, run: Run) -> None:
        """An attempt has ended, and how is about to be written down."""


class Filters:
    """The filters of one queue. What they raise leaves as FilterFailed, or as it is where it is a refusal of ours."""

    def __init__(self) -> None:
        self._own: dict[str, tuple[float, Any]] = {}
        self._file: dict[str, tuple[float, Any]] = {}
        self._suspended = threading.local()
        self.refresh()
        _running.add(self)

    def add(self, plugin: Any, order: float) -> None:
        """One of ours: it takes part even where the others are suspended."""
        self._own[type(plugin).__name__] = (order, plugin)
        self.refresh()

    def remove(self, name: str) -> None:
        """Do without one of ours."""
        self._own.pop(name, None)
        self.refresh()

    def load(self, folder: Path) -> None:
        """Take the filters of the file ``queue_filters.py`` in, if there is one. Raises FilterBroken."""
        self._file = {FILE: _module(folder / FILE)} if (folder / FILE).is_file() else {}
        self.refresh()

    def refresh(self) -> None:
        """Read the registrations again."""
        with _guard:
            others = dict(_registered)
        self._ours = _manager(self._own)
        self._all = _manager({**self._own, **others, **self._file})

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """In this thread only our own take part: for what must happen although a filter fails."""
        self._suspended.on = True
        try:
            yield
        finally:
            self._suspended.on = False

    @property
    def names(self) -> list[str]:
        """Who takes part, in no order."""
        return sorted(str(name) for name, _plugin in self._all.list_name_plugin())

    @property
    def look_at_requests(self) -> bool:
        """Whether anybody wants to see requests at the door."""
        return bool(self._all.hook.job_creating.get_hookimpls())

    def create(self, creation: Creation) -> str | None:
        """The parameters to be stored, where a filter set some."""
        self._call("job_creating", creation=creation)
        return self._parameters("job_creating", creation)

    def elect(self, election: Election) -> None:
        self._call("state_electing", election=election)
        parameters = self._parameters("state_electing", election)
        if parameters is not None:
            election.columns["parameters"] = parameters

    def apply(self, application: Application) -> str | None:
        """The parameters to be stored, where a filter changed them."""
        self._call("state_applied", application=application)
        return self._parameters("state_applied", application)

    def start(self, run: Run) -> None:
        self._call("job_starting", run=run)

    def finish(self, run: Run) -> str | None:
        """The parameters to be stored, where a filter changed them."""
        self._call("job_finished", run=run)
        return self._parameters("job_finished", run)

    def _parameters(self, moment: str, told: Moment) -> str | None:
        try:
            return told.changed_parameters()
        except ValueError as error:
            raise FilterFailed(moment=moment, error=str(error)) from None

    def _call(self, moment: str, **told: Moment) -> None:
        manager = self._ours if getattr(self._suspended, "on", False) else self._all
        try:
            getattr(manager.hook, moment)(**told)
        except (QueueExtError, DBAPIError):
            raise
        except Exception as error:
            log.exception("a filter failed at %s", moment)
            said = " ".join(str(error).split())[:500]
            raise FilterFailed(moment=moment, error=f"{type(error).__name__}: {said}") from error


def register(plugin: Any, name: str | None = None, order: float = 0) -> str:
    """Take part in every queue of this process: ``plugin`` is an object or module with functions marked ``hookimpl``.

    The lowest ``order`` comes first; ours have 20 (retry) and more than 900. A name that is registered already is
    replaced, so that an extension that is loaded again takes its own place. Returns the name. Raises FilterBroken.
    """
    chosen = name or getattr(plugin, "__name__", None) or type(plugin).__name__
    _manager({chosen: (order, plugin)})  # says what is wrong before anybody runs into it
    with _guard:
        _registered[chosen] = (order, plugin)
    _refresh_all()
    return chosen


def unregister(name: str) -> None:
    """Take part no longer; a name that is not registered is none."""
    with _guard:
        _registered.pop(name, None)
    _refresh_all()


def _refresh_all() -> None:
    for filters in list(_running):
        filters.refresh()


def _manager(plugins: Mapping[str, tuple[float, Any]]) -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Specification)
    ordered = sorted(plugins.items(), key=lambda item: -item[1][0])  # pluggy calls the last one first
    for name, (_order, plugin) in ordered:
        try:
            manager.register(plugin, name)
            manager.check_pending()
        except (ValueError, pluggy.PluginValidationError) as error:
            raise FilterBroken(name=name, error=" ".join(str(error).split())) from error
        if not manager.get_hookcallers(plugin):
            raise FilterBroken(name=name, error="nothing in it is marked with queue_ext.filters.hookimpl")
    return manager


def _module(path: Path) -> tuple[float, Any]:
    """The administrator's file, executed anew; its ``ORDER`` says when it comes. Raises FilterBroken."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
        found = (float(getattr(module, "ORDER", 0)), module)
        _manager({FILE: found})
    except FilterBroken:
        raise
    except Exception as error:
        raise FilterBroken(name=str(path), error=f"{type(error).__name__}: {error}") from error
    return found


_guard = threading.Lock()
_registered: dict[str, tuple[float, Any]] = {}
_running: "weakref.WeakSet[Filters]" = weakref.WeakSet()

__all__ = ["Application", "Creation", "Election", "Filters", "Run", "State", "hookimpl", "register", "unregister"]
