"""Every command of ``python -m queue_ext``, as an administrator uses it."""

import asyncio
import contextlib
import itertools
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from queue_ext import __version__, settings
from queue_ext.__main__ import listen
from queue_ext.migrations import HEAD

from .conftest import Launch, Shared
from .server import FAST, MAIN, ROOT, Forge, Forked, tiny


@dataclass
class Ended:
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(forge: "Forge | None", tmp_path: Path) -> Run:
    """``run("jobs", "--limit", "5", input="…", env={...})`` on the data folder of this test."""
    numbers = itertools.count()

    def run_(*argv: str, input: str = "", env: "dict[str, str] | None" = None, data_dir: bool = True) -> Ended:
        place = tmp_path / f"run-{next(numbers)}"
        place.mkdir()
        (place / "input").write_text(input, encoding="utf-8")
        words = [*argv[:1], *(["--data-dir", str(tmp_path / "data")] if data_dir else []), *argv[1:]]
        environment = {**FAST, **_plain(), **(env or {})}
        if forge is None:
            ended = subprocess.run(
                [sys.executable, "-m", "queue_ext", *words],
                input=input,
                env=environment,
                capture_output=True,
                text=True,
                cwd=ROOT,
            )
            return Ended(ended.returncode, ended.stdout, ended.stderr)
        order: dict[str, Any] = {name: str(place / name) for name in ("log", "errors", "input")}
        pid = forge.ask(do="fork", argv=words, env=environment, cwd=str(tmp_path), entry=MAIN, **order)
        code = Forked(forge, pid).wait(60)
        return Ended(code, (place / "log").read_text(encoding="utf-8"), (place / "errors").read_text(encoding="utf-8"))

    return run_


def _plain() -> dict[str, str]:
    import os

    return {name: value for name, value in os.environ.items() if not name.startswith("QUEUE_EXT_")}


def test_the_real_command_says_its_version_and_lists_its_commands() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "queue_ext", "--version"], capture_output=True, text=True, cwd=ROOT, env=_plain()
    )
    assert said.stdout.strip() == __version__ and said.returncode == 0
    helped = subprocess.run(
        [sys.executable, "-m", "queue_ext", "serve", "--help"], capture_output=True, text=True, cwd=ROOT, env=_plain()
    )
    assert helped.returncode == 0
    for setting in settings.describe():
        assert f"--{setting['name'].replace('_', '-')} " in helped.stdout
    for word in ("--host", "--port", "--pipeline", "--no-page", "--root-path"):
        assert word in helped.stdout


def test_jobs_are_added_listed_and_run_by_the_server(run: Run, launch: Launch) -> None:
    added = run("enqueue", "a lighthouse at dusk")
    assert added.code == 0 and "No worker serves the queue default" in added.out
    ids = [added.out.split()[0]]
    ids.append(
        run("enqueue", json.dumps({**tiny(prompt="with settings"), "queue": "night", "priority": 3})).out.split()[0]
    )
    ids.append(run("enqueue", "-", input=json.dumps(tiny(prompt="from a pipe"))).out.split()[0])
    ids.append(run("enqueue", "1984").out.split()[0])
    broken = run("enqueue", '{"task": "txt2img", "payload": {')
    assert broken.code == 2 and "request: is not whole JSON" in broken.err and not broken.out
    listed = run("jobs")
    assert listed.code == 0
    lines = {line.split()[0]: line for line in listed.out.splitlines()}
    assert set(lines) == set(ids)
    assert re.search(r"enqueued +#1 +default +txt2img +a lighthouse at dusk", lines[ids[0]])
    assert re.search(r"#1 +night +txt2img +with settings", lines[ids[1]]) and "1984" in lines[ids[3]]
    assert len(run("jobs", "--limit", "1").out.splitlines()) == 1
    assert run("jobs", "--state", "succeeded").out == ""
    server = launch()
    for job_id in ids:
        server.wait_state(job_id, "succeeded", deadline=60)
    assert len(run("jobs", "--state", "succeeded").out.splitlines()) == 4
    while_it_runs = run("enqueue", json.dumps(tiny()))
    assert while_it_runs.code == 0 and server.wait_state(while_it_runs.out.split()[0], "succeeded")


def test_a_request_that_is_refused_is_refused_by_name(run: Run) -> None:
    for request, said in (
        ({"task": "txt2img", "payload": {"width": 0}}, "payload.width"),
        ({"task": "paint", "payload": {}}, "task"),
        ({"task": "txt2img", "payload": {}, "colour": "blue"}, "colour"),
    ):
        ended = run("enqueue", json.dumps(request))
        assert (
            ended.code == 2
            and ended.err.startswith("queue_ext: ")
            and said in ended.err
            and "Traceback" not in ended.err
        )
    assert run("jobs").out == ""


def test_waiting_jobs_travel_to_another_database_and_back(run: Run, launch: Launch, tmp_path: Path) -> None:
    server = launch("--worker", "off")
    for number in range(3):
        server.post(
            "/v1/jobs",
            {**tiny(prompt=f"числó {number} 灯台"), "priority": number, "labels": ["a"], "name": f"n{number}"},
            201,
        )
    server.post(
        "/v1/jobs", {**tiny(), "queue": "night", "delay_s": 3600, "retry": {"attempts": 7, "delay_s": 1.5}}, 201
    )
    picture = _picture()
    server.post("/v1/jobs", {"task": "img2img", "payload": {**tiny()["payload"], "init_images": [picture]}}, 201)
    before = [_told(job) for job in server.get("/v1/jobs", params={"order": "oldest"})["jobs"]]

    file = tmp_path / "jobs.json"
    assert run("export", str(file)).code == 0
    assert json.loads(run("export").out) == json.loads(file.read_text(encoding="utf-8")) == server.get("/v1/export")
    assert len(json.loads(run("export", "--queue", "night").out)["jobs"]) == 1
    elsewhere = launch("--worker", "off", folder=tmp_path / "elsewhere")
    arguments = ("--data-dir", str(tmp_path / "elsewhere"))
    ended = run("import", *arguments, str(file), data_dir=False)
    assert (ended.code, ended.out) == (0, "5 jobs imported\n")
    after = [_told(job) for job in elsewhere.get("/v1/jobs", params={"order": "oldest"})["jobs"]]
    assert sorted(after, key=str) == sorted(before, key=str)
    line = [job["name"] for job in elsewhere.get("/v1/jobs", params={"order": "line"})["jobs"]]
    assert line == [job["name"] for job in server.get("/v1/jobs", params={"order": "line"})["jobs"]]
    again = run("import", *arguments, "-", data_dir=False, input=file.read_text(encoding="utf-8"))
    assert again.out == "5 jobs imported\n"
    elsewhere.kill()
    runner = launch(folder=tmp_path / "elsewhere")
    done = next(job for job in runner.get("/v1/jobs", params={"task": "img2img"})["jobs"])
    assert runner.wait_state(done["id"], "succeeded")


def _told(job: dict[str, Any]) -> dict[str, Any]:
    """What export keeps of a job."""
    return {
        name: job[name]
        for name in (
            "task",
            "queue",
            "priority",
            "name",
            "labels",
            "prompt",
            "state",
            "run_at",
            "max_attempts",
            "summary",
        )
    }


def _picture() -> str:
    import base64
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.effect_noise((64, 64), 60).convert("RGB").save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def test_files_that_cannot_be_used_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{not json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "other.json").write_text('{"version": 99, "jobs": []}')
    (tmp_path / "wrong.json").write_text(
        json.dumps({"version": 1, "jobs": [tiny(), {"task": "txt2img", "payload": {"steps": 0}}]})
    )
    for argv, said in (
        (["import", str(tmp_path / "missing.json")], "missing.json cannot be used: No such file"),
        (["import", str(tmp_path)], "cannot be used"),
        (["import", str(tmp_path / "broken.json")], "broken.json cannot be used: it is not JSON"),
        (["import", str(tmp_path / "binary.json")], "binary.json cannot be used: it is not JSON"),
        (["import", str(tmp_path / "other.json")], "must be a document of GET /export"),
        (["import", str(tmp_path / "wrong.json")], "jobs.1.payload.steps"),
        (["export", str(tmp_path / "no" / "such" / "folder.json")], "folder.json cannot be used: No such file"),
    ):
        ended = run(*argv)
        assert ended.code == 2 and said in ended.err and "Traceback" not in ended.err, ended
    assert run("jobs").out == "", "all or none"


def test_schedules_are_listed_with_their_next_run(run: Run, launch: Launch) -> None:
    server = launch()
    assert (ended := run("schedules")).code == 0 and ended.out == ""
    body = {"name": "nightly", "cron": "30 3 * * *", "timezone": "Europe/Berlin", "template": tiny()}
    made = server.post("/v1/schedules", body, 201)
    listed = run("schedules").out
    assert listed.startswith(made["id"]) and "30 3 * * *" in listed and made["next_runs"][0] in listed


def test_doctor_says_how_things_stand(run: Run, launch: Launch) -> None:
    empty = run("doctor")
    assert empty.code == 0 and re.search(r"^jobs +none$", empty.out, re.M)
    assert __version__ in empty.out and re.search(r"^pipeline +demo$", empty.out, re.M)
    server = launch(env={"QUEUE_EXT_DEMO_STEP_S": "0.05"})
    server.wait_state(server.add(steps=200)["id"], "processing")
    server.add()
    busy = run("doctor")
    assert re.search(r"^jobs +1 enqueued, 1 processing$", busy.out, re.M)
    assert re.search(rf"^worker +\S+ pid {server.process.pid}, busy$", busy.out, re.M)


@pytest.mark.parametrize("shared", ["postgresql", "mariadb"], indirect=True)
def test_migrate_prepares_a_database_for_those_who_must_not(run: Run, launch: Launch, shared: Shared) -> None:
    early = run("doctor", *shared.arguments, "--prepare-schema", "off")
    assert early.code == 2 and "python -m queue_ext migrate" in early.err
    for _ in range(2):
        done = run("migrate", *shared.arguments, "--prepare-schema", "off")
        assert done.code == 0 and f"is at schema {HEAD}" in done.out
    assert run("doctor", *shared.arguments, "--prepare-schema", "off").code == 0
    server = launch(*shared.arguments, "--prepare-schema", "off")
    server.wait_state(server.add()["id"], "succeeded")


def test_a_password_is_shown_nowhere(run: Run) -> None:
    for argv in (
        ["doctor", "--database-url", "postgresql://ann:s3cret@127.0.0.1:1/none"],
        ["serve", "--no-page", "--database-url", "mysql://ann:s3cret@127.0.0.1:1/none"],
        ["doctor", "--pipeline", "http://ann:s3cret@nowhere:99999"],
        ["doctor", "--pipeline", "http://ann:s3cret@127.0.0.1:1"],
    ):
        ended = run(*argv)
        assert "s3cret" not in ended.out + ended.err, ended
        assert "Traceback" not in ended.err, ended


BAD = [
    ("lease_s", "soon", "a number from 1 to 86400"),
    ("lease_s", "0.5", "a number from 1 to 86400"),
    ("retry_attempts", "-1", "a whole number from 0 to 100"),
    ("retry_attempts", "2.5", "a whole number"),
    ("max_payload_mb", "nan", "a number"),
    ("visibility", "secret", "private or shared"),
    ("fair_share", "perhaps", "on or off"),
    ("database_url", "oracle://x", "an SQLAlchemy URL"),
    ("redis_url", "http://x", "a redis:// URL"),
    ("queues", "Default,night", "queue names"),
    ("table_prefix", "drop table;", "a-z, 0-9 and _"),
    ("heartbeat_s", "60", "less than lease_s"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_a_bad_setting_stops_with_its_name_its_value_and_what_is_allowed(
    run: Run, name: str, value: str, allowed: str
) -> None:
    by_environment = run("doctor", env={f"QUEUE_EXT_{name.upper()}": value})
    by_argument = run("doctor", f"--{name.replace('_', '-')}={value}")
    for ended in (by_environment, by_argument):
        assert ended.code == 2 and ended.out == ""
        assert name in ended.err and value in ended.err and allowed in ended.err, ended.err
        assert "Traceback" not in ended.err


def test_misspelt_names_and_wrong_pipelines_are_told(run: Run) -> None:
    misspelt = run("doctor", env={"QUEUE_EXT_LEASE": "5"})
    assert misspelt.code == 2 and "QUEUE_EXT_LEASE" in misspelt.err and "lease_s" in misspelt.err
    assert run("doctor", "--leese-s", "5").code == 2
    pipeline = run("serve", "--no-page", "--pipeline", "ftp://x")
    assert pipeline.code == 2 and "ftp://x" in pipeline.err and "demo" in pipeline.err
    assert run("paint").code == 2


def test_a_mistyped_folder_is_told_and_stays_empty(run: Run, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    ended = run("jobs", "--data_dir", str(nowhere), data_dir=False)
    assert ended.code == 2 and "nowhere" in ended.err and "there is no queue" in ended.err and not nowhere.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there Ctrl+C reaches all processes of a console at once")
def test_ctrl_c_puts_the_job_back_and_says_so_in_one_line(prepare: Launch) -> None:
    server = prepare().start(real=True)
    running = server.add(steps=500)["id"]
    server.wait_state(running, "processing")
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(30) == 0
    assert "The queue has stopped" in server.said and "Traceback" not in server.said
    assert server.start().wait_state(running, "processing")["attempt"] == 1


def test_the_command_line_wins_over_the_environment(run: Run) -> None:
    ended = run("doctor", "--lease-s", "20", env={"QUEUE_EXT_LEASE_S": "nonsense-free 10"})
    assert ended.code == 2, "a bad value is told even where it would be overruled"
    assert run("doctor", "--heartbeat-s", "10", env={"QUEUE_EXT_LEASE_S": "12"}).code == 0
    assert run("doctor", "--heartbeat-s", "10", "--lease-s", "9", env={"QUEUE_EXT_LEASE_S": "12"}).code == 2


def test_a_port_that_is_taken_ends_the_server_and_leaves_its_jobs(run: Run, launch: Launch) -> None:
    added = run("enqueue", json.dumps(tiny(steps=500))).out.split()[0]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = run("serve", "--no-page", "--port", str(taken.getsockname()[1]))
    assert (
        ended.code == 2 and ended.err.startswith("queue_ext: port=") and "address already in use" in ended.err.lower()
    )
    assert re.search(rf"{added} +enqueued +#1", run("jobs").out)
    assert launch().wait_state(added, "processing")["attempt"] == 1


def test_answers_leave_at_once() -> None:
    """Each of two small packets: on a socket that does not say TCP, asyncio leaves Nagle's delay on."""

    async def nodelay() -> int:
        found = asyncio.get_running_loop().create_future()
        with contextlib.closing(listen("127.0.0.1", 0)) as listening:
            server = await asyncio.start_server(lambda _reader, writer: found.set_result(writer), sock=listening)
            _, ours = await asyncio.open_connection(*listening.getsockname()[:2])
            theirs = (await found).get_extra_info("socket")
            told = theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            ours.close()
            server.close()
            return told

    assert asyncio.run(nodelay())


def test_a_server_behind_a_proxy_that_cuts_its_prefix_signs_addresses_with_it(launch: Launch) -> None:
    server = launch("--root-path", "/queue")
    job = server.wait_state(server.add()["id"], "succeeded")
    url = job["result"]["images"][0]["url"]
    assert url.startswith("/queue/queue-ext/v1/jobs/")
    picture = server.http.get(server.root + url.removeprefix("/queue"))
    assert picture.status_code == 200 and picture.content.startswith(b"\x89PNG")
