"""Places in line: the job itself does not count, the running one does, and several lanes, pauses and workers do."""

import json
import time
from collections.abc import Sequence

import pytest

from queue_ext.estimates import Estimates
from queue_ext.line import Line
from queue_ext.store import Measured, Store, machine
from queue_ext.views import Place

from .support import add, claim, finish

MINUTE = 60.0


def sign_on(store: Store, worker_id: str = "w1", queues: str = "[]", heartbeat_at: float | None = None) -> None:
    now = time.time()
    store.add_worker(
        {
            "id": worker_id,
            "host": "here",
            "pid": 1,
            "born": 0.0,
            "pipeline": "fake",
            "queues": queues,
            "started_at": now,
            "heartbeat_at": now if heartbeat_at is None else heartbeat_at,
            "lease_s": MINUTE,
        }
    )


def line(store: Store) -> Line:
    return Line(store, MINUTE, Estimates(store))


def places(store: Store, ids: Sequence[str], of: Line | None = None) -> list[Place]:
    found = (of or line(store)).places(store.jobs(ids))
    return [found[job_id] for job_id in ids]


def ahead(store: Store, ids: Sequence[str], of: Line | None = None) -> list[int | None]:
    return [place.ahead for place in places(store, ids, of)]


def expect_start(store: Store, job_id: str, at: float) -> None:
    """The job is expected to start at this moment, seen from some moment while its place was asked for."""
    earliest = time.time()
    [place] = places(store, [job_id])
    assert place.eta_s is not None
    assert at - time.time() - 0.1 <= place.eta_s <= at - earliest + 0.1  # told in tenths


def known(store: Store, seconds: float = 5.0) -> None:
    """One job was measured: from now on what jobs are expected to take is told."""
    text = json.dumps({"kind": "txt2img", "passes": [[20, 512, 512]], "pictures": 1, "batch": 1, "checkpoint": None})
    add(store, "somebody", effort=text, priority=4000)
    store.succeed(claim(store), [], "{}", Measured(machine("here", "fake"), seconds))


def test_an_idle_queue_has_nobody_ahead(store: Store) -> None:
    sign_on(store)
    assert places(store, [add(store)]) == [Place(1, 0, 0.0)]


def test_the_running_job_counts_and_the_job_itself_does_not(store: Store) -> None:
    sign_on(store)
    running = add(store, "A")
    claim(store)
    waiting = [add(store, owner) for owner in "AABC"]
    assert ahead(store, waiting) == [3, 4, 1, 2]
    assert [place.position for place in places(store, waiting)] == [3, 4, 1, 2]
    assert places(store, [running]) == [Place(0, 0, 0.0)]


def test_a_job_that_has_ended_has_no_place(store: Store) -> None:
    sign_on(store)
    done, cancelled = add(store), add(store)
    finish(store, claim(store))
    store.cancel([cancelled], "cancelled")
    assert places(store, [done, cancelled]) == [Place()] * 2


def test_the_whole_line_and_single_places_agree(store: Store) -> None:
    sign_on(store)
    known(store)
    ids = [add(store, f"o{number % 3}", work=float(number + 1)) for number in range(9)]
    claim(store)
    of = line(store)
    whole = {job_id: place for job_id, _, place in of.whole("default")}
    waiting = [row.id for row in store.line("default")]
    assert [whole[job_id].position for job_id in waiting] == list(range(1, 9)) and set(waiting) < set(ids)
    for job_id, place in zip(waiting, places(store, waiting, of), strict=True):
        assert (place.position, place.ahead) == (whole[job_id].position, whole[job_id].ahead)
        assert place.eta_s == pytest.approx(whole[job_id].eta_s, abs=0.5)


def test_lanes_a_worker_serves_first_are_ahead(store: Store) -> None:
    sign_on(store)
    slow = add(store, queue="slow")
    default = [add(store) for _ in range(3)]
    assert ahead(store, [slow, *default]) == [3, 0, 1, 2]
    assert places(store, [slow])[0].position == 1
    store.set_paused("default", True, "by hand")
    assert ahead(store, [slow]) == [0]


def test_a_lane_is_served_in_the_order_its_worker_has(store: Store) -> None:
    sign_on(store, queues='["slow", "default"]')
    default, slow = add(store), add(store, queue="slow")
    assert ahead(store, [default, slow]) == [1, 0]


def test_a_paused_lane_has_places_but_no_time(store: Store) -> None:
    sign_on(store)
    known(store)
    first, second = add(store, work=1.0), add(store, work=1.0)
    store.set_paused("default", True, "by hand")
    found = places(store, [first, second])
    assert [(place.position, place.ahead, place.eta_s, place.paused) for place in found] == [
        (1, 0, None, True),
        (2, 1, None, True),
    ]


def test_a_lane_nobody_serves_says_so(store: Store) -> None:
    sign_on(store, queues='["other"]')
    found = places(store, [add(store)])[0]
    assert (found.position, found.eta_s, found.unserved) == (1, None, True)
    sign_on(store, "silent", heartbeat_at=time.time() - 10 * MINUTE)
    assert places(store, [store.line("default")[0].id])[0].unserved


def test_two_workers_share_a_line(store: Store) -> None:
    sign_on(store, "w1"), sign_on(store, "w2")
    known(store)
    waiting = [add(store, work=10.0) for _ in range(5)]
    claim(store, "w1")
    assert ahead(store, waiting[1:]) == [0, 1, 2, 3]
    claim(store, "w2")
    assert ahead(store, waiting[2:]) == [1, 2, 3]
    etas = [place.eta_s for place in places(store, waiting[2:])]
    assert etas == sorted(etas) and etas[2] == pytest.approx(10 + 2 * 10 / 2, abs=2)


def test_a_click_that_holds_the_pipeline_counts_as_one(store: Store) -> None:
    sign_on(store)
    first, second = add(store), add(store)
    of = line(store)
    of.held = lambda: True
    assert ahead(store, [first, second], of) == [1, 2]
    claim(store)
    assert ahead(store, [second], of) == [1]


def test_time_left_follows_from_the_work_ahead(store: Store) -> None:
    sign_on(store)
    known(store)
    small, large, last = (add(store, work=work) for work in (2.0, 100.0, 1.0))
    etas = [place.eta_s for place in places(store, [small, large, last])]
    assert etas == pytest.approx([0.0, 2.0, 102.0], abs=0.3)
    assert line(store).estimate(store.job(large)) == 100.0


def test_time_left_counts_the_work_of_lanes_served_first(store: Store) -> None:
    sign_on(store)
    known(store)
    slow = [add(store, queue="slow", work=7.0) for _ in range(2)]
    for work in (10.0, 20.0):
        add(store, work=work)
    assert [place.eta_s for place in places(store, slow)] == pytest.approx([30.0, 37.0], abs=0.3)


def test_a_job_for_later_starts_at_its_time_or_when_its_lane_is_through(store: Store) -> None:
    sign_on(store)
    known(store)
    soon, far = time.time() + 60.0, time.time() + 1000.0
    later = [add(store, run_at=at) for at in (soon, far)]
    assert places(store, later)[0].position is None
    for job_id, at in zip(later, (soon, far), strict=True):
        expect_start(store, job_id, at)
    add(store, work=100.0)
    assert places(store, later)[0].eta_s == pytest.approx(100.0)
    expect_start(store, later[1], far)
    store.set_paused("default", True, "by hand")
    assert [place.eta_s for place in places(store, later)] == [None, None]


def test_a_child_starts_when_the_last_of_its_parents_has_ended(store: Store) -> None:
    sign_on(store)
    known(store)
    first, second = add(store, work=10.0), add(store, work=20.0)
    child = add(store, after=(first, second), work=5.0)
    grandchild = add(store, after=(child,))
    run_at = time.time() + 500.0
    delayed = add(store, run_at=run_at, work=50.0)
    late = add(store, after=(delayed,))
    assert [place.eta_s for place in places(store, [child, grandchild])] == pytest.approx([30.0, 35.0])
    expect_start(store, late, run_at + 50.0)
    store.fail(claim(store), {"type": "Error", "message": "no", "attempt": 1}, "no")
    assert [place.eta_s for place in places(store, [child, grandchild])] == [None, None]


def test_nobody_knows_the_time_before_the_first_job_finished(store: Store) -> None:
    sign_on(store)
    first, second = add(store), add(store)
    assert [place.eta_s for place in places(store, [first, second])] == [0.0, None]
    assert line(store).estimate(store.job(first)) is None


def test_places_of_jobs_whose_lane_was_deleted_can_still_be_told(store: Store) -> None:
    sign_on(store)
    job_id = add(store, queue="slow")
    with store.db.write() as conn:
        conn.execute(store.tables.queue.delete())
    assert places(store, [job_id]) == [Place(1, 0, 0.0)]
