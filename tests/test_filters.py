"""Filters: five moments, in order, with a memory; and what becomes of a job whose filter fails."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from queue_ext import filters
from queue_ext.errors import FilterBroken, FilterFailed, InvalidRequest
from queue_ext.filters import FILE, Application, Creation, Election, Run, hookimpl
from queue_ext.models import State
from queue_ext.pipelines import Result
from queue_ext.store import Store

from .support import (
    FakePipeline,
    Workbench,
    add,
    assert_counted,
    claim,
    finish,
    finish_and_claim,
    order_of,
    pictures,
    png,
    running_app,
    served,
    until,
)

DOCS = (Path(__file__).parent.parent / "docs" / "filters.md").read_text(encoding="utf-8")
FAR = 4e9  # seconds since the epoch


def example(name: str) -> str:
    """The code of an example of the docs."""
    found = re.search(rf"<!-- example: {name} -->\n\n```python\n(.*?)```", DOCS, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(autouse=True)
def nobody_stays() -> Iterator[None]:
    yield
    for name in list(filters._registered):
        filters.unregister(name)


def walked(store: Store, job_id: str) -> list[str]:
    return [row["state"] for row in store.history(job_id)]


class Electing:
    """Elects for every job that is about to enter ``candidate``."""

    def __init__(self, candidate: str, *choice: Any, **more: Any) -> None:
        self.candidate = candidate
        self.choice = choice
        self.more = more

    @hookimpl
    def state_electing(self, election: Election) -> None:
        if election.candidate == self.candidate:
            election.replace(*self.choice, **self.more)


class Raising:
    """Fails at one moment, as long as it is ``on``."""

    def __init__(self, moment: str, state: str | None = None) -> None:
        self.on = True
        self.state = state
        setattr(self, moment, hookimpl(self._make(moment)))

    def _make(self, moment: str) -> Any:
        def fail(told: Any) -> None:
            if self.on and self.state in (None, getattr(told, "candidate", None), getattr(told, "state", None)):
                raise RuntimeError("out of order")

        names = {"job_creating": "creation", "state_electing": "election", "state_applied": "application"}
        name = names.get(moment, "run")
        scope: dict[str, Any] = {"fail": fail}
        exec(f"def {moment}({name}): fail({name})", scope)
        return scope[moment]


# --- the examples of the docs ------------------------------------------------------------------------------------------


def test_the_blocklist_of_the_docs_refuses_naming_the_field(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(example("blocklist"), encoding="utf-8")
    with served(tmp_path) as server, httpx.Client(base_url=server.url) as http:
        fine = http.post("/jobs", json={"task": "txt2img", "payload": {"prompt": "a lighthouse"}, "delay_s": 60})
        refused = http.post("/jobs", json={"task": "txt2img", "payload": {"prompt": "much GORE"}})
        edited = http.patch(f"/jobs/{fine.json()['id']}", json={"payload": {"prompt": "blood"}})
        cloned = http.post(f"/jobs/{fine.json()['id']}/clone", json={"payload": {"prompt": "blood"}})
        total = http.get("/jobs").json()["total"]
    assert (fine.status_code, total) == (201, 1)
    for answer, word in ((refused, "gore"), (edited, "blood"), (cloned, "blood")):
        assert answer.status_code == 422 and answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["errors"] == [{"loc": ["payload", "prompt"], "msg": f"must not contain {word!r}"}]


def test_the_nightly_rule_of_the_docs_puts_jobs_off_by_day_only(tmp_path: Path) -> None:
    code = example("nightly")
    (tmp_path / FILE).write_text(code.replace("range(6, 22)", "range(0, 24)"), encoding="utf-8")
    with running_app(tmp_path) as app:
        bench = Doors(app)
        nightly, other = bench.add(labels=["nightly"]), bench.add()
        bench.becomes(other, "succeeded")
        row = bench.becomes(nightly, "scheduled")
        assert time.time() < row["run_at"] <= time.time() + 86400 and row["attempt"] == 0
        assert time.localtime(row["run_at"])[3:6] == (0, 0, 0)
        assert walked(app.store, nightly) == ["enqueued", "processing", "scheduled"]
        assert app.store.history(nightly)[-1]["reason"] == "runs at night only"
        assert_counted(app.store)
    (tmp_path / FILE).write_text(code.replace("range(6, 22)", "range(0)"), encoding="utf-8")
    with running_app(tmp_path) as app:
        bench = Doors(app)
        bench.becomes(bench.add(labels=["nightly"]), "succeeded")


def test_saving_to_another_folder_as_in_the_docs(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    code = example("folder").replace('"/srv/pictures"', repr(target.as_posix()))
    (tmp_path / FILE).write_text(code, encoding="utf-8")
    with running_app(tmp_path, FakePipeline(lambda *_: pictures(2))) as app:
        bench = Doors(app)
        job_id = bench.add(queue="big")
        bench.becomes(job_id, "succeeded")
    assert sorted(path.name for path in (target / "big").iterdir()) == [f"{job_id}-0.png", f"{job_id}-1.png"]
    assert (target / "big" / f"{job_id}-0.png").read_bytes() == png(colour="#000080")


class Doors:
    """Adds to and looks at the queue of a whole app."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def add(self, **request: Any) -> str:
        from queue_ext.identity import Owner

        return self.app.queue.enqueue(Owner("ann"), [{"task": "txt2img", "payload": {"prompt": "x"}, **request}])[0]

    def becomes(self, job_id: str, state: str) -> Any:
        until(lambda: self.app.store.job(job_id)["state"] == state, what=f"for {state}")
        return self.app.store.job(job_id)


# --- registering -------------------------------------------------------------------------------------------------------


def test_filters_come_in_their_order_and_keep_data_from_moment_to_moment(store: Store, tmp_path: Path) -> None:
    class Noting:
        def __init__(self, name: str) -> None:
            self.name = name

        def note(self, told: Any, moment: str) -> None:
            told.parameters.setdefault("seen", []).append(f"{self.name} {moment}")

        @hookimpl
        def job_creating(self, creation: Creation) -> None:
            self.note(creation, "creating")

        @hookimpl
        def state_electing(self, election: Election) -> None:
            if election.previous is None:
                self.note(election, "electing")

        @hookimpl
        def state_applied(self, application: Application) -> None:
            if application.state in (State.ENQUEUED, State.PROCESSING, State.SUCCEEDED):
                self.note(application, str(application.state))

        @hookimpl
        def job_starting(self, run: Run) -> None:
            self.note(run, "starting")
            run.payload["prompt"] += f" {self.name}"

        @hookimpl
        def job_finished(self, run: Run) -> None:
            assert run.result is not None and run.error is None and run.stopped is None
            self.note(run, "finished")

    filters.register(Noting("b"), "second", order=2)
    filters.register(Noting("a"), "first", order=1)
    with Workbench(store, tmp_path, FakePipeline()) as bench:
        job_id = bench.add()
        bench.becomes(job_id, "succeeded")
    moments = ("creating", "electing", "enqueued", "processing", "starting", "finished", "succeeded")
    seen = json.loads(store.job(job_id)["parameters"])["seen"]
    assert seen == [f"{name} {moment}" for moment in moments for name in ("a", "b")]
    assert bench.pipeline.ran[0].payload["prompt"] == "x a b"


def test_a_name_registered_again_is_replaced_in_queues_that_run(sqlite_store: Store) -> None:
    filters.register(Electing("enqueued", "scheduled", "later", run_at=FAR), "rule")
    filters.register(Electing("enqueued", "scheduled", "later still", run_at=FAR + 1), "rule")
    assert "rule" in sqlite_store.filters.names
    assert sqlite_store.job(add(sqlite_store))["run_at"] == FAR + 1
    filters.unregister("rule")
    assert sqlite_store.job(add(sqlite_store))["state"] == "enqueued"


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("def broken(:", "SyntaxError"),
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("x = 1", "hookimpl"),
        ("from queue_ext.filters import hookimpl\n@hookimpl\ndef job_created(job): ...", "job_created"),
        ("from queue_ext.filters import hookimpl\n@hookimpl\ndef job_creating(job): ...", "job"),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_start_and_says_why(tmp_path: Path, code: str, what: str) -> None:
    (tmp_path / FILE).write_text(code, encoding="utf-8")
    with pytest.raises(FilterBroken, match=what) as caught, running_app(tmp_path):
        pass
    assert FILE in caught.value.detail


def test_an_object_without_a_filter_is_refused() -> None:
    with pytest.raises(FilterBroken, match="hookimpl"):
        filters.register(object(), "nothing")


# --- electing ----------------------------------------------------------------------------------------------------------


def test_every_candidate_that_was_replaced_enters_history(store: Store) -> None:
    filters.register(Electing("succeeded", "failed", "too dark"), "judge", order=1)
    filters.register(Electing("failed", "scheduled", "tomorrow", run_at=FAR), "again", order=2)
    job_id = add(store)
    finish(store, claim(store))
    row = store.job(job_id)
    assert (row["state"], row["reason"], row["run_at"], row["worker_id"]) == ("scheduled", "tomorrow", FAR, None)
    assert walked(store, job_id) == ["enqueued", "processing", "succeeded", "failed", "scheduled"]
    assert [row["reason"] for row in store.history(job_id)][2:] == [None, "too dark", "tomorrow"]
    assert_counted(store)


def test_a_job_that_is_turned_away_at_its_start_leaves_the_place_to_the_next(store: Store) -> None:
    first = add(store)

    class Picky:
        @hookimpl
        def state_electing(self, election: Election) -> None:
            if election.candidate == State.PROCESSING and election.job["id"] == first:
                election.replace(State.DELETED, "not today")

    filters.register(Picky())
    second, third = add(store), add(store)
    assert claim(store)["id"] == second
    assert (store.job(first)["state"], store.job(first)["attempt"]) == ("deleted", 0)
    assert order_of(store) == [third]
    assert_counted(store)


@pytest.mark.parametrize(
    ("choice", "what"),
    [
        (("succeeded", "no"), "not succeeded"),
        (("awaiting", "no"), "not awaiting"),
        (("nonsense", "no"), "nonsense"),
        (("scheduled", "no"), "run_at"),
        (("deleted", "no", FAR), "run_at"),
        (("scheduled", "no", float("nan")), "run_at"),
        (("scheduled", "no", 1e18), "run_at"),
        (("scheduled", "no", "tomorrow"), "TypeError"),
        (("deleted", "no\0"), "NUL"),
        (("deleted", None), "TypeError"),
    ],
)
def test_what_cannot_be_elected_is_said_and_changes_nothing(sqlite_store: Store, choice: Any, what: str) -> None:
    job_id = add(sqlite_store)
    filters.register(Electing("processing", *choice), "rule")
    with pytest.raises(FilterFailed, match=what):
        claim(sqlite_store)
    assert walked(sqlite_store, job_id) == ["enqueued"]


# --- filters that fail -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["state_electing", "state_applied"])
def test_throwing_filter_commits_nothing(store: Store, moment: str) -> None:
    running, waiting = add(store), add(store)
    held = claim(store)
    before = [walked(store, running), walked(store, waiting), store.counts(), store.last_seq()]
    filters.register(Raising(moment), "broken")
    for verb in (
        lambda: add(store),
        lambda: claim(store),
        lambda: finish(store, held),
        lambda: finish_and_claim(store, held),
        lambda: store.cancel([waiting], "cancelled"),
    ):
        with pytest.raises(FilterFailed, match=f"at {moment}: RuntimeError: out of order"):
            verb()
    assert [walked(store, running), walked(store, waiting), store.counts(), store.last_seq()] == before
    assert_counted(store)


def test_statements_of_a_filter_are_committed_with_the_state_or_not_at_all(store: Store) -> None:
    class Marking:
        fails = False

        @hookimpl
        def state_applied(self, application: Application) -> None:
            table = store.tables.job
            mark = table.update().where(table.c.id == application.job["id"]).values(name=f"was {application.previous}")
            application.connection.execute(mark)
            if self.fails:
                raise RuntimeError("after all")

    marking = Marking()
    filters.register(marking)
    job_id = add(store)
    marking.fails = True
    with pytest.raises(FilterFailed):
        claim(store)
    assert (store.job(job_id)["name"], store.job(job_id)["state"]) == ("was None", "enqueued")
    marking.fails = False
    claim(store)
    assert store.job(job_id)["name"] == "was enqueued"


def test_a_failing_filter_at_the_door_is_a_problem_and_makes_no_job(tmp_path: Path) -> None:
    filters.register(Raising("job_creating"), "broken")
    with served(tmp_path) as server, httpx.Client(base_url=server.url) as http:
        answer = http.post("/jobs", json={"task": "txt2img", "payload": {"prompt": "x"}})
        assert http.get("/jobs").json()["total"] == 0
    assert (answer.status_code, answer.json()["code"]) == (500, "filter_failed")
    assert "job_creating" in answer.json()["detail"]


@pytest.mark.parametrize("moment", ["job_starting", "job_finished"])
def test_an_attempt_whose_filter_raises_has_failed_and_is_retried(
    sqlite_store: Store, tmp_path: Path, moment: str
) -> None:
    broken = Raising(moment)
    filters.register(broken, "broken")
    with Workbench(sqlite_store, tmp_path, FakePipeline()) as bench:
        job_id = bench.add(retry={"attempts": 50, "delay_s": 0})
        until(lambda: "failed" in bench.walked(job_id))
        broken.on = False
        assert bench.becomes(job_id, "succeeded")["attempt"] > 1
    failed = next(row for row in sqlite_store.history(job_id) if row["state"] == "failed")
    assert "out of order" in failed["reason"]


def test_a_filter_refuses_a_run_for_good(sqlite_store: Store, tmp_path: Path) -> None:
    class Refusing:
        @hookimpl
        def job_starting(self, run: Run) -> None:
            run.refuse("no checkpoint of this kind")

    filters.register(Refusing())
    with Workbench(sqlite_store, tmp_path, FakePipeline()) as bench:
        row = bench.becomes(bench.add(), "failed")
    assert (row["attempt"], row["reason"], bench.pipeline.ran) == (1, "no checkpoint of this kind", [])


def test_a_filter_that_fails_when_a_job_starts_keeps_it_waiting_and_health_says_why(
    sqlite_store: Store, tmp_path: Path
) -> None:
    broken = Raising("state_electing", "processing")
    filters.register(broken, "broken")
    with Workbench(sqlite_store, tmp_path, FakePipeline()) as bench:
        job_id = bench.add()
        assert "out of order" in until(lambda: bench.worker.trouble)
        assert bench.state(job_id) == "enqueued"
        broken.on = False
        bench.becomes(job_id, "succeeded")
    assert bench.worker.trouble is None


@pytest.mark.parametrize("moment", ["state_electing", "state_applied"])
def test_an_attempt_ends_even_if_every_filter_fails_at_its_end(
    sqlite_store: Store, tmp_path: Path, moment: str
) -> None:
    filters.register(Raising(moment, "succeeded"), "broken")
    filters.register(Raising(moment, "failed"), "also broken")
    with Workbench(sqlite_store, tmp_path, FakePipeline()) as bench:
        first = bench.becomes(bench.add(retry={"attempts": 0}), "failed")
        assert "out of order" in first["reason"] and json.loads(first["error"])["type"] == "FilterFailed"
        filters.unregister("broken")
        bench.becomes(bench.add(), "succeeded")
    assert_counted(sqlite_store)


def test_the_failing_start_of_the_next_job_does_not_undo_the_end_of_the_last(
    sqlite_store: Store, tmp_path: Path
) -> None:
    broken = Raising("state_electing", "processing")
    broken.on = False
    filters.register(broken, "broken")

    def script(request: Any, *_: Any) -> Result:
        broken.on = True
        return pictures()

    with Workbench(sqlite_store, tmp_path, FakePipeline(script)) as bench:
        first, second = bench.add(), bench.add()
        bench.becomes(first, "succeeded")
        assert until(lambda: bench.worker.trouble) and bench.state(second) == "enqueued"
        broken.on = False
        bench.becomes(second, "succeeded")
    assert bench.walked(first).count("failed") == 0


def test_a_result_may_be_replaced_and_what_is_turned_down_is_kept_out_of_sight(store: Store, tmp_path: Path) -> None:
    class Halving:
        @hookimpl
        def job_finished(self, run: Run) -> None:
            assert run.result is not None
            run.result = Result(run.result.pictures[:1], run.result.info, run.result.parameters)

    filters.register(Halving())
    filters.register(Electing("succeeded", "enqueued", "once more"), "again")
    with Workbench(store, tmp_path, FakePipeline(lambda *_: pictures(2))) as bench:
        job_id = bench.add()
        until(lambda: len(bench.pipeline.ran) >= 2)
        assert store.files([job_id]) == {}
        filters.unregister("again")
        bench.becomes(job_id, "succeeded")
    assert len(store.files([job_id])[job_id]) == 1
    assert_counted(store)


def test_a_success_that_is_turned_down_is_retried_like_a_failure(sqlite_store: Store, tmp_path: Path) -> None:
    filters.register(Electing("succeeded", "failed", "too dark"), "judge", order=1)
    with Workbench(sqlite_store, tmp_path, FakePipeline()) as bench:
        row = bench.becomes(bench.add(retry={"attempts": 1, "delay_s": 0}), "failed")
    assert (row["attempt"], row["reason"]) == (2, "too dark")
    ends = [step for step in bench.walked(row["id"]) if step not in ("enqueued", "processing")]
    assert ends == ["succeeded", "failed", "succeeded", "failed"]


def test_a_creation_may_be_changed_and_is_checked_afterwards(sqlite_store: Store, tmp_path: Path) -> None:
    class Sending:
        @hookimpl
        def job_creating(self, creation: Creation) -> None:
            creation.request["queue"] = "Not A Name" if creation.payload["prompt"] == "bad" else creation.owner

    filters.register(Sending())
    with Workbench(sqlite_store, tmp_path, FakePipeline()) as bench:
        job_id = bench.add(idempotency_key="k")
        assert bench.add(idempotency_key="k") == job_id
        assert sqlite_store.job(job_id)["queue"] == "ann"
        with pytest.raises(InvalidRequest, match="queue"):
            bench.add(payload={"prompt": "bad"})
