"""Jobs that wait for jobs, and jobs that must not run together, on every database."""

import threading
import time
from typing import Any

import pytest

from queue_ext.errors import InvalidRequest, LimitReached
from queue_ext.models import State
from queue_ext.store import Limits, Store
from tests.support import MANY, add, assert_counted, claim, finish, new_job


def states(store: Store, *ids: str) -> list[str]:
    return [store.job(job_id)["state"] for job_id in ids]


def fail(store: Store, row: Any) -> None:
    store.fail(row, {"type": "Error", "message": "no", "attempt": row["attempt"]}, "no")


def test_a_child_starts_in_the_transaction_that_ends_its_parent(store: Store) -> None:
    parent = add(store)
    child = add(store, after=(parent,))
    grandchild = add(store, after=(child,))
    assert states(store, child, grandchild) == ["awaiting", "awaiting"]
    finish(store, claim(store))
    assert states(store, parent, child, grandchild) == ["succeeded", "enqueued", "awaiting"]
    assert_counted(store)


def test_a_child_of_a_finished_parent_starts_at_once(store: Store) -> None:
    parent = add(store)
    finish(store, claim(store))
    assert states(store, add(store, after=(parent,))) == ["enqueued"]


def test_a_child_waits_while_its_parent_has_failed_and_starts_after_its_retry_succeeded(store: Store) -> None:
    parent = add(store)
    child = add(store, after=(parent,))
    fail(store, claim(store))
    assert states(store, child) == ["awaiting"]
    store.requeue([parent], True)
    finish(store, claim(store))
    assert states(store, child) == ["enqueued"]


def test_a_deleted_parent_deletes_a_child_that_wants_it_to_succeed_and_all_below(store: Store) -> None:
    parent = add(store)
    child = add(store, after=(parent,))
    grandchild = add(store, after=(child,))
    store.cancel([parent], "cancelled")
    assert states(store, child, grandchild) == ["deleted", "deleted"]
    assert "did not end as succeeded" in store.job(child)["reason"]
    assert_counted(store)


@pytest.mark.parametrize(
    ("after_on", "on_success", "on_cancel"),
    [("succeeded", "enqueued", "deleted"), ("finished", "enqueued", "enqueued"), ("deleted", "deleted", "enqueued")],
)
def test_each_kind_of_child(store: Store, after_on: str, on_success: str, on_cancel: str) -> None:
    good, bad = add(store), add(store, queue="other")
    children = [add(store, after=(parent,), after_on=after_on) for parent in (good, bad)]
    finish(store, claim(store))
    store.cancel([bad], "cancelled")
    assert states(store, *children) == [on_success, on_cancel]


def test_a_child_of_several_waits_for_the_last_of_them(store: Store) -> None:
    parents = [add(store) for _ in range(3)]
    child = add(store, after=tuple(parents))
    for left in (2, 1, 0):
        finish(store, claim(store))
        assert states(store, child) == ["awaiting" if left else "enqueued"]


def test_a_failed_parent_that_is_forgotten_counts_as_deleted(store: Store) -> None:
    parent = add(store)
    child = add(store, after=(parent,))
    fail(store, claim(store))
    store.remove([parent])
    assert states(store, child) == ["deleted"]


def test_a_parent_that_does_not_exist_or_ended_otherwise_is_refused_and_nothing_is_stored(store: Store) -> None:
    gone = add(store)
    store.cancel([gone], "cancelled")
    for wrong in ("nothing", gone):
        with pytest.raises(InvalidRequest) as refused:
            add(store, after=(wrong,))
        assert refused.value.errors[0]["loc"] == ["after"]
    assert sum(store.counts().values()) == 1
    assert_counted(store)


def test_a_batch_may_wait_for_its_own_members(store: Store) -> None:
    first = new_job()
    second = new_job(after=(first.id,))
    store.add_jobs([first, second], MANY, True)
    assert states(store, first.id, second.id) == ["enqueued", "awaiting"]
    assert store.parents([second.id]) == {second.id: [first.id]}


def test_clearing_a_lane_with_many_parents_decides_all_their_children(store: Store) -> None:
    parents = store.add_jobs([new_job(queue="big") for _ in range(600)], MANY, True)
    children = store.add_jobs([new_job(after=(parent,), after_on="deleted") for parent in parents], MANY, True)
    store.clear_queue("big", "cleared")
    assert store.counts()["default", "enqueued"] == len(children)
    assert_counted(store)


def test_a_child_created_while_its_parent_ends_never_waits_for_ever(store: Store) -> None:
    for _ in range(10):
        parent = add(store)
        row = claim(store)
        made: list[str] = []
        threads = [
            threading.Thread(target=finish, args=(store, row)),
            threading.Thread(target=lambda parent=parent, made=made: made.append(add(store, after=(parent,)))),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert states(store, *made) == ["enqueued"]
        finish(store, claim(store))


def test_a_busy_concurrency_key_never_occupies_a_worker(store: Store) -> None:
    first, second = add(store, concurrency_key="lora"), add(store, concurrency_key="lora")
    third = add(store)
    running = claim(store)
    assert running["id"] == first
    assert claim(store, "w2")["id"] == third
    assert claim(store, "w3") is None
    finish(store, running)
    assert claim(store, "w3")["id"] == second


def test_two_jobs_of_one_key_never_run_at_once_however_many_claim(store: Store) -> None:
    store.put_queue("default", {})
    for _ in range(6):
        add(store, concurrency_key="one")
    taken: list[Any] = []
    threads = [
        threading.Thread(target=lambda name=name: taken.append(claim(store, name))) for name in ("a", "b", "c", "d")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([row for row in taken if row]) == 1
    assert store.counts()["default", "processing"] == 1


def test_the_quota_is_exact_under_parallel_submits(store: Store) -> None:
    limits = Limits(1_000, per_day=5)
    outcomes: list[bool] = []

    def submit() -> None:
        try:
            store.add_jobs([new_job("greedy")], limits, True)
            outcomes.append(True)
        except LimitReached as error:
            assert error.values["limit"] == "quota_per_day" and 0 < error.values["retry_after"] <= 86400
            outcomes.append(False)

    threads = [threading.Thread(target=submit) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(True) == 5 and len(outcomes) == 20
    assert store.used("greedy", f"day:{int(time.time() // 86400)}") == 5
    store.add_jobs([new_job("modest")], limits, True)


def test_a_refused_batch_uses_nothing_of_the_quota(store: Store) -> None:
    with pytest.raises(LimitReached):
        store.add_jobs([new_job() for _ in range(6)], Limits(1_000, per_day=5), True)
    store.add_jobs([new_job() for _ in range(5)], Limits(1_000, per_day=5), True)


def test_the_same_idempotency_key_uses_the_quota_once(store: Store) -> None:
    ids = {
        store.add_jobs([new_job(idempotency_key="k", digest="d")], Limits(1_000, per_day=1), True)[0] for _ in range(3)
    }
    assert len(ids) == 1


def test_a_rate_is_a_limit_per_minute(store: Store) -> None:
    with pytest.raises(LimitReached) as refused:
        for _ in range(20):  # two minutes may meet here, never seven
            store.add_jobs([new_job()], Limits(1_000, per_minute=3), True)
    assert refused.value.values["limit"] == "rate_per_minute" and refused.value.values["retry_after"] <= 60


def test_a_job_that_waited_too_long_is_deleted_with_that_reason_and_a_patient_one_is_not(store: Store) -> None:
    impatient, patient, plain = add(store, ttl_s=-1.0), add(store, ttl_s=3600.0), add(store)
    assert store.give_up_waiting() == 1
    assert states(store, impatient, patient, plain) == ["deleted", "enqueued", "enqueued"]
    assert store.job(impatient)["reason"] == "waited too long"
    assert store.history(impatient)[-1]["state"] == State.DELETED
