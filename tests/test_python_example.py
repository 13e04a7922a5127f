"""The client of ``examples/python`` in moments that left it waiting for ever."""

import asyncio
import importlib.util
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from queue_ext.errors import StorageUnavailable

from .support import DEADLINE, FakePipeline, Gate, Served, served, until
from .test_namespace import off_loop

EXAMPLE = Path(__file__).parents[1] / "examples" / "python" / "client.py"
Moment = Callable[[Any], Coroutine[Any, Any, None]]


@pytest.fixture
def client() -> Any:
    spec = importlib.util.spec_from_file_location("client", EXAMPLE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.PAUSE = 0.1  # type: ignore[attr-defined]
    return module


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open.set()


@pytest.fixture
def found(tmp_path: Path, gate: Gate) -> Iterator[Served]:
    with served(tmp_path, FakePipeline(gate)) as running:
        yield running
        gate.open.set()


def pictures(client: Any, found: Served, gate: Gate, meanwhile: Moment) -> list[str]:
    """What the client comes home with when ``meanwhile`` happens to it while its job runs."""

    async def scenario() -> list[str]:
        made = client.Client(found.base)
        coming = asyncio.ensure_future(made.picture("x"))
        await off_loop(gate.started.wait, DEADLINE)
        await meanwhile(made)
        return await asyncio.wait_for(coming, DEADLINE)

    return asyncio.run(scenario())


async def known(made: Any) -> None:
    while not made.job_id:
        await asyncio.sleep(0.01)


def ended(found: Served, job_id: str) -> None:
    until(lambda: found.app.store.job(job_id)["state"] == "succeeded")


@pytest.mark.parametrize("troubles", [[], [OSError("nobody answers"), ValueError("not JSON")]])
def test_its_job_ends_while_it_is_away_for_longer_than_news_are_kept(
    client: Any, found: Served, gate: Gate, monkeypatch: pytest.MonkeyPatch, troubles: list[Exception]
) -> None:
    """Where it asks how the job stands, it may have to ask again."""
    left = list(troubles)
    look = client.Client.look

    async def looking(made: Any) -> None:
        if left:
            raise left.pop()
        await look(made)

    monkeypatch.setattr(client.Client, "look", looking)

    async def meanwhile(made: Any) -> None:
        await known(made)
        monkeypatch.setattr(client, "PAUSE", 1.0)
        await made.socket.eio.ws.close()
        gate.open.set()
        await off_loop(ended, found, made.job_id)
        await off_loop(found.app.store.trim, found.app.store.job(made.job_id)["finished_at"] + 3 * 86400)

    assert len(pictures(client, found, gate, meanwhile)) == 1 and not left


def test_the_server_hangs_up(client: Any, found: Served, gate: Gate) -> None:
    async def meanwhile(made: Any) -> None:
        await known(made)
        namespace = found.app.namespace
        assert namespace.loop is not None
        for sid in list(namespace._clients):
            hung_up = asyncio.run_coroutine_threadsafe(namespace.disconnect(sid), namespace.loop)
            await asyncio.wrap_future(hung_up)
        gate.open.set()

    assert len(pictures(client, found, gate, meanwhile)) == 1


def test_the_database_is_away_as_it_comes_back(
    client: Any, found: Served, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = threading.Event()
    counts = found.app.store.counts

    def locked() -> Any:
        refused.set()
        raise StorageUnavailable(reason="the database is locked")

    async def meanwhile(made: Any) -> None:
        await known(made)
        monkeypatch.setattr(found.app.store, "counts", locked)
        await made.socket.eio.ws.close()
        await off_loop(refused.wait, DEADLINE)
        monkeypatch.setattr(found.app.store, "counts", counts)
        gate.open.set()

    assert len(pictures(client, found, gate, meanwhile)) == 1


def test_its_job_has_ended_before_it_is_known_to_be_its_own(
    client: Any, found: Served, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace, told = found.app.namespace, threading.Event()
    answer, send = namespace._job, namespace._send

    async def late(*args: Any) -> Any:
        await off_loop(told.wait, DEADLINE)
        return await answer(*args)

    async def sent(event: str, *args: Any, **options: Any) -> None:
        await send(event, *args, **options)
        if event == "result":
            told.set()

    async def meanwhile(_made: Any) -> None:
        gate.open.set()

    monkeypatch.setattr(namespace, "_job", late)
    monkeypatch.setattr(namespace, "_send", sent)
    assert len(pictures(client, found, gate, meanwhile)) == 1
