"""The log and the bus: every event once, in order, after its commit, whoever listens and whatever fails."""

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from queue_ext import events
from queue_ext.errors import StorageUnavailable
from queue_ext.events import (
    Bus,
    CancelRequested,
    Event,
    JobChanged,
    JobMoved,
    JobRemoved,
    QueueChanged,
    SkipRequested,
    Tail,
    from_row,
)
from queue_ext.store import Store

from .support import add, claim, finish, until

QUICK = 0.02  # seconds
NEVER = 3600.0


@pytest.fixture
def heard() -> list[Event]:
    return []


@pytest.fixture
def bus(heard: list[Event]) -> Bus:
    made = Bus()
    made.subscribe(heard.extend)
    return made


@pytest.fixture
def tail(store: Store, bus: Bus) -> Iterator[Tail]:
    made = Tail(store, bus, QUICK)
    made.start()
    yield made
    made.stop()


def test_every_verb_is_heard_as_what_it_was(store: Store, tail: Tail, heard: list[Event]) -> None:
    job_id = add(store, "ann")
    other = add(store, "ann")
    store.move(other, to="front")
    row = claim(store)
    store.request_skip(row["id"])
    store.cancel([row["id"]], "cancelled by its owner")
    store.cancel_running(row, "cancelled", [], "{}")
    store.remove([row["id"]])
    store.set_paused("default", True, "by hand")
    kinds = [
        QueueChanged,
        JobChanged,
        JobChanged,
        JobMoved,
        JobChanged,
        SkipRequested,
        CancelRequested,
        JobChanged,
        JobRemoved,
        QueueChanged,
    ]
    until(lambda: len(heard) >= len(kinds))
    assert [type(event) for event in heard] == kinds
    assert [event.seq for event in heard] == list(range(1, len(kinds) + 1))
    assert (heard[1].job_id, heard[1].owner, heard[1].queue, heard[1].data["state"]) == (
        job_id,
        "ann",
        "default",
        "enqueued",
    )
    assert heard[6].data["reason"] == "cancelled by its owner"


def test_events_cannot_be_changed(store: Store) -> None:
    add(store)
    event = from_row(store.events_after(0, 1)[0])
    with pytest.raises(AttributeError):
        event.seq = 5  # type: ignore[misc]


def test_an_event_of_a_later_version_is_a_plain_one() -> None:
    row = {"seq": 1, "at": 2.0, "kind": "miracle", "owner": "ann", "job_id": None, "queue": None, "data": "{}"}
    assert type(from_row(row)) is Event


def test_only_what_comes_after_the_start_is_heard(store: Store, bus: Bus, heard: list[Event]) -> None:
    add(store)
    tail = Tail(store, bus, QUICK)
    tail.start()
    later = add(store)
    until(lambda: heard)
    tail.stop()
    assert [event.job_id for event in heard] == [later]
    add(store)
    assert [event.job_id for event in heard] == [later]


def test_a_wake_is_heard_at_once(store: Store, bus: Bus, heard: list[Event]) -> None:
    tail = Tail(store, bus, NEVER)
    store.on_commit = lambda _events: tail.wake()
    tail.start()
    add(store)
    until(lambda: len(heard) == 2, 5)
    tail.stop()


def test_what_this_process_commits_is_heard_without_reading_the_log(
    store: Store, bus: Bus, heard: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store)
    tail = Tail(store, bus, NEVER)
    store.on_commit = tail.hand
    tail.start()
    with monkeypatch.context() as patch:
        patch.setattr(store, "events_after", None)
        job_id = add(store)
        store.cancel([job_id], "cancelled")
        until(lambda: len(heard) == 2, 5)
    tail.stop()
    assert heard == [from_row(row) for row in store.events_after(tail.first, 10)]


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 1, 2, 3, 0), (1, 4)])
def test_what_others_wrote_in_between_is_heard_in_its_place(
    store: Store, bus: Bus, heard: list[Event], order: tuple[int, ...]
) -> None:
    """Whatever is handed over, in whatever order threads come to it: the rest is read."""
    tail = Tail(store, bus, NEVER)
    tail.start()
    for _ in range(4):
        add(store)
    rows = store.events_after(tail.first, 10)
    for number in order:
        tail.hand([rows[number]])
    until(lambda: len(heard) == len(rows), 5)
    add(store)
    tail.hand(store.events_after(heard[-1].seq, 10))
    until(lambda: len(heard) == len(rows) + 1, 5)
    tail.stop()
    assert [event.seq for event in heard] == list(range(1, len(rows) + 2))


def test_what_another_process_tells_of_is_read_although_this_one_hands_something_over(
    store: Store, bus: Bus, heard: list[Event]
) -> None:
    tail = Tail(store, bus, NEVER)
    tail.start()
    busy, free = threading.Event(), threading.Event()
    bus.subscribe(lambda _batch: (busy.set(), free.wait(5)))
    tail.hand(_committed(store, tail))
    assert busy.wait(5)
    ours = _committed(store, tail)[-1:]
    _committed(store, tail)
    tail.wake()
    tail.hand(ours)
    free.set()
    until(lambda: len(heard) == 4, 5)
    tail.stop()


def _committed(store: Store, tail: Tail) -> list[Any]:
    add(store)
    return store.events_after(tail.first, 10)


def test_more_than_can_be_kept_is_read_from_the_log(
    store: Store, bus: Bus, heard: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "TAIL_BATCH", 3)
    tail = Tail(store, bus, NEVER)
    tail.start()
    for _ in range(10):
        add(store)
    tail.hand(store.events_after(0, 20))
    until(lambda: len(heard) == 11, 5)
    tail.stop()
    assert [event.seq for event in heard] == list(range(1, 12))


def test_many_events_come_in_portions_and_in_order(
    store: Store, tail: Tail, bus: Bus, monkeypatch: pytest.MonkeyPatch, heard: list[Event]
) -> None:
    monkeypatch.setattr(events, "TAIL_BATCH", 3)
    sizes: list[int] = []
    bus.subscribe(lambda batch: sizes.append(len(batch)))
    for _ in range(10):
        add(store)
    while row := claim(store):
        finish(store, row)
    until(lambda: len(heard) == 31)
    assert [event.seq for event in heard] == list(range(1, 32)) and max(sizes) <= 3


def test_a_log_that_cannot_be_read_for_a_while_loses_nothing(
    sqlite_store: Store, bus: Bus, heard: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, troubles = (
        sqlite_store.events_after,
        [StorageUnavailable(reason="away"), RuntimeError("odd"), ValueError("odd")],
    )

    def unreliable(*args: Any) -> Any:
        if troubles:
            raise troubles.pop()
        return read(*args)

    monkeypatch.setattr(sqlite_store, "events_after", unreliable)
    tail = Tail(sqlite_store, bus, QUICK)
    tail.start()
    add(sqlite_store)
    until(lambda: len(heard) == 2)
    tail.stop()


def test_a_listener_that_raises_keeps_nobody_else_from_hearing(
    heard: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    bus = Bus()

    def raising(_batch: list[Event]) -> None:
        raise RuntimeError("deaf")

    bus.subscribe(raising)
    bus.subscribe(heard.extend)
    event = JobChanged(1, 2.0, "ann", "job", "default")
    with caplog.at_level(logging.ERROR):
        bus.publish([event])
    assert heard == [event] and "deaf" in caplog.text


def test_a_listener_can_leave_even_while_it_hears() -> None:
    bus, heard = Bus(), []

    def once(batch: list[Event]) -> None:
        heard.extend(batch)
        leave()

    leave = bus.subscribe(once)
    event = JobChanged(1, 2.0, "ann", "job", "default")
    bus.publish([event]), bus.publish([event])
    leave()
    assert heard == [event]


def test_a_tail_leaves_no_thread(store: Store, bus: Bus) -> None:
    before = threading.active_count()
    for _ in range(5):
        tail = Tail(store, bus, NEVER)
        tail.start()
        tail.stop()
    assert threading.active_count() == before
