"""Socket.IO: events in, pushes out. The one place where threads meet the event loop, with one emitter task.

Threads leave notes (``Mailbox``); the emitter picks them up in the loop, reads what it needs in a worker thread and
sends. News (``job``, ``result``, ``failed``, ``removed``) follow the event log; states (positions, counts, progress)
are only ever sent as the latest.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any

import socketio

from .compat import parse
from .errors import InvalidRequest, QueueExtError, invalid
from .events import Event, JobChanged, JobRemoved, QueueChanged, QueueEmptied, ScheduleChanged
from .identity import Identity, Owner, Visitor
from .models import FINISHED, State
from .queue import LIVE_LIMIT, JobQueue
from .rest.doors import work
from .rest.problems import problem
from .rest.queues import lane_json
from .shapes import JobRequest, Move, from_epoch
from .store import DEFAULT_QUEUE
from .texts import language
from .views import Row

log = logging.getLogger(__name__)

NAMESPACE = "/queue"
POSITIONS_INTERVAL = 0.25  # seconds between two messages of positions to one browser
GATHER = 0.04  # seconds in which a job's end and the next one's start become one message
REPLAY_LIMIT = 1000  # events; whoever missed more gets a snapshot
TROUBLE_PAUSE = 1.0  # seconds until news are read again when the database did not answer
RELAY_TIMEOUT = 5.0  # seconds Redis may take to pass on progress, and seconds it is left alone when it did not
WATCHED_LINE = 200  # places of a line that its watchers are told of
EVERYBODY = Owner("", True)  # sees all; whose a job is, is said when it is sent
SEEN_BY_ALL = ("job", "removed")  # who may see a job is told these, its owner also the rest
EVERYTHING = "everything"  # the room of those who may see all jobs


def outward(seq: int, second: bool = False) -> int:
    """What a browser counts by: a state change, and right behind it the result or failure that came with it."""
    return seq * 2 + second


@dataclass
class Client:
    """One connection."""

    owner: Owner
    lang: str
    since: int | None = None  # it has heard of everything up to here
    joined: int = 0  # what came up to here it may ask for, what came later it is told
    preview: bool = False
    watched: set[str] = field(default_factory=set)  # rooms without their suffix
    expiry: asyncio.TimerHandle | None = None  # ends the connection when its token ends


class Mailbox:
    """Notes from any thread to the emitter. States overwrite each other, events queue up in order.

    While nobody listens (``heard`` is asked) events are only counted: whoever comes later asks the log, and waking the
    loop for every job would cost a pipeline in Python more than all else the loop does.
    """

    def __init__(self, heard: Callable[[], bool]) -> None:
        self._lock = threading.Lock()
        self._heard = heard
        self.seq = 0  # of the last event that came in
        self._events: list[Event] = []
        self._progress: dict[str, tuple[Row, dict[str, Any], bytes | None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._filled: asyncio.Event | None = None

    def begin(self, seq: int) -> None:
        """Everything behind ``seq`` will come in."""
        with self._lock:
            self.seq = max(self.seq, seq)

    def open(self) -> asyncio.Event:
        """Called in the loop: from now on notes are kept, and this event tells of them."""
        self._loop, self._filled = asyncio.get_running_loop(), asyncio.Event()
        return self._filled

    def close(self) -> None:
        self._loop = self._filled = None

    def put_events(self, events: list[Event]) -> None:
        with self._lock:
            self.seq = events[-1].seq
            if self._loop is None or not self._heard():
                return
            self._events += events
        self._tell()

    def counted(self) -> int:
        """The last event that came in before whoever has just begun to listen is heard of; what follows is kept."""
        with self._lock:
            return self.seq

    def put_progress(self, job: Row, progress: dict[str, Any], preview: bytes | None) -> None:
        with self._lock:
            if self._loop is None:
                return
            kept = self._progress.get(job["id"])
            self._progress[job["id"]] = (job, progress, preview or (kept[2] if kept else None))
        self._tell()

    def _tell(self) -> None:
        loop, filled = self._loop, self._filled
        if loop is not None and filled is not None:
            with contextlib.suppress(RuntimeError):  # the loop of a page that was reloaded is closed
                loop.call_soon_threadsafe(filled.set)

    def take(self) -> tuple[list[Event], list[tuple[Row, dict[str, Any], bytes | None]]]:
        with self._lock:
            events, progress = self._events, list(self._progress.values())
            self._events, self._progress = [], {}
        return events, progress


class QueueNamespace(socketio.AsyncNamespace):
    """The namespace of contract, section 6."""

    def __init__(self, queue: JobQueue, on_finished: Callable[[str], None], awaited: Callable[[], bool]) -> None:
        """``on_finished`` is called in the loop for every job that has ended while ``awaited`` says that it matters."""
        super().__init__(NAMESPACE)
        self.queue = queue
        self.identity: Identity = queue.identity
        self.mailbox = Mailbox(lambda: bool(self._clients) or awaited())
        self._on_finished = on_finished
        self._clients: dict[str, Client] = {}
        self._ending: set[asyncio.Task[None]] = set()  # connections whose token has expired
        self._unsent: list[Event] = []
        self._sent_seq = 0  # everything up to here has been sent to whoever was in a room for it
        self._turn: asyncio.Lock | None = None  # between two messages of news nobody enters a room
        self._emitter: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sent_positions: dict[str, dict[str, Any]] = {}
        self._sent_counts: dict[str, int] = {}
        self._sent_lines: dict[str, list[Any]] = {}
        self._greeted: set[str] = set()  # who is to hear places and counts next, whatever others were told last
        self._filled: asyncio.Event | None = None
        self._dirty = False
        self._positions_at = 0.0
        self._relay: asyncio.Task[None] | None = None  # progress on its way to other processes
        self._relay_at = 0.0  # when Redis is to be tried again
        self._handlers: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
            "hello": self.on_hello,
            "enqueue": self.on_enqueue,
            "cancel": self.on_cancel,
            "requeue": self.on_requeue,
            "skip": self.on_skip,
            "move": self.on_move,
            "waiting_count": self.on_waiting_count,
            "watch": self.on_watch,
            "unwatch": self.on_unwatch,
            "preview": self.on_preview,
        }

    # --- life ------------------------------------------------------------------------------------------------------

    def ensure_running(self) -> None:
        """Start the emitter in the running loop, unless it runs."""
        loop = asyncio.get_running_loop()
        if self._emitter is None or self._emitter.done() or self._loop is not loop:
            self._loop = loop
            self._turn = asyncio.Lock()
            self._filled = self.mailbox.open()
            self._emitter = loop.create_task(self._emit_for_ever(self._filled), name="queue-ext emitter")
            self._unsent.clear()
            self._sent_seq = outward(self.mailbox.seq, True)

    async def stop(self) -> None:
        """End the emitter and every connection."""
        self.mailbox.close()
        if self._emitter is not None:
            self._emitter.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._emitter
            self._emitter = None
        if self._relay is not None:
            self._relay.cancel()
        for sid in list(self._clients):
            with contextlib.suppress(Exception):
                await self.disconnect(sid)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop the emitter runs in."""
        return self._loop if self._emitter is not None else None

    def put_progress(self, job: Row, progress: dict[str, Any], preview: bytes | None) -> None:
        """Called by the worker. A browser that comes later asks how far the job is."""
        if self._clients or self.queue.settings.redis_url:
            self.mailbox.put_progress(job, progress, preview)

    def wants_preview(self, _job_id: str) -> bool:
        """Whether any browser asked to see pictures form; with Redis it may be one of another process."""
        return bool(self.queue.settings.redis_url) or any(client.preview for client in self._clients.values())

    # --- events in -------------------------------------------------------------------------------------------------

    async def on_connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        self.ensure_running()
        try:
            visitor, since = _visitor(environ, auth)
            owner = self.identity.owner(visitor)
            since = await work(self._known, since)
        except QueueExtError as error:
            told = problem(error, language(environ.get("HTTP_ACCEPT_LANGUAGE")))
            raise socketio.exceptions.ConnectionRefusedError(told["detail"], told) from None
        self.queue.signer.prefix = environ.get("queue_ext.prefix") or self.queue.signer.prefix
        assert self._turn is not None
        async with self._turn:
            alone = not self._clients
            self._clients[sid] = Client(owner, language(visitor.headers.get("accept-language")), since)
            if alone:
                self._begin_anew()
            self._clients[sid].joined = self._sent_seq
            for room in self._rooms(owner):
                await self.enter_room(sid, room)
            await self._join(sid, f"owner:{owner.id}")
        if owner.expires_at is not None:
            left = max(0.0, owner.expires_at - time.time())
            self._clients[sid].expiry = asyncio.get_running_loop().call_later(left, self._expire, sid)

    def _begin_anew(self) -> None:
        """Nobody listened: what happened was not sent, and the counts of back then nobody here has heard."""
        self._sent_seq = max(self._sent_seq, outward(self.mailbox.counted(), True))
        self._sent_counts.clear()

    def _expire(self, sid: str) -> None:
        self._ending.add(task := asyncio.create_task(self.disconnect(sid), name="queue-ext token expired"))
        task.add_done_callback(self._ending.discard)

    def _known(self, since: int | None) -> int | None:
        """None for a number the log has not reached: it is of another database."""
        return None if since is None or since > outward(self.queue.store.last_seq(), True) else since

    def _rooms(self, owner: Owner) -> list[str]:
        return ["all", EVERYTHING] if self.identity.viewer(owner) is None else ["all"]

    async def on_disconnect(self, sid: str, *_reason: Any) -> None:
        client = self._clients.pop(sid, None)
        self._greeted.discard(sid)
        if client and client.expiry:
            client.expiry.cancel()
        if client and not any(other.owner.id == client.owner.id for other in self._clients.values()):
            self._sent_positions.pop(client.owner.id, None)

    async def trigger_event(self, event: str, *args: Any) -> Any:
        """Every client event is answered; what is unknown or of a wrong shape by an error."""
        if event in ("connect", "disconnect"):
            return await super().trigger_event(event, *args)
        sid, *given = args
        try:
            handler = self._handlers.get(event)
            if handler is None:
                raise UnknownEvent(event=event[:100], known=", ".join(self._handlers))
            return {"ok": True, **await handler(sid, _argument(given))}
        except QueueExtError as error:
            client = self._clients.get(sid)
            said = problem(error, client.lang if client else "en")
            return {"ok": False, "error": {name: said[name] for name in ("code", "detail", "errors")}}
        except Exception:
            log.exception("the event %s failed", event)
            return {
                "ok": False,
                "error": {"code": "defect", "detail": "the queue has a defect here; its log says more", "errors": []},
            }

    async def on_hello(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        client = self._clients[sid]
        since = data.get("since", client.since)
        if since is not None and (isinstance(since, bool) or not isinstance(since, int)):
            raise invalid("since", msg="must be the cursor or seq of an earlier message, a whole number")
        client.since = await work(self._known, since)
        answer = await work(self._hello, client)
        # What it says of places may be as it was told to others before, once it is looked at again.
        self._greeted.add(sid)
        self._mark_dirty()
        # What is told behind it, also while this is being answered, is news that the answer does not hold.
        return {**answer, "cursor": max(client.joined, client.since or 0)}

    def _hello(self, client: Client) -> dict[str, Any]:
        queue, owner = self.queue, client.owner
        replay = self._replay(client)
        counts = queue.store.counts()
        return {
            "owner": owner.id,
            "admin": owner.admin or self.identity.shared,
            "waiting_count": counts.get((DEFAULT_QUEUE, State.ENQUEUED.value), 0),
            "jobs": queue.present(owner, queue.store.unfinished(owner.id, LIVE_LIMIT), client.lang),
            "queues": [lane_json(row, counts) for row in queue.store.queues()],
            **({"snapshot": True} if replay is None else {"replay": replay}),
        }

    def _replay(self, client: Client) -> list[dict[str, Any]] | None:
        """What a browser missed before it was in its rooms; None when it is to take the snapshot instead."""
        store, since = self.queue.store, client.since
        if since is None or max(1, (since + 1) // 2) < store.first_seq():  # an even one lacks its event's other half
            return None
        rows = store.events_after(since // 2 - 1, REPLAY_LIMIT + 1, self.identity.viewer(client.owner))
        if len(rows) > REPLAY_LIMIT:
            return None
        from .events import from_row

        news = self._news([event for event in map(from_row, rows) if outward(event.seq) <= client.joined], client.lang)
        return [
            {"event": name, "data": _for(data, owner == client.owner.id)}
            for owner, name, data in news
            if since < data["seq"] <= client.joined and (name in SEEN_BY_ALL or owner == client.owner.id)
        ]

    async def on_enqueue(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        request = parse(JobRequest, data)
        client = self._clients[sid]
        job_id = (await work(self.queue.enqueue, client.owner, [request]))[0]
        return await self._job(client, job_id)

    async def on_cancel(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        return await self._act(sid, data, self.queue.cancel)

    async def on_requeue(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        return await self._act(sid, data, self.queue.requeue)

    async def on_skip(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        return await self._act(sid, data, self.queue.skip)

    async def on_move(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        place = parse(Move, {key: value for key, value in data.items() if key != "job_id"}).place()
        return await self._act(sid, {"job_id": data.get("job_id")}, self.queue.move, place)

    async def _act(self, sid: str, data: dict[str, Any], action: Callable[..., Any], *args: Any) -> dict[str, Any]:
        client, job_id = self._clients[sid], _job_id(data)
        await work(action, client.owner, job_id, *args)
        return await self._job(client, job_id)

    async def _job(self, client: Client, job_id: str) -> dict[str, Any]:
        return {"job": (await work(self.queue.show, client.owner, [job_id], client.lang))[0]}

    async def on_waiting_count(self, _sid: str, data: dict[str, Any]) -> dict[str, Any]:
        queue = data.get("queue", DEFAULT_QUEUE)
        if not isinstance(queue, str):
            raise invalid("queue", msg="must be the name of a queue")
        counts = await work(self.queue.store.counts)
        return {"count": counts.get((queue, State.ENQUEUED.value), 0)}

    async def on_watch(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        room = await self._room(sid, data)
        await self._join(sid, room)
        self._sent_lines.pop(room.removeprefix("queue:"), None)
        self._mark_dirty()
        return {}

    async def on_unwatch(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        room = await self._room(sid, data)
        self._clients[sid].watched.discard(room)
        for suffix in ("", ":progress", ":preview"):
            await self.leave_room(sid, room + suffix)
        return {}

    async def _room(self, sid: str, data: dict[str, Any]) -> str:
        """The room that shows a job or a lane. Raises JobNotFound, QueueNotFound, InvalidRequest."""
        client = self._clients[sid]
        if set(data) == {"queue"} and isinstance(data["queue"], str):
            await work(self.queue.store.queue, data["queue"])
            self.identity.require_admin(client.owner, "Watching everybody's jobs")
            return f"queue:{data['queue']}"
        job_id = _job_id(data)
        await work(self.queue.job, client.owner, job_id)
        return f"job:{job_id}"

    async def _join(self, sid: str, room: str) -> None:
        client = self._clients[sid]
        client.watched.add(room)
        await self.enter_room(sid, room)
        await self.enter_room(sid, room + (":preview" if client.preview else ":progress"))

    async def on_preview(self, sid: str, data: dict[str, Any]) -> dict[str, Any]:
        enabled = data.get("enabled")
        if not isinstance(enabled, bool):
            raise invalid("enabled", msg="must be true or false")
        client = self._clients[sid]
        client.preview = enabled
        for room in client.watched:
            await self.leave_room(sid, room + (":progress" if enabled else ":preview"))
            await self.enter_room(sid, room + (":preview" if enabled else ":progress"))
        return {}

    # --- pushes out ------------------------------------------------------------------------------------------------

    async def _emit_for_ever(self, filled: asyncio.Event) -> None:
        while True:
            await _filled(filled, self._until_positions())
            filled.clear()
            try:
                await self._emit_waiting()
            except asyncio.CancelledError:
                raise
            except QueueExtError as error:
                log.warning("browsers hear nothing now: %s", error)
                self._mark_dirty()
                await asyncio.sleep(TROUBLE_PAUSE)
                filled.set()  # what could not be sent is still there
            except Exception:
                log.exception("a push failed")
                self._unsent.clear()

    def _until_positions(self) -> float | None:
        """Seconds until positions may be sent; None while there is nothing to say."""
        return max(GATHER, self._positions_at - time.monotonic()) if self._dirty else None

    async def _emit_waiting(self) -> None:
        events, progress = self.mailbox.take()
        self._unsent += events
        for job, said, preview in progress:
            await self._send_progress(job, said, preview)
        if self._unsent:
            events = list(self._unsent)
            for event in events:
                if isinstance(event, JobChanged) and event.data.get("state") in FINISHED:
                    self._on_finished(str(event.job_id))
            self._mark_dirty()
            await self._send_news(events)
            del self._unsent[: len(events)]
        if self._dirty and time.monotonic() >= self._positions_at:
            self._dirty = False
            self._positions_at = time.monotonic() + POSITIONS_INTERVAL
            await self._send_places()

    def _mark_dirty(self) -> None:
        if not self._dirty:
            self._dirty = True
            self._positions_at = max(self._positions_at, time.monotonic() + GATHER)
            if self._filled is not None:
                self._filled.set()  # the emitter may be waiting for notes alone

    async def _send(
        self, event: str, data: Any, to: Any, skip: list[str] | None = None, everywhere: bool = False
    ) -> None:
        """What follows from the log every process sends to its own browsers; only progress travels by Redis."""
        await self.server.emit(event, data, to=to, skip_sid=skip, namespace=NAMESPACE, ignore_queue=not everywhere)

    async def _send_progress(self, job: Row, said: dict[str, Any], preview: bytes | None) -> None:
        """Progress is a state, not news: while Redis is busy with an earlier one, other processes do without."""
        data = {"job_id": job["id"], **said}
        rooms = [f"owner:{job['owner']}", f"job:{job['id']}", f"queue:{job['queue']}"]
        shown = {**data, "preview": preview} if preview else data
        told = [(data, [f"{room}:progress" for room in rooms]), (shown, [f"{room}:preview" for room in rooms])]
        if self._may_relay():
            self._relay = asyncio.create_task(self._send_everywhere(told), name="queue-ext relay")
        else:
            for each, to in told:
                await self._send("progress", each, to)

    def _may_relay(self) -> bool:
        idle = self._relay is None or self._relay.done()
        return bool(self.queue.settings.redis_url) and idle and time.monotonic() >= self._relay_at

    async def _send_everywhere(self, told: list[tuple[dict[str, Any], list[str]]]) -> None:
        sending = asyncio.gather(*(self._send("progress", data, to, everywhere=True) for data, to in told))
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(sending, RELAY_TIMEOUT)
        # The manager says nothing of a message it gave up; it only forgets its connection.
        if sending.cancelled() or not getattr(self.server.manager, "connected", True):
            self._relay_at = time.monotonic() + RELAY_TIMEOUT

    async def _send_news(self, events: list[Event]) -> None:
        assert self._turn is not None
        if self._clients:
            for owner, name, data in await work(self._news, events, "en"):
                async with self._turn:
                    if data["seq"] > self._sent_seq:
                        await self._send_one(owner, name, data)
                        self._sent_seq = data["seq"]
            await self._send_queues(events)
            await self._send_emptied(events)
        await self._send_schedules(events)
        self._sent_seq = max(self._sent_seq, outward(events[-1].seq, True))

    async def _send_one(self, owner: str, name: str, data: dict[str, Any]) -> None:
        # Who comes from another process may be ahead of what this one has read.
        informed = [sid for sid, client in self._clients.items() if (client.since or 0) >= data["seq"]]
        await self._send(name, _for(data, True), f"owner:{owner}", skip=informed)
        if name in SEEN_BY_ALL:
            if data.get("position"):  # a place in passing: it may be again the one sent before when places are compared
                self._sent_positions.pop(owner, None)
                self._sent_lines.pop(data["queue"], None)
            own = [sid for sid, client in self._clients.items() if client.owner.id == owner]
            watchers = [EVERYTHING, f"job:{data.get('id') or data['job_id']}", f"queue:{data['queue']}"]
            await self._send(name, _for(data, False), watchers, skip=own + informed)

    def _news(self, events: list[Event], lang: str) -> list[tuple[str, str, dict[str, Any]]]:
        """(owner, event, data) that events of the log become, in their order."""
        changed = [event for event in events if isinstance(event, JobChanged)]
        ids = list(dict.fromkeys(str(event.job_id) for event in changed))
        rows = {row["id"]: row for row in self.queue.store.jobs(ids)}
        known = [(event, _as_of(rows[str(event.job_id)], event)) for event in changed if str(event.job_id) in rows]
        shown: dict[int, dict[str, Any]] = {}
        for layer in _layers(known):
            jobs = self.queue.present(EVERYBODY, [row for _, row in layer], lang)
            shown.update(zip((event.seq for event, _ in layer), jobs, strict=True))
        told = [each for event, row in known for each in self._told(event, row, shown[event.seq])]
        for event in events:
            if isinstance(event, JobRemoved):
                data = {"job_id": event.job_id, "queue": event.queue, "seq": outward(event.seq)}
                told.append((event.owner, "removed", data))
        return sorted(told, key=lambda each: each[2]["seq"])

    def _told(self, event: Event, row: Row, job: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
        told: list[tuple[str, str, dict[str, Any]]] = [(event.owner, "job", {**job, "seq": outward(event.seq)})]
        error = event.data.get("error")
        if row["state"] == State.SUCCEEDED and "attempt" in event.data:  # else it was only edited
            told.append(
                (
                    event.owner,
                    "result",
                    {"job_id": row["id"], "images": self.queue.pictures(row["id"]), "seq": outward(event.seq, True)},
                )
            )
        elif error:
            again = row["state"] != State.FAILED
            data = {
                "job_id": row["id"], "error": error, "will_retry": again,
                "run_at": from_epoch(event.data.get("run_at")) if again else None, "seq": outward(event.seq, True),
            }  # fmt: skip
            told.append((event.owner, "failed", data))
        return told

    async def _send_schedules(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, ScheduleChanged):
                await self._send(
                    "schedule",
                    {"id": event.data["schedule_id"], "what": event.data["what"]},
                    [EVERYTHING, f"owner:{event.owner}"],
                )

    async def _send_emptied(self, events: list[Event]) -> None:
        if not self.queue.settings.when_empty_notify:
            return
        for event in events:
            if isinstance(event, QueueEmptied):
                await self._send("empty", {"at": from_epoch(event.at)}, "all")

    async def _send_queues(self, events: list[Event]) -> None:
        names = dict.fromkeys(str(event.queue) for event in events if isinstance(event, QueueChanged))
        if not names:
            return
        counts = await work(self.queue.store.counts)
        lanes = {row["name"]: row for row in await work(self.queue.store.queues)}
        for name in names:
            self._sent_counts.pop(name, None)  # it tells a count, as a job's push tells a place
            await self._send(
                "queue", lane_json(lanes[name], counts) if name in lanes else {"name": name, "deleted": True}, "all"
            )

    async def _send_places(self) -> None:
        """Positions to every owner whose own have changed, counts to all."""
        if not self._clients:
            return
        owners = {client.owner.id for client in self._clients.values()}
        watched = {
            room[6:] for client in self._clients.values() for room in client.watched if room.startswith("queue:")
        }
        greeted = set(self._greeted)  # whoever is greeted from here on may have been told what is newer
        counts, places, lines = await work(self._places, owners, watched)
        self._greeted -= greeted
        greeted &= self._clients.keys()
        for sid in greeted:
            if own := places.get(self._clients[sid].owner.id):
                await self._send("positions", own, sid)
        for owner in owners & {client.owner.id for client in self._clients.values()}:
            if places.get(owner, {}) != self._sent_positions.get(owner, {}):
                self._sent_positions[owner] = places.get(owner, {})
                await self._send("positions", places.get(owner, {}), f"owner:{owner}", skip=list(greeted))
        for queue, line in lines.items():
            if line != self._sent_lines.get(queue):
                self._sent_lines[queue] = line
                await self._send("line", {"queue": queue, "jobs": line}, f"queue:{queue}")
        for queue, count in counts.items():
            said = {"queue": queue, "count": count}
            if count != self._sent_counts.get(queue):
                self._sent_counts[queue] = count
                await self._send("waiting_count", said, "all")
            elif greeted:
                await self._send("waiting_count", said, list(greeted))

    def _places(
        self, owners: set[str], watched: set[str]
    ) -> tuple[dict[str, int], dict[str, dict[str, Any]], dict[str, list[Any]]]:
        lanes = self.queue.line.lanes()
        known = {row["name"] for row in self.queue.store.queues()}  # the counters of a deleted one are still there
        counts = {
            queue: count
            for (queue, state), count in self.queue.store.counts().items()
            if state == State.ENQUEUED and queue in known
        }
        places: dict[str, dict[str, Any]] = {}
        lines: dict[str, list[Any]] = {queue: [] for queue in watched}
        for queue in [queue for queue, count in counts.items() if count]:
            for job_id, owner, place in self.queue.line.whole(queue, lanes):
                described = {"position": place.position, "ahead": place.ahead, "eta_s": place.eta_s}
                if owner in owners:
                    places.setdefault(owner, {})[job_id] = described
                if queue in lines and len(lines[queue]) < WATCHED_LINE:
                    lines[queue].append({"job_id": job_id, **described})
        return counts, places, lines


def _layers(known: Sequence[tuple[Event, Row]]) -> list[list[tuple[Event, Row]]]:
    """Events in as few lists as hold no job twice: each list is shown by one look into the database."""
    layers: list[list[tuple[Event, Row]]] = []
    seen: Counter[str] = Counter()
    for event, row in known:
        if seen[row["id"]] == len(layers):
            layers.append([])
        layers[seen[row["id"]]].append((event, row))
        seen[row["id"]] += 1
    return layers


class UnknownEvent(QueueExtError, LookupError):
    """There is no event {event}; known are {known}."""


def _argument(said: list[Any]) -> dict[str, Any]:
    """The one object an event carries. Raises InvalidRequest."""
    if not said or said[0] is None:
        return {}
    if len(said) > 1 or not isinstance(said[0], dict):
        raise InvalidRequest([{"loc": ["data"], "msg": "must be one object"}])
    return said[0]


def _job_id(data: dict[str, Any]) -> str:
    job_id = data.get("job_id")
    if not isinstance(job_id, str) or not job_id:
        raise invalid("job_id", msg="must be the id of a job")
    return job_id


def _for(data: dict[str, Any], mine: bool) -> dict[str, Any]:
    """A job as its owner gets it, or as somebody else does: without pictures."""
    if "mine" not in data:
        return data
    return {**data, "mine": mine, **({} if mine else {"result": None})}


def _as_of(row: Row, event: Event) -> Row:
    """A job as it was when the event happened: what has come since is told by later events."""
    state = event.data.get("state", row["state"])
    then = {
        **row,
        "state": state,
        "reason": event.data.get("reason"),
        "attempt": event.data.get("attempt", row["attempt"]),
    }
    if state not in FINISHED:
        then["finished_at"] = then["expires_at"] = None
    return then


def _visitor(environ: dict[str, Any], auth: Any) -> tuple[Visitor, int | None]:
    """Who opens a socket, from the handshake. Raises InvalidRequest."""
    if auth is None:
        auth = {}
    if not isinstance(auth, dict) or not all(
        isinstance(auth.get(name), (str, type(None))) for name in ("client_id", "token")
    ):
        raise invalid("auth", msg='must be {"client_id": text, "token": text, "since": number}, each optional')
    since = auth.get("since")
    headers = {
        key[5:].lower().replace("_", "-"): str(value) for key, value in environ.items() if key.startswith("HTTP_")
    }
    cookie: SimpleCookie = SimpleCookie()
    with contextlib.suppress(Exception):
        cookie.load(headers.get("cookie", ""))
    scope = environ.get("asgi.scope") or {}
    address = scope["client"][0] if scope.get("client") else environ.get("REMOTE_ADDR")
    cookies = {name: morsel.value for name, morsel in cookie.items()}
    visitor = Visitor(headers, cookies, address, auth.get("client_id"), auth.get("token"))
    return visitor, since if isinstance(since, int) else None


async def _filled(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for the event, or set it when the time is over. Unlike ``asyncio.wait_for``, which before Python 3.12 swallows
    a cancellation that arrives together with the event, this one always ends when it is cancelled."""
    timer = asyncio.get_running_loop().call_later(seconds, event.set) if seconds is not None else None
    try:
        await event.wait()
    finally:
        if timer is not None:
            timer.cancel()
