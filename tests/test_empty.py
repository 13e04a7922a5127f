"""When the queue has run empty: said once, by whoever notices, in every way that was asked for."""

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from queue_ext.app import QueueApp
from queue_ext.empty import run_command
from queue_ext.errors import InvalidSetting
from queue_ext.settings import Settings
from queue_ext.store import Store
from queue_ext.webui import settings_page

from .support import FakePipeline, Gate, Served, add, assert_counted, claim, finish, retry, served, until
from .test_namespace import Browser, run
from .test_webhooks import NAMES, SECRET, allowing, receiving

HOOK = {"url": "http://hooks.example.com/", "secret": SECRET}


def told(store: Store) -> list[str]:
    with store.db.read() as conn:
        return [row.event for row in conn.execute(store.tables.delivery.select())]


def test_the_last_job_empties_the_queue_once(store: Store) -> None:
    store.watch_line()
    first, second = add(store), add(store, queue="other")
    finish(store, claim(store))
    assert not store.run_empty(HOOK), "one waits"
    row = claim(store)
    assert not store.run_empty(HOOK), "one runs"
    finish(store, row)
    assert store.run_empty(HOOK) and not store.run_empty(HOOK)
    assert told(store) == ["queue.empty"] and [row["kind"] for row in store.events_after(0, 100)].count("empty") == 1
    third = add(store)
    store.cancel([third], "cancelled")
    assert store.run_empty(None) and told(store) == ["queue.empty"]
    assert {store.job(job_id)["state"] for job_id in (first, second, third)} == {"succeeded", "deleted"}
    assert_counted(store)


def test_who_waits_for_a_retry_is_still_to_come_and_who_is_delayed_is_not(store: Store) -> None:
    store.watch_line()
    add(store)
    delayed = add(store, run_at=4e9)
    retry(store, claim(store), {"type": "E", "message": "m", "attempt": 1}, 4e9, "again")
    assert not store.run_empty(None)
    store.cancel([row["id"] for row in store.unfinished(None, 10) if row["attempt"]], "given up")
    assert not store.run_empty(None), "it left no line"
    add(store)
    finish(store, claim(store))
    assert store.run_empty(None)
    store.cancel([delayed], "cancelled")
    assert not store.run_empty(None), "nothing was in line"


def test_many_who_notice_say_it_once(store: Store) -> None:
    store.watch_line()
    add(store)
    finish(store, claim(store))
    said: list[bool] = []
    threads = [threading.Thread(target=lambda: said.append(store.run_empty(HOOK))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(said) == [False] * 5 + [True] and told(store) == ["queue.empty"]


def test_what_was_emptied_before_the_start_is_not_told(store: Store) -> None:
    store.watch_line()
    add(store)
    finish(store, claim(store))
    store.watch_line()
    assert not store.run_empty(HOOK)


def test_a_webhook_the_browsers_and_a_command_are_told(tmp_path: Path) -> None:
    gate, mark = Gate(), tmp_path / "mark"
    command = f"\"{sys.executable}\" -c \"open(r'{mark}', 'a').write('x')\""
    with receiving() as receiver:
        settings = {
            **allowing(receiver), "when_empty_notify": True, "when_empty_command": command,
            "when_empty_webhook": f"http://{receiver.host}/empty", "when_empty_secret": SECRET,
        }  # fmt: skip

        async def scenario(server: Served) -> None:
            async with Browser(server) as browser:
                await browser.asked("hello", {})
                for _ in range(2):
                    await browser.asked("enqueue", {"task": "txt2img", "payload": {"prompt": "x"}})
                gate.open.set()
                await browser.until(lambda browser: browser.of("empty"))
                assert len(browser.of("empty")) == 1 and browser.of("empty")[0]["at"].endswith("Z")

        with served(tmp_path / "data", FakePipeline(gate), **settings) as server:
            run(scenario(server))
            until(lambda: receiver.heard and mark.exists() and mark.read_text())
        path, headers, body = receiver.heard[0]
        assert path == "/empty" and NAMES["genuine"](headers, body, SECRET)
        told = receiver.bodies[0]
        assert (told["event"], told["job_id"], told["job"]) == ("queue.empty", None, None)
    assert mark.read_text() == "x" and len(receiver.heard) == 1


def test_a_command_that_fails_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    run_command(f'"{sys.executable}" -c "import sys; sys.exit(\'no power\')"')
    assert "ended with 1: no power" in caplog.text


def test_nobody_can_set_the_command_over_the_network() -> None:
    for name in ("when_empty_command", "when_empty_webhook", "when_empty_secret"):
        assert name not in (*settings_page.LIVE, *settings_page.AT_START)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"when_empty_webhook": "https://hooks.example.com/"}, "when_empty_secret"),
        ({"when_empty_webhook": "https://evil.example/", "when_empty_secret": SECRET}, "when_empty_webhook"),
    ],
)
def test_a_webhook_that_cannot_be_told_stops_the_start(values: Any, name: str) -> None:
    with pytest.raises(InvalidSetting, match=name):
        Settings(webhook_hosts=("hooks.example.com",), **values)


def test_nobody_looks_where_nothing_is_asked_for(tmp_path: Path) -> None:
    app = QueueApp(Settings(data_dir=tmp_path), FakePipeline())
    app.start()
    assert app.when_empty is None and app.deliverer is None
    app.stop()
