"""The contract of the store, asked of every database: each verb, its refusals, and that nothing is ever half done."""

import contextlib
import errno
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.engine import Connection

from queue_ext.errors import (
    IdempotencyKeyReused,
    JobNotFound,
    LeaseLost,
    LimitReached,
    QueueIsPermanent,
    QueueNotEmpty,
    QueueNotFound,
    StorageUnavailable,
    UnexpectedState,
)
from queue_ext.events import from_row
from queue_ext.ids import new_id
from queue_ext.models import State
from queue_ext.store import FileRef, Filter, Limits, Store
from queue_ext.store.change import Change

from .support import MANY, add, assert_counted, claim, finish, finish_and_claim, new_job, order_of, retry, until

DAY = 86400.0
SOON = 3600.0  # seconds: far enough that no test reaches it


def states(store: Store, job_id: str) -> list[str]:
    return [row["state"] for row in store.history(job_id)]


def state(store: Store, job_id: str) -> str:
    return store.job(job_id)["state"]


def everything(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, to see that nothing was changed."""
    with store.db.read() as conn:
        return {
            table.name: sorted(map(tuple, conn.execute(select(table)).all()), key=repr)
            for table in store.tables.metadata.sorted_tables
        }


def set_job(store: Store, job_id: str, **values: Any) -> None:
    with store.db.engine.begin() as conn:
        conn.execute(update(store.tables.job).where(store.tables.job.c.id == job_id).values(**values))


def ref(letter: str = "a") -> FileRef:
    return FileRef(letter * 64, "image/png", 100, 64, 64, 2**64 - 1, "infotext")


def error(attempt: int = 1) -> dict[str, Any]:
    return {"type": "RuntimeError", "message": "it broke", "attempt": attempt}


def in_threads(count: int, action: Callable[[int], Any]) -> list[Any]:
    """Run ``action`` at once in several threads; their results, or the first thing one of them raised."""
    results: list[Any] = [None] * count
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait()
        try:
            results[number] = action(number)
        except BaseException as problem:
            results[number] = problem

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


# --- accepting ---------------------------------------------------------------------------------------------------------


def test_an_accepted_job_waits_with_history_and_event(store: Store) -> None:
    job_id = add(store, prompt="a lighthouse", labels=("sea", "dusk"), payload='{"prompt": "a lighthouse"}')
    row = store.job(job_id)
    assert (row["state"], row["attempt"], row["owner"], row["prompt"]) == ("enqueued", 0, "ann", "a lighthouse")
    assert json.loads(row["labels"]) == ["sea", "dusk"]
    assert states(store, job_id) == ["enqueued"]
    assert json.loads(store.body(job_id)["payload"]) == {"prompt": "a lighthouse"}
    kinds = [(event["kind"], event["job_id"]) for event in store.events_after(0, 10)]
    assert kinds == [("queue", None), ("job", job_id)]
    assert_counted(store)


def test_a_job_for_later_is_scheduled_and_one_for_earlier_is_not(store: Store) -> None:
    later, earlier = add(store, run_at=time.time() + SOON), add(store, run_at=time.time() - SOON)
    assert (state(store, later), state(store, earlier)) == ("scheduled", "enqueued")
    assert store.job(earlier)["run_at"] is None
    assert store.next_due() == pytest.approx(time.time() + SOON, abs=30)


def test_a_batch_is_accepted_whole_or_not_at_all(store: Store) -> None:
    jobs = [new_job() for _ in range(5)]
    before = everything(store)
    with pytest.raises(LimitReached, match="max_waiting"):
        store.add_jobs(jobs, Limits(4), True)
    assert everything(store) == before
    assert store.add_jobs(jobs, Limits(5), True) == [job.id for job in jobs]
    assert order_of(store) == [job.id for job in jobs]


def test_an_owner_may_have_a_limit_of_its_own(store: Store) -> None:
    limits = Limits(100, 2)
    store.add_jobs([new_job(), new_job(run_at=time.time() + SOON)], limits, True)
    with pytest.raises(LimitReached) as refused:
        store.add_jobs([new_job()], limits, True)
    assert refused.value.values["limit"] == "max_waiting_per_owner"
    assert refused.value.status == 429 and refused.value.values["retry_after"] > 0
    store.add_jobs([new_job("bob")], limits, True)
    claim(store)
    store.add_jobs([new_job()], limits, True)


def test_text_of_any_script_and_signs_of_any_database_come_back_as_they_were(store: Store) -> None:
    text = "猫 🐈 café \\ % _ ' \" ; DROP TABLE job; --\n\ttab"
    job_id = add(store, text, name=text, prompt=text, labels=(text,), payload=json.dumps({"prompt": text}))
    row = store.job(job_id)
    assert (row["owner"], row["name"], row["prompt"], json.loads(row["labels"])) == (text, text, text, [text])
    assert [found["id"] for found in store.page(Filter(owner=text, label=text, q="DROP table"), True, None, 9)] == [
        job_id
    ]


def test_names_that_differ_in_case_or_accent_only_are_different(store: Store) -> None:
    add(store, "Ann", labels=("Café",))
    assert store.ids(Filter(owner="ann")) == store.ids(Filter(label="cafe")) == store.ids(Filter(label="café")) == []


def test_a_payload_of_ten_megabytes_is_stored_whole(store: Store) -> None:
    payload = json.dumps({"prompt": "x" * 10_000_000})
    job_id = add(store, payload=payload)
    assert store.body(job_id)["payload"] == payload
    assert claim(store)["payload"] == payload


# --- idempotency -------------------------------------------------------------------------------------------------------


def test_the_same_key_gives_the_same_job_to_the_same_owner_only(store: Store) -> None:
    first = add(store, idempotency_key="k", digest="d")
    assert add(store, idempotency_key="k", digest="d") == first
    assert add(store, "bob", idempotency_key="k", digest="d") != first
    assert sum(store.counts().values()) == 2


def test_the_same_key_with_another_body_changes_nothing(store: Store) -> None:
    add(store, idempotency_key="k", digest="d")
    before = everything(store)
    with pytest.raises(IdempotencyKeyReused):
        store.add_jobs([new_job(), new_job(idempotency_key="k", digest="other")], MANY, True)
    assert everything(store) == before


def test_a_key_is_free_again_after_a_day(store: Store) -> None:
    first = add(store, idempotency_key="k", digest="d")
    with store.db.engine.begin() as conn:
        conn.execute(update(store.tables.idempotency).values(created_at=time.time() - DAY - 1))
    assert add(store, idempotency_key="k", digest="other") != first


def test_a_key_is_free_again_when_its_job_was_removed(store: Store) -> None:
    first = add(store, idempotency_key="k", digest="d")
    store.cancel([first], "cancelled")
    store.remove([first])
    second = add(store, idempotency_key="k", digest="d")
    assert second != first and state(store, second) == "enqueued"


def test_a_key_used_by_many_at_once_makes_one_job(store: Store) -> None:
    ids = in_threads(8, lambda _: add(store, idempotency_key="k", digest="d"))
    assert len(set(ids)) == 1
    assert_counted(store)


def test_a_key_twice_in_a_batch_makes_one_job(store: Store) -> None:
    ids = store.add_jobs([new_job(idempotency_key="k", digest="d") for _ in range(3)], MANY, True)
    assert len(set(ids)) == 1 and order_of(store) == ids[:1]


# --- running -----------------------------------------------------------------------------------------------------------


def test_a_claimed_job_runs_under_a_lease(store: Store) -> None:
    job_id = add(store, payload='{"steps": 1}')
    row = store.claim("w1", (), 60.0)
    assert (row["id"], row["attempt"], row["lease"], row["payload"]) == (job_id, 1, 1, '{"steps": 1}')
    stored = store.job(job_id)
    assert (stored["state"], stored["attempt"], stored["worker_id"]) == ("processing", 1, "w1")
    assert stored["lease_until"] == pytest.approx(time.time() + 60, abs=30)
    assert claim(store) is None
    assert_counted(store)


def test_a_finished_job_has_pictures_result_and_an_end(store: Store) -> None:
    job_id = add(store)
    store.succeed(claim(store), [ref("a"), ref("b")], '{"info": 1}')
    row = store.job(job_id)
    assert (row["state"], row["worker_id"], row["lease_until"]) == ("succeeded", None, None)
    assert row["expires_at"] == pytest.approx(row["finished_at"] + 30 * DAY)
    assert [(file["sha256"][0], file["seed"]) for file in store.files([job_id])[job_id]] == [
        ("a", str(2**64 - 1)),
        ("b", str(2**64 - 1)),
    ]
    assert store.body(job_id)["result"] == '{"info": 1}'
    assert states(store, job_id) == ["enqueued", "processing", "succeeded"]
    assert [(row["kind"], row["value"]) for row in store.endings("hour", 0)] == [("hour_succeeded", 1)]
    assert_counted(store)


def test_a_failed_job_stays_until_somebody_removes_it(store: Store) -> None:
    job_id = add(store)
    store.fail(claim(store), error(), "it broke")
    row = store.job(job_id)
    assert (row["state"], row["reason"], row["expires_at"]) == ("failed", "it broke", None)
    assert json.loads(row["error"]) == error()
    assert [json.loads(row["error"])["message"] for row in store.failures()] == ["it broke"]
    assert_counted(store)


def test_retry_returns_to_its_own_queue_priority_and_place(store: Store) -> None:
    job_id = add(store, queue="slow", priority=7)
    key = store.job(job_id)["order_key"]
    retry(store, claim(store), error(), time.time() + SOON, "attempt 1 of 4 failed")
    row = store.job(job_id)
    assert (row["state"], row["queue"], row["priority"], row["attempt"]) == ("scheduled", "slow", 7, 1)
    assert states(store, job_id) == ["enqueued", "processing", "failed", "scheduled"]
    set_job(store, job_id, run_at=time.time() - 1)
    assert store.promote_due(True) == 1
    assert (state(store, job_id), store.job(job_id)["order_key"]) == ("enqueued", key)
    assert claim(store)["attempt"] == 2
    assert_counted(store)


def test_a_retry_without_delay_waits_at_once(store: Store) -> None:
    job_id = add(store)
    retry(store, claim(store), error(), None, "again")
    assert state(store, job_id) == "enqueued"
    assert states(store, job_id)[-2:] == ["failed", "enqueued"]
    assert_counted(store)


def test_a_job_given_back_is_next_and_its_attempt_does_not_count(store: Store) -> None:
    first, second, urgent = add(store), add(store), None
    row = claim(store)
    urgent = add(store, "bob", priority=5)
    store.give_back(row, "the process stopped")
    assert store.job(first)["attempt"] == 0
    assert order_of(store) == [first, urgent, second]
    again = claim(store)
    assert (again["id"], again["attempt"], again["lease"]) == (first, 1, 2)
    assert_counted(store)


@pytest.mark.parametrize("verb", ["succeed", "succeed_and_claim", "cancel_running", "fail", "retry", "give_back"])
def test_a_stale_lease_ends_nothing(store: Store, verb: str) -> None:
    add(store)
    stale = claim(store)
    store.give_back(stale, "lost")
    held = claim(store, "w2")
    add(store)
    before = everything(store)
    with pytest.raises(LeaseLost):
        {
            "succeed": lambda: store.succeed(stale, [ref()], "{}"),
            "succeed_and_claim": lambda: finish_and_claim(store, stale),
            "cancel_running": lambda: store.cancel_running(stale, "late", [ref()], "{}"),
            "fail": lambda: store.fail(stale, error(), "late"),
            "retry": lambda: retry(store, stale, error(), None, "late"),
            "give_back": lambda: store.give_back(stale, "late"),
        }[verb]()
    assert everything(store) == before
    finish(store, held)


def test_a_lease_can_be_renewed_only_by_its_holder(store: Store) -> None:
    add(store)
    row = claim(store)
    until_then = time.time() + 500
    assert store.renew(row["id"], row["lease"], until_then)
    assert store.job(row["id"])["lease_until"] == pytest.approx(until_then)
    assert not store.renew(row["id"], row["lease"] + 1, until_then)
    finish(store, row)
    assert not store.renew(row["id"], row["lease"], until_then)


def test_a_job_that_came_while_a_claim_was_under_way_does_not_start_before_it_came(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes = store._lanes_with_work

    def slowly(change: Change) -> list[str]:
        change.now -= 5.0  # this transaction began before the job was added
        return lanes(change)

    monkeypatch.setattr(store, "_lanes_with_work", slowly)
    job_id = add(store)
    row = claim(store)
    times = [entry["at"] for entry in store.history(job_id)]
    assert row["id"] == job_id and times == sorted(times) and row["started_at"] >= row["created_at"]


def test_two_workers_never_claim_one_job(store: Store) -> None:
    ids = store.add_jobs([new_job(f"owner{number % 5}") for number in range(60)], MANY, True)

    def work(number: int) -> list[str]:
        done = []
        while any(count for (_, kind), count in store.counts().items() if kind == "enqueued"):
            row = claim(store, f"w{number}")
            if row is not None:
                done.append(row["id"])
                finish(store, row)
        return done

    done = in_threads(4, work)
    assert sorted(job_id for part in done for job_id in part) == sorted(ids)
    assert all(states(store, job_id) == ["enqueued", "processing", "succeeded"] for job_id in ids)
    assert_counted(store)


def test_the_end_of_a_job_and_the_claim_of_the_next_are_one_transaction(store: Store) -> None:
    first, last, next_one = add(store), add(store, priority=-1), add(store)
    row = finish_and_claim(store, claim(store))
    assert (row["id"], row["state"], row["attempt"], row["worker_id"]) == (next_one, "processing", 1, "w1")
    assert row["payload"] == store.body(next_one)["payload"]
    assert [state(store, each) for each in (first, next_one, last)] == ["succeeded", "processing", "enqueued"]
    row = finish_and_claim(store, row)
    assert row["id"] == last and finish_and_claim(store, row) is None
    assert all(states(store, each) == ["enqueued", "processing", "succeeded"] for each in (first, next_one, last))
    assert_counted(store)


def test_who_finishes_and_claims_sees_pauses_lanes_keys_and_the_children_it_released(store: Store) -> None:
    held = [add(store, queue="a", concurrency_key="k"), add(store, queue="a", concurrency_key="k")]
    add(store, queue="b", priority=9)
    row = claim(store, served=("a", "b"))
    assert row["id"] == held[0]
    row = finish_and_claim(store, row, served=("a", "b"))
    assert row["id"] == held[1], "the key that the same transaction gave back is free"
    store.put_queue("b", {"paused": True})
    assert finish_and_claim(store, row, served=("a", "b")) is None
    parent = add(store, queue="a")
    child = add(store, queue="a", priority=5, after=(parent,))
    other = add(store, queue="a")
    row = claim(store, served=("a",))
    assert row["id"] == parent
    row = finish_and_claim(store, row, served=("a",))
    assert row["id"] == child, "it waits in line in the very transaction that released it"
    row = finish_and_claim(store, row, served=("a",))
    assert row["id"] == other
    parents = [add(store, queue=queue) for queue in ("only", "paused")]
    children = [
        add(store, queue=f"{queue}-after", after=(parent,)) for queue, parent in zip("xy", parents, strict=True)
    ]
    store.put_queue("y-after", {"paused": True})
    finish(store, row)
    row = claim(store, served=("only",))
    row = finish_and_claim(store, row, served=("x-after",))
    assert row["id"] == children[0], "a lane that nothing waited in before"
    finish(store, row)
    assert finish_and_claim(store, claim(store, served=("paused",)), served=("y-after",)) is None
    assert_counted(store)


def test_a_job_is_finished_once_however_many_try(store: Store) -> None:
    add(store)
    row = claim(store)

    def try_to_finish(number: int) -> bool:
        try:
            store.succeed(row, [ref()], "{}")
        except LeaseLost:
            return False
        return True

    assert sum(in_threads(6, try_to_finish)) == 1
    assert_counted(store)


def test_finished_jobs_leave_their_worker_idle(store: Store) -> None:
    worker = {
        "id": "w1", "host": "here", "pid": 1, "born": 0.0, "pipeline": "fake", "queues": "[]", "started_at": 0.0,
        "heartbeat_at": 0.0, "lease_s": 60.0,
    }  # fmt: skip
    store.add_worker(worker)
    job_id = add(store)
    row = claim(store)
    assert store.workers()[0]["job_id"] == job_id
    assert store.beat("w1", 5.0, {"fraction": 0.5})
    assert json.loads(store.workers()[0]["progress"]) == {"fraction": 0.5} and store.workers()[0]["heartbeat_at"] == 5.0
    finish(store, row)
    assert (store.workers()[0]["job_id"], store.workers()[0]["progress"]) == (None, None)
    store.remove_workers(["w1"])
    assert store.workers() == [] and not store.beat("w1", 6.0, None)


# --- lost workers ------------------------------------------------------------------------------------------------------


def test_the_job_of_a_dead_worker_goes_back_to_the_head(store: Store) -> None:
    first, second = add(store), add(store)
    claim(store, "dead")
    assert store.recover(["dead"], 2, 0.0, "w1") == [first]
    assert order_of(store) == [first, second]
    assert (store.job(first)["crashes"], store.job(first)["attempt"]) == (1, 1)
    assert "lost" in store.job(first)["reason"]
    assert claim(store)["attempt"] == 2
    assert_counted(store)


def test_a_job_that_cost_too_many_processes_fails(store: Store) -> None:
    job_id = add(store)
    for _ in range(2):
        claim(store, "dead")
        store.recover(["dead"], 2, 0.0, "w1")
    row = store.job(job_id)
    assert row["state"] == "failed" and "died 2 times" in row["reason"]
    store.requeue([job_id], True)
    assert (store.job(job_id)["crashes"], store.job(job_id)["attempt"]) == (0, 0)


def test_a_job_being_cancelled_when_its_worker_died_is_cancelled(store: Store) -> None:
    job_id = add(store)
    claim(store, "dead")
    store.cancel([job_id], "cancelled by its owner")
    store.recover(["dead"], 2, 0.0, "w1")
    assert state(store, job_id) == "deleted"
    assert_counted(store)


def test_an_ended_lease_is_taken_back_but_never_ones_own(store: Store) -> None:
    mine, other = add(store), add(store)
    claim(store, "w1"), claim(store, "w2")
    later = time.time() + 120
    assert store.recover([], 2, time.time(), "w1") == []
    assert store.recover([], 2, later, "w1") == [other]
    assert state(store, mine) == "processing"


# --- cancelling, requeuing, removing -----------------------------------------------------------------------------------


def test_a_cancelled_waiting_job_never_runs(store: Store) -> None:
    enqueued, scheduled = add(store), add(store, run_at=time.time() + SOON)
    assert sorted(store.cancel([enqueued, scheduled, "nobody"], "cancelled by its owner")) == sorted(
        [enqueued, scheduled]
    )
    assert (state(store, enqueued), state(store, scheduled)) == ("deleted", "deleted")
    assert store.job(enqueued)["expires_at"] is not None
    assert claim(store) is None and store.promote_due(True) == 0
    assert_counted(store)


def test_a_running_job_is_asked_to_stop_and_keeps_what_it_made(store: Store) -> None:
    job_id = add(store)
    row = claim(store)
    assert not store.cancel_wanted(job_id, row["lease"])
    assert store.cancel([job_id], "cancelled by its owner") == [job_id]
    assert state(store, job_id) == "processing" and store.cancel_wanted(job_id, row["lease"])
    assert store.events_after(0, 100)[-1]["kind"] == "cancel"
    store.cancel_running(row, "cancelled while it ran", [ref()], "{}")
    assert state(store, job_id) == "deleted" and len(store.files([job_id])[job_id]) == 1
    assert_counted(store)


def test_a_finished_job_cannot_be_cancelled(store: Store) -> None:
    job_id = add(store)
    finish(store, claim(store))
    before = everything(store)
    assert store.cancel([job_id], "too late") == []
    assert everything(store) == before


def test_requeue_starts_counting_anew(store: Store) -> None:
    job_id = add(store, queue="slow", priority=3)
    store.fail(claim(store), error(), "it broke")
    assert store.requeue([job_id], True, strict=True) == [job_id]
    row = store.job(job_id)
    assert (row["state"], row["attempt"], row["error"], row["finished_at"], row["queue"], row["priority"]) == (
        "enqueued", 0, None, None, "slow", 3,
    )  # fmt: skip
    assert claim(store)["attempt"] == 1
    assert_counted(store)


def test_a_deleted_job_can_be_requeued_and_no_longer_expires(store: Store) -> None:
    job_id = add(store)
    store.cancel([job_id], "cancelled")
    store.requeue([job_id], True)
    assert (state(store, job_id), store.job(job_id)["expires_at"]) == ("enqueued", None)


def test_requeue_of_a_waiting_job_is_refused_or_passed_over(store: Store) -> None:
    job_id = add(store)
    before = everything(store)
    assert store.requeue([job_id], True) == []
    with pytest.raises(UnexpectedState):
        store.requeue([job_id], True, strict=True)
    assert everything(store) == before


def test_only_finished_jobs_are_removed_with_all_they_had(store: Store) -> None:
    done = add(store, labels=("x",), inputs=(ref("c"),))
    waiting = add(store)
    store.succeed(claim(store), [ref()], "{}")
    assert store.remove([done, waiting, "nobody"]) == 1
    with pytest.raises(JobNotFound):
        store.job(done)
    with pytest.raises(JobNotFound):
        store.body(done)
    assert store.history(done) == [] and store.files([done]) == {} and store.files([done], "input") == {}
    assert store.ids(Filter(label="x")) == [] and store.ids(Filter()) == [waiting]
    assert store.unreferenced(["a" * 64, "c" * 64]) == {"a" * 64, "c" * 64}
    assert_counted(store)


def test_what_is_past_its_time_expires_unless_bookmarked_or_failed(store: Store) -> None:
    done, kept, failed, cancelled = add(store), add(store), add(store), add(store)
    for _ in range(2):
        finish(store, claim(store))
    store.fail(claim(store), error(), "it broke")
    store.cancel([cancelled], "cancelled")
    assert store.bookmark([kept]) == 1
    assert store.expire() == 0
    past = {"expires_at": time.time() - 1}
    set_job(store, done, **past), set_job(store, kept, **past), set_job(store, cancelled, **past)
    assert store.expire() == 2
    assert sorted(store.ids(Filter())) == sorted([kept, failed])
    assert_counted(store)


def test_history_is_shortened_to_its_size_the_oldest_first_but_for_bookmarked_and_failed(store: Store) -> None:
    store.put_queue("default", {})
    ids = [add(store) for _ in range(8)]
    for number, job_id in enumerate(ids):
        if number == 1:
            store.fail(claim(store), {"type": "Error", "message": "no", "attempt": 1}, "no")
        elif number == 2:
            store.cancel([job_id], "cancelled")
        else:
            finish(store, claim(store))
    store.bookmark([ids[0]])
    waiting = add(store)
    assert store.shorten_history(4) == 2 and store.shorten_history(4) == 0
    assert store.ids(Filter()) == [ids[0], ids[1], *ids[4:], waiting]
    assert [store.shorten_history(0, 3), store.shorten_history(0, 3)] == [3, 1]
    assert store.ids(Filter()) == [ids[0], ids[1], waiting]
    assert_counted(store)


def test_expiring_goes_on_in_portions(store: Store) -> None:
    ids = store.add_jobs([new_job() for _ in range(7)], MANY, True)
    store.cancel(ids, "cancelled")
    for job_id in ids:
        set_job(store, job_id, expires_at=1.0)
    assert [store.expire(3), store.expire(3), store.expire(3)] == [3, 3, 1]


# --- moving and editing ------------------------------------------------------------------------------------------------


def test_jobs_that_are_added_at_the_front_are_there_in_one_transaction_whatever_crashes(store: Store) -> None:
    a, b = (add(store) for _ in range(2))
    commits: list[int] = []
    store.on_commit = lambda _events: commits.append(1)
    key = {"idempotency_key": "k", "digest": "d"}
    fresh = [new_job(), new_job("bob", run_at=time.time() + SOON), new_job("bob", priority=-5, **key)]
    c, later, d = store.add_jobs(fresh, MANY, True, front=True)
    assert len(commits) == 1 and order_of(store) == [c, d, a, b] and store.job(later)["state"] == "scheduled"
    store.move(a, to="front")
    assert store.add_jobs([new_job("bob", **key)], MANY, True, front=True) == [d]
    assert order_of(store) == [a, c, d, b], "what was there already keeps its place"


def test_a_job_moves_to_front_back_before_and_after(store: Store) -> None:
    a, b, c, d = (add(store) for _ in range(4))
    store.move(c, to="front")
    assert order_of(store) == [c, a, b, d]
    store.move(c, to="back")
    assert order_of(store) == [a, b, d, c]
    store.move(c, before=b)
    assert order_of(store) == [a, c, b, d]
    store.move(a, after=b)
    assert order_of(store) == [c, b, a, d]
    store.move(a, after=b)
    store.move(d, before=d)
    assert order_of(store) == [c, b, a, d]


def test_a_job_moved_to_the_back_is_still_before_those_who_come_later(store: Store) -> None:
    for fair in (True, False):
        first, moved, last = store.add_jobs([new_job(queue=f"q{fair:d}") for _ in range(3)], MANY, fair)
        store.move(moved, to="back")
        later = store.add_jobs([new_job(queue=f"q{fair:d}")], MANY, fair)[0]
        assert order_of(store, f"q{fair:d}") == [first, last, moved, later]


def test_a_line_made_room_in_is_still_before_those_who_come_later(store: Store) -> None:
    ids = store.add_jobs([new_job() for _ in range(3)], MANY, False)
    with store.changing() as change:
        store._respace(change, "default", store.job(ids[0])["order_key"][:14])
    later = store.add_jobs([new_job()], MANY, False)[0]
    assert order_of(store) == [*ids, later]


def test_a_job_cannot_move_to_another_queue_or_next_to_what_does_not_wait(store: Store) -> None:
    job_id, other, done = add(store), add(store, queue="other"), add(store, priority=1)
    finish(store, claim(store))
    before = everything(store)
    for place in ({"before": other}, {"after": done}):
        with pytest.raises(UnexpectedState):
            store.move(job_id, **place)
    with pytest.raises(JobNotFound):
        store.move(job_id, after="nobody")
    with pytest.raises(UnexpectedState):
        store.move(done, to="front")
    assert everything(store) == before


def test_moves_into_the_same_gap_find_room_again_and_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queue_ext.order.KEY_LIMIT", 60)
    ids = store.add_jobs([new_job() for _ in range(4)], MANY, False)
    expected = list(ids)
    for number in range(150):
        moved = expected[2 + number % 2]
        store.move(moved, after=expected[0])
        expected.remove(moved)
        expected.insert(1, moved)
        assert len(store.job(moved)["order_key"]) <= 60
    assert order_of(store) == expected
    later = store.add_jobs([new_job()], MANY, False)[0]
    assert order_of(store) == [*expected, later]


def test_many_moving_at_once_keep_all_places_different(store: Store) -> None:
    ids = store.add_jobs([new_job() for _ in range(12)], MANY, False)
    in_threads(6, lambda number: [store.move(ids[number], to="front") for _ in range(5)])
    keys = [row.order_key for row in store.line("default")]
    assert sorted(order_of(store)) == sorted(ids) and len(set(keys)) == len(keys)


def test_name_labels_and_bookmark_can_change_at_any_time_the_rest_only_while_waiting(store: Store) -> None:
    job_id = add(store, labels=("old",))
    finish(store, claim(store))
    store.edit(job_id, True, {"name": "new", "bookmarked": True}, ["fresh"], None, None)
    row = store.job(job_id)
    assert (row["name"], bool(row["bookmarked"]), json.loads(row["labels"])) == ("new", True, ["fresh"])
    assert store.ids(Filter(label="fresh", bookmarked=True)) == [job_id] and store.ids(Filter(label="old")) == []
    before = everything(store)
    for columns, payload in (({"priority": 3}, None), ({"queue": "other"}, None), ({"run_at": 9e9}, None), ({}, "{}")):
        with pytest.raises(UnexpectedState):
            store.edit(job_id, True, {"name": "never", **columns}, ["never"], payload, None)
    assert everything(store) == before


def test_an_edited_payload_replaces_its_pictures(store: Store) -> None:
    job_id = add(store, inputs=(ref("a"),))
    store.edit(job_id, True, {"prompt": "new"}, None, '{"prompt": "new"}', [ref("b")])
    assert [file["sha256"][0] for file in store.files([job_id], "input")[job_id]] == ["b"]
    assert claim(store)["payload"] == '{"prompt": "new"}'


def test_a_job_that_changes_queue_or_priority_arrives_anew(store: Store) -> None:
    first, second = add(store), add(store)
    store.edit(first, True, {"queue": "other"}, None, None, None)
    assert (order_of(store), order_of(store, "other")) == ([second], [first])
    assert_counted(store)
    third = add(store, "bob")
    store.edit(third, True, {"priority": 9}, None, None, None)
    assert order_of(store) == [third, second]
    assert {row["name"] for row in store.queues()} == {"default", "other"}


def test_a_job_can_be_put_off_and_brought_forward(store: Store) -> None:
    job_id = add(store)
    store.edit(job_id, True, {"run_at": time.time() + SOON}, None, None, None)
    assert state(store, job_id) == "scheduled" and claim(store) is None
    store.edit(job_id, True, {"run_at": time.time() + 2 * SOON}, None, None, None)
    assert store.next_due() == pytest.approx(time.time() + 2 * SOON, abs=30)
    store.edit(job_id, True, {"run_at": None, "queue": "other"}, None, None, None)
    assert state(store, job_id) == "enqueued" and store.next_due() is None
    assert_counted(store)


def test_a_skip_is_for_running_jobs_only(store: Store) -> None:
    job_id = add(store)
    with pytest.raises(UnexpectedState):
        store.request_skip(job_id)
    with pytest.raises(JobNotFound):
        store.request_skip("nobody")
    claim(store)
    store.request_skip(job_id)
    assert store.events_after(0, 100)[-1]["kind"] == "skip"


# --- promoting ---------------------------------------------------------------------------------------------------------


def test_due_jobs_join_their_line_and_others_stay(store: Store) -> None:
    due = [add(store, run_at=time.time() + SOON) for _ in range(5)]
    stays = add(store, run_at=time.time() + SOON)
    for job_id in due:
        set_job(store, job_id, run_at=time.time() - 1)
    assert [store.promote_due(True, 3), store.promote_due(True, 3)] == [3, 2]
    assert sorted(order_of(store)) == sorted(due) and state(store, stays) == "scheduled"
    assert_counted(store)


def test_two_clocks_promote_a_job_once(store: Store) -> None:
    ids = [add(store, run_at=time.time() + SOON) for _ in range(20)]
    for job_id in ids:
        set_job(store, job_id, run_at=time.time() - 1)
    in_threads(4, lambda _: store.promote_due(True))
    until(lambda: not store.promote_due(True))
    assert all(states(store, job_id) == ["scheduled", "enqueued"] for job_id in ids)
    assert_counted(store)


# --- order -------------------------------------------------------------------------------------------------------------


def owners(store: Store, queue: str = "default") -> str:
    return "".join(row.owner for row in store.line(queue))


def test_owners_take_turns(store: Store) -> None:
    for owner in "AAABCC":
        add(store, owner)
    assert owners(store) == "ABCACA"
    ran = ""
    while row := claim(store):
        ran += row["owner"]
        finish(store, row)
    assert ran == "ABCACA"


def test_a_running_job_counts_for_its_owner(store: Store) -> None:
    add(store, "A")
    claim(store)
    for owner in "AABC":
        add(store, owner)
    assert owners(store) == "BCAA"


def test_one_owner_alone_sees_first_come_first_served(store: Store) -> None:
    ids = [add(store) for _ in range(6)]
    ran = []
    for number in range(6):
        ran.append(claim(store)["id"])
        ids += [add(store)] if number < 3 else []
    assert ran == ids[:6]


def test_without_fair_turns_all_are_served_as_they_come(store: Store) -> None:
    for owner in "AAABCC":
        store.add_jobs([new_job(owner)], MANY, False)
    assert owners(store) == "AAABCC"


def test_higher_priority_runs_first_and_turns_are_kept_for_each(store: Store) -> None:
    for owner, priority in (("A", 0), ("A", 5), ("B", -5), ("B", 5), ("A", 5), ("C", 4999), ("D", -4999)):
        add(store, owner, priority=priority)
    assert owners(store) == "CABAABD"


def test_a_newcomer_waits_for_one_turn_of_each_and_no_more(store: Store) -> None:
    for _ in range(50):
        add(store, "A"), add(store, "B")
    for _ in range(20):
        finish(store, claim(store))
    add(store, "newcomer")
    upcoming = [row.owner for row in store.line("default")]
    assert upcoming.index("newcomer") <= 2


def test_who_sends_one_job_after_the_other_does_not_starve_who_sent_all_at_once(store: Store) -> None:
    for _ in range(4):
        add(store, "A")
    ran = ""
    for _ in range(8):
        add(store, "B")
        while (row := claim(store))["owner"] != "B":
            ran += "A"
            finish(store, row)
        ran += "B"
        finish(store, row)
    assert ran.startswith("ABABABAB") and ran.endswith("BBBB")


def test_a_cancelled_job_gives_its_turn_back(store: Store) -> None:
    cancelled = [add(store, "A") for _ in range(5)]
    store.cancel(cancelled, "cancelled")
    add(store, "A"), add(store, "B")
    assert owners(store) == "AB"


def test_a_worker_serves_its_queues_in_its_order_and_skips_paused_ones(store: Store) -> None:
    for queue in ("zebra", "default", "alpha"):
        add(store, queue=queue)
    store.set_paused("alpha", True, "by hand")
    assert claim(store, served=("alpha", "zebra"))["queue"] == "zebra"
    assert claim(store)["queue"] == "default"
    assert claim(store) is None
    store.set_paused("alpha", False, None)
    assert claim(store, served=("other",)) is None
    assert claim(store)["queue"] == "alpha"


# --- lanes, uploads, log -----------------------------------------------------------------------------------------------


def test_a_lane_is_made_changed_paused_and_deleted(store: Store) -> None:
    store.put_queue("slow", {"retry_attempts": 0, "timeout_s": 9.5})
    store.put_queue("slow", {"retry_delay_s": 1.0})
    row = store.queue("slow")
    assert (row["retry_attempts"], row["timeout_s"], row["retry_delay_s"], bool(row["paused"])) == (0, 9.5, 1.0, False)
    store.set_paused("slow", True, "maintenance")
    assert (bool(store.queue("slow")["paused"]), store.queue("slow")["pause_reason"]) == (True, "maintenance")
    store.delete_queue("slow")
    with pytest.raises(QueueNotFound):
        store.queue("slow")
    with pytest.raises(QueueNotFound):
        store.set_paused("slow", True, None)
    with pytest.raises(QueueNotFound):
        store.delete_queue("slow")


def test_a_lane_with_unfinished_jobs_and_the_default_one_stay(store: Store) -> None:
    job_id = add(store, queue="slow")
    with pytest.raises(QueueNotEmpty):
        store.delete_queue("slow")
    with pytest.raises(QueueIsPermanent):
        store.delete_queue("default")
    claim(store)
    with pytest.raises(QueueNotEmpty):
        store.delete_queue("slow")
    finish(store, {**store.job(job_id), "worker_id": "w1"})
    store.delete_queue("slow")
    assert store.job(job_id)["queue"] == "slow"


def test_a_deleted_lane_is_made_again_by_the_next_job(store: Store) -> None:
    store.cancel([add(store, queue="slow")], "cancelled")
    store.delete_queue("slow")
    add(store, queue="slow")
    assert store.queue("slow")["name"] == "slow"


def test_clearing_a_lane_cancels_what_waits_in_it_alone(store: Store) -> None:
    running = add(store)
    claim(store)
    waiting, later, elsewhere = add(store), add(store, run_at=time.time() + SOON), add(store, queue="other")
    assert store.clear_queue("default", "cleared") == 2
    assert [state(store, job_id) for job_id in (running, waiting, later, elsewhere)] == [
        "processing", "deleted", "deleted", "enqueued",
    ]  # fmt: skip
    assert_counted(store)


def test_lanes_are_limited(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queue_ext.store.jobs.QUEUES_LIMIT", 3)
    for name in ("one", "two", "three"):
        add(store, queue=name)
    with pytest.raises(LimitReached, match="queues"):
        add(store, queue="four")
    with pytest.raises(LimitReached, match="queues"):
        add(store, queue="four")
    assert {row["name"] for row in store.queues()} == {"one", "two", "three"}
    assert_counted(store)


def test_an_upload_belongs_to_who_brought_it(store: Store) -> None:
    store.add_upload("ann", ref(), 100.0)
    store.add_upload("ann", ref(), 200.0)
    assert store.upload("ann", "a" * 64).size == 100 and store.upload("bob", "a" * 64) is None
    assert store.unreferenced(["a" * 64, "b" * 64]) == {"b" * 64}
    assert store.forget_uploads(200.0) == 0 and store.forget_uploads(201.0) == 1
    assert store.unreferenced(["a" * 64]) == {"a" * 64}


def test_a_secret_is_made_once_for_all(store: Store) -> None:
    found = in_threads(4, lambda _: store.secret("pictures"))
    assert len(set(found)) == 1 and len(found[0]) == 32 and store.secret("other") != found[0]


def test_old_events_keys_and_hours_are_dropped(store: Store) -> None:
    add(store, idempotency_key="k")
    finish(store, claim(store))
    last = store.last_seq()
    assert store.first_seq() == 1
    store.trim(time.time() + 2 * DAY)
    assert store.events_after(0, 10) == [] and store.last_seq() == last and store.first_seq() == last + 1
    assert len(store.endings("hour", 0)) == 1
    store.trim(time.time() + 100 * DAY)
    assert store.endings("hour", 0) == [] and len(store.endings("day", 0)) == 1
    add(store)
    assert store.first_seq() == last + 1


@pytest.mark.parametrize("strange", ["", "\0", "no\0body", "ü", "猫", "'; --", "%", "\ud800", "x" * 5000])
def test_a_name_that_cannot_exist_finds_nothing(store: Store, strange: str) -> None:
    job_id = add(store)
    before = everything(store)
    for verb in (
        store.job,
        store.body,
        store.request_skip,
        store.queue,
        store.delete_queue,
        lambda name: store.set_paused(name, True, None),
    ):
        with pytest.raises(LookupError):
            verb(strange)
    with pytest.raises(LookupError):
        store.move(job_id, after=strange or "-")
    assert store.jobs([strange, job_id])[0]["id"] == job_id
    assert store.cancel([strange], "x") == store.requeue([strange], True) == []
    assert store.remove([strange]) == store.bookmark([strange]) == 0
    assert store.ids(Filter(queue=strange or "-")) == store.ids(Filter(label=strange)) == []
    assert store.ids(Filter(q=f"{strange}-")) == store.ids(Filter(owner=strange)) == []
    assert store.history(strange) == [] and store.files([strange]) == {} and store.upload("ann", strange) is None
    assert everything(store) == before


def test_a_filter_finds_exactly_what_it_names(store: Store) -> None:
    plain = add(store, prompt="100% real", name="Foo_bar")
    other = add(store, "bob", queue="slow", task="img2img", prompt="100 real", name="Fooxbar", labels=("x",))
    back = add(store, "bob", prompt="a \\ b")
    for which, expected in (
        (Filter(), [plain, other, back]),
        (Filter(q="100%"), [plain]),
        (Filter(q="foo_BAR"), [plain]),
        (Filter(q="\\"), [back]),
        (Filter(owner="bob", queue="slow"), [other]),
        (Filter(task="img2img", label="x"), [other]),
        (Filter(viewer="ann"), [plain]),
        (Filter(viewer="ann", owner="bob"), []),
        (Filter(bookmarked=True), []),
        (Filter(bookmarked=False, states=(State.ENQUEUED,)), [plain, other, back]),
        (Filter(schedule_id="anything"), []),
    ):
        assert store.ids(which) == expected, which
        assert [row["id"] for row in store.page(which, False, None, 10)] == expected
        assert [row["id"] for row in store.page(which, True, None, 10)] == expected[::-1]
        assert store.total(which) == len(expected)


def test_pages_of_several_states_meet_without_gap_or_repeat(store: Store) -> None:
    ids = [add(store) for _ in range(12)]
    store.cancel(ids[::3], "cancelled")
    for _ in range(3):
        finish(store, claim(store))
    seen, after = [], None
    while rows := store.page(Filter(states=tuple(State)), True, after, 5):
        seen += [row["id"] for row in rows]
        after = rows[-1]["id"]
    assert seen == ids[::-1]


def test_lines_are_paged_lane_by_lane(store: Store) -> None:
    for queue in ("zoo", "default", "alpha"):
        for _ in range(3):
            add(store, queue=queue)
    seen, after = [], None
    while rows := store.line_page(Filter(), after, 2):
        seen += [row["queue"] for row in rows]
        after = (rows[-1]["queue"], rows[-1]["order_key"])
    assert seen == ["default"] * 3 + ["alpha"] * 3 + ["zoo"] * 3
    assert store.line_page(Filter(), ("gone", "0"), 5) == []


def test_ranks_count_what_is_before_whatever_is_asked_for(store: Store) -> None:
    ids = [add(store, f"o{number % 7}", work=float(number)) for number in range(130)]
    line = store.line("default")
    expected = {row.id: (number, sum(other.work for other in line[:number])) for number, row in enumerate(line)}
    for asked in (ids, ids[5:6], ids[10:80:3], [ids[-1], ids[0]]):
        ranks = store.ranks(store.jobs(asked))
        assert {job_id: ranks[job_id] for job_id in asked} == {job_id: expected[job_id] for job_id in asked}


# --- nothing is half done ----------------------------------------------------------------------------------------------


def test_a_transition_from_another_state_changes_nothing(store: Store) -> None:
    first, second = add(store), add(store)
    rows = store.jobs([first, second])
    store.cancel([second], "cancelled")
    before = everything(store)
    with pytest.raises(UnexpectedState), store.changing() as change:
        change.transition(rows, State.ENQUEUED, State.PROCESSING)
    assert everything(store) == before


def test_a_transition_that_is_not_allowed_changes_nothing(store: Store) -> None:
    row = store.job(add(store))
    before = everything(store)
    with pytest.raises(UnexpectedState), store.changing() as change:
        change.transition([row], State.ENQUEUED, State.SUCCEEDED)
    assert everything(store) == before


class Stop(Exception):
    pass


@pytest.mark.parametrize("where", ["transition", "applied", "flush", "_write_events"])
def test_the_store_survives_a_raise_inside_any_transaction(
    store: Store, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    waiting, running, failed = add(store), add(store, priority=1), add(store, priority=2)
    store.fail(claim(store), error(), "it broke")
    held = claim(store)
    assert (held["id"], store.job(failed)["state"]) == (running, "failed")
    before = everything(store)
    original = getattr(Change, where)

    def raising(self: Change, *args: Any, **kwargs: Any) -> Any:
        original(self, *args, **kwargs)
        raise Stop

    with monkeypatch.context() as patched:
        patched.setattr(Change, where, raising)
        for verb in (
            *([lambda: add(store, queue="new")] if where != "transition" else []),
            lambda: claim(store, "w2"),
            lambda: store.succeed(held, [ref()], "{}"),
            lambda: finish_and_claim(store, held),
            lambda: retry(store, held, error(), None, "again"),
            lambda: store.give_back(held, "stop"),
            lambda: store.recover(["w1"], 2, 0.0, ""),
            lambda: store.cancel([waiting], "cancelled"),
            lambda: store.requeue([failed], True),
            lambda: store.edit(waiting, True, {"queue": "new", "run_at": 9e9}, ["x"], "{}", [ref()]),
            lambda: store.clear_queue("default", "cleared"),
        ):
            try:
                verb()
            except Stop:
                assert everything(store) == before
            else:
                pytest.fail("the verb never came here")
    add(store, queue="new")
    assert store.queue("new")["name"] == "new"
    finish(store, held)
    assert_counted(store)


def test_the_store_survives_a_full_second_of_conflicts(store: Store) -> None:
    """Lanes made by many at once, in every order: each exists afterwards, and none is counted twice."""

    def work(number: int) -> None:
        for step in range(8):
            names = [f"lane{(number * 3 + step + offset) % 6}" for offset in range(3)]
            store.add_jobs([new_job(f"o{number}", queue=name) for name in names], MANY, True)
            row = claim(store, f"w{number}")
            if row is not None:
                finish(store, row)

    in_threads(6, work)
    assert {row["name"] for row in store.queues()} == {f"lane{number}" for number in range(6)}
    assert_counted(store)


def test_a_reader_that_follows_the_log_misses_nothing_however_many_write(store: Store) -> None:
    done = threading.Event()
    seen: list[int] = []

    def tail() -> None:
        last = 0
        while True:
            ended = done.is_set()
            rows = store.events_after(last, 50)
            seen.extend(row["seq"] for row in rows)
            last = seen[-1] if seen else 0
            if ended and not rows:
                return

    reader = threading.Thread(target=tail)
    reader.start()

    def write(number: int) -> None:
        for step in range(15):
            job_id = add(store, f"o{number}")
            if step % 3 == 0:
                store.cancel([job_id], "cancelled")
            elif (row := claim(store, f"w{number}")) is not None:
                finish(store, row)

    try:
        in_threads(6, write)
    finally:
        done.set()
        reader.join(60)
    assert seen == list(range(1, store.last_seq() + 1))
    with store.db.read() as conn:
        assert conn.execute(select(func.count()).select_from(store.tables.event)).scalar_one() == len(seen)
    assert_counted(store)


def test_events_of_one_owner_and_those_for_all_can_be_read_alone(store: Store) -> None:
    ann, _bob = add(store, "ann"), add(store, "bob")
    store.put_queue("new", {})
    found = store.events_after(0, 100, "ann")
    assert [(event["kind"], event["job_id"]) for event in found] == [("queue", None), ("job", ann), ("queue", None)]


def test_an_end_that_is_not_settled_yet_is_there_for_everybody_and_told_to_nobody(store: Store) -> None:
    add(store)
    following = add(store)
    row = claim(store)
    heard: list[Any] = []
    store.on_commit = heard.extend
    found, settle = store.succeed_and_claim(row, [], "{}", "w1", (), 60.0)
    assert (found["id"], store.job(row["id"])["state"], heard) == (following, "succeeded", [])
    settle()
    assert [json.loads(event["data"])["state"] for event in heard] == ["succeeded", "processing"]


def test_only_what_need_not_be_settled_at_once_does_not_wait_for_the_disk(sqlite_store: Store) -> None:
    def asked(conn: Any) -> int:
        return conn.exec_driver_sql("PRAGMA synchronous").scalar_one()

    db, full, normal = sqlite_store.db, 2, 1
    for _ in range(2):
        with db.write(settled=False) as conn:
            assert asked(conn) == normal
        with db.write() as conn:
            assert asked(conn) == full
        with pytest.raises(ZeroDivisionError), db.write(settled=False) as conn:
            raise ZeroDivisionError
    with db.read() as conn:
        assert asked(conn) == full


def test_a_connection_that_trouble_left_in_a_transaction_holds_up_no_later_end(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(sqlite_store)
    add(sqlite_store)
    row, settle = sqlite_store.succeed_and_claim(claim(sqlite_store), [], "{}", "w1", (), 60.0)
    settle()
    with monkeypatch.context() as broken:
        broken.setattr(Connection, "rollback", lambda _conn: None)
        with pytest.raises(ZeroDivisionError), sqlite_store.db.write(settled=False):
            raise ZeroDivisionError
    _, settle = sqlite_store.succeed_and_claim(row, [], "{}", "w1", (), 60.0)
    settle()
    assert state(sqlite_store, row["id"]) == "succeeded"


@pytest.mark.skipif(os.name == "nt", reason="Windows lets nobody move a file that is open")
def test_no_end_is_written_into_a_file_that_was_replaced(sqlite_store: Store, tmp_path: Path) -> None:
    add(sqlite_store)
    second = add(sqlite_store)
    row, settle = sqlite_store.succeed_and_claim(claim(sqlite_store), [], "{}", "w1", (), 60.0)
    settle()
    whole = sqlite3.connect(tmp_path / "copy.sqlite3")
    with contextlib.closing(sqlite3.connect(tmp_path / "queue.sqlite3")) as old:
        old.backup(whole)
    whole.close()
    for name in ("queue.sqlite3", "queue.sqlite3-wal", "queue.sqlite3-shm"):
        (tmp_path / name).rename(tmp_path / f"old-{name}")
    (tmp_path / "copy.sqlite3").rename(tmp_path / "queue.sqlite3")
    with pytest.raises(StorageUnavailable, match="was replaced"):
        sqlite_store.succeed_and_claim(row, [], "{}", "w1", (), 60.0)
    _, settle = sqlite_store.succeed_and_claim(row, [], "{}", "w1", (), 60.0)
    settle()
    with contextlib.closing(sqlite3.connect(tmp_path / "queue.sqlite3")) as new:
        assert new.execute("select state from queue_job where id = ?", [second]).fetchone() == ("succeeded",)


@pytest.mark.skipif(os.name == "nt", reason="Windows lets nobody move a file that is open")
def test_no_file_is_made_in_place_of_one_that_is_missing_and_the_end_is_kept_when_it_is_back(
    sqlite_store: Store, tmp_path: Path
) -> None:
    add(sqlite_store)
    add(sqlite_store)
    row, settle = sqlite_store.succeed_and_claim(claim(sqlite_store), [], "{}", "w1", (), 60.0)
    settle()
    file, away = tmp_path / "queue.sqlite3", tmp_path / "away.sqlite3"
    file.rename(away)
    for _ in range(3):
        with pytest.raises(StorageUnavailable, match="is missing"):
            sqlite_store.succeed_and_claim(row, [], "{}", "w1", (), 60.0)
        assert not file.exists()
    away.rename(file)
    _, settle = sqlite_store.succeed_and_claim(row, [], "{}", "w1", (), 60.0)
    settle()
    assert state(sqlite_store, row["id"]) == "succeeded"


def test_a_log_that_is_gone_is_settled_and_one_that_cannot_be_is_said_to_be(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(sqlite_store)
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    sqlite_store.db.settle()
    assert len(synced) == 1

    def full(_handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageUnavailable, match="did not take the database: Input/output error"):
        sqlite_store.db.settle()
    sqlite_store.db.close()  # the last connection takes the log into the file and deletes it
    sqlite_store.db.settle()


def test_whoever_listens_hears_of_every_commit_that_left_an_event(store: Store) -> None:
    heard: list[Any] = []
    store.on_commit = heard.extend
    job_id = add(store)
    store.cancel([job_id], "cancelled")
    store.cancel([job_id], "again")
    with pytest.raises(UnexpectedState):
        store.requeue([add(store)], True, strict=True)
    assert [event["seq"] for event in heard] == [1, 2, 3, 4]
    assert [from_row(event) for event in heard] == [from_row(event) for event in store.events_after(0, 10)]


def test_ids_sort_by_the_time_they_were_made() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(ids) and len(set(ids)) == 1000 and {len(job_id) for job_id in ids} == {26}
