"""The command line: ``python -m queue_ext serve`` and what an administrator needs beside it."""

import argparse
import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import __version__, settings
from .app import QueueApp
from .errors import InvalidSetting, QueueExtError, invalid
from .identity import Owner
from .pipelines import Pipeline
from .settings import Settings

log = logging.getLogger("queue_ext")

OPERATOR = Owner("operator", admin=True)  # who the command line is
OWN = {"enqueue": " prompt|request|-", "export": " [file|-]", "import": " [file|-]"}  # what follows the options
GRACE = 3  # seconds open connections get when the server stops


class UnusableFile(QueueExtError, OSError):
    """The file {file} cannot be used: {reason}."""


def make_pipeline(name: str, chosen: Settings) -> Pipeline:
    """``demo``, or the address of another WebUI. Raises InvalidSetting."""
    if name == "demo":
        from .pipelines.demo import DemoPipeline

        return DemoPipeline(chosen.demo_step_s)
    if name.startswith(("http://", "https://")):
        from .pipelines.remote import RemotePipeline

        return RemotePipeline(name)
    raise InvalidSetting(
        name="pipeline", value=name, allowed="allowed is demo or the http(s) address of a WebUI that runs with --api"
    )


def build_server(app: QueueApp, root_path: str = "", page: bool = True) -> Any:
    """A FastAPI application that serves the queue and, where Gradio is installed, the page."""
    from fastapi import FastAPI

    @asynccontextmanager
    async def lifespan(_server: Any) -> Any:
        yield
        await app.aclose()

    app.start()
    server = FastAPI(
        title="Queue", lifespan=lifespan, root_path=root_path, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.mount(server)
    if not page:
        return server
    try:
        from .tab.page import mount_page
    except ModuleNotFoundError as error:
        log.warning("no page is served, only the API: %s (pip install 'queue-ext[standalone]')", error)
        return server
    return mount_page(server, app)


def serve(arguments: argparse.Namespace, chosen: Settings) -> int:
    import uvicorn

    app = QueueApp(chosen, make_pipeline(arguments.pipeline, chosen))
    listening = listen(arguments.host, arguments.port)
    print("The queue starts.", flush=True)  # the page's libraries take seconds to load, on a busy machine many
    server = build_server(app, arguments.root_path, not arguments.no_page)
    print(
        f"The queue runs at http://{arguments.host}:{arguments.port}{arguments.root_path}"
        f" with the pipeline {app.pipeline.name}",
        flush=True,
    )
    config = uvicorn.Config(server, log_level="warning", timeout_graceful_shutdown=GRACE)
    with suppress(KeyboardInterrupt):  # uvicorn raises it again once everything has ended
        uvicorn.Server(config).run(sockets=[listening])
    print("The queue has stopped; what waits goes on at its next start.", flush=True)
    return 0


def listen(host: str, port: int) -> socket.socket:
    """The address to serve at, taken before anything else is. Raises InvalidSetting."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only of a socket that says TCP does asyncio turn Nagle's delay off; with it every second answer waits 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":  # there it would let two servers share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise InvalidSetting(
            name="port",
            value=port,
            allowed=f"{host}:{port} cannot be served ({error}); choose another --host or --port",
        ) from None
    return listening


READERS = ("jobs", "schedules", "export")  # commands that have nothing to say where no queue has ever run


def opened(command: Callable[[argparse.Namespace, QueueApp], int]) -> Callable[[argparse.Namespace, Settings], int]:
    """A command that works on the database directly, whether or not a server runs. Raises UnusableFile where it lacks."""

    def run(arguments: argparse.Namespace, chosen: Settings) -> int:
        file = chosen.database_file
        if arguments.command in READERS and not chosen.database_url and not file.exists():
            raise UnusableFile(file=file, reason="there is no queue; see --data-dir and --database-url")
        app = QueueApp(replace(chosen, worker=False), make_pipeline(arguments.pipeline, chosen))
        app.open()
        try:
            return command(arguments, app)
        finally:
            app.db.close()

    return run


@opened
def jobs(arguments: argparse.Namespace, app: QueueApp) -> int:
    from .models import State
    from .store import Filter

    which = Filter(states=(State(arguments.state),) if arguments.state else ())
    for job in app.queue.present(OPERATOR, app.store.page(which, True, None, arguments.limit)):
        place = "" if job["position"] is None else f"#{job['position']}"
        print(f"{job['id']}  {job['state']:<10} {place:>5}  {job['queue']:<12} {job['task']:<8} {job['prompt'][:60]}")
    return 0


@opened
def enqueue(arguments: argparse.Namespace, app: QueueApp) -> int:
    text = sys.stdin.read() if arguments.request == "-" else arguments.request
    try:
        request = json.loads(text)
    except ValueError as error:
        if text.lstrip().startswith('{"'):  # a prompt may well begin with a brace
            raise invalid("request", msg=f"is not whole JSON: {error}") from None
        request = None
    if not isinstance(request, dict):  # a prompt may be a number
        request = {"task": "txt2img", "payload": {"prompt": text}}
    job = app.queue.show(OPERATOR, app.queue.enqueue(OPERATOR, [request]))[0]
    print(f"{job['id']}  {job['message']}")
    return 0


@contextmanager
def _naming(file: str) -> Iterator[None]:
    """Say which file cannot be used, and why. Raises UnusableFile."""
    try:
        yield
    except OSError as error:
        raise UnusableFile(file=file, reason=error.strerror or error) from error
    except ValueError as error:  # JSON and UTF-8
        raise UnusableFile(file=file, reason=f"it is not JSON: {error}") from error


@opened
def export_jobs(arguments: argparse.Namespace, app: QueueApp) -> int:
    document = json.dumps(app.queue.export(OPERATOR, arguments.queue), ensure_ascii=False, indent=1)
    if arguments.file == "-":
        print(document)
    else:
        with _naming(arguments.file):
            Path(arguments.file).write_text(document, encoding="utf-8")
    return 0


@opened
def import_jobs(arguments: argparse.Namespace, app: QueueApp) -> int:
    with _naming(arguments.file):
        text = sys.stdin.read() if arguments.file == "-" else Path(arguments.file).read_text(encoding="utf-8")
        document = json.loads(text)
    count = len(app.queue.import_(OPERATOR, document))
    print("1 job imported" if count == 1 else f"{count} jobs imported")
    return 0


@opened
def list_schedules(_arguments: argparse.Namespace, app: QueueApp) -> int:
    for row in app.schedules.all(OPERATOR):
        following = row["next_runs"][0] if row["next_runs"] else row["reason"] or "switched off"
        print(f"{row['id']}  {row['name']:<24} {row['cron']:<16} {row['timezone']:<16} {following}")
    return 0


@opened
def doctor(_arguments: argparse.Namespace, app: QueueApp) -> int:
    """Say how things stand, for a person and for a report of a defect."""
    counts: dict[str, int] = {}
    for (_, state), count in app.store.counts().items():
        counts[state] = counts.get(state, 0) + count
    print(
        f"version   {__version__}\ndatabase  {app.db.shown_url}\n"
        f"pictures  {app.settings.media_dir}\npipeline  {app.pipeline.name}"
    )
    print("jobs      " + (", ".join(f"{count} {state}" for state, count in sorted(counts.items()) if count) or "none"))
    for row in app.store.workers():
        print(f"worker    {row['host']} pid {row['pid']}, {'busy' if row['job_id'] else 'idle'}")
    return 0


@opened
def migrate(_arguments: argparse.Namespace, app: QueueApp) -> int:
    from .migrations import current

    print(f"{app.db.shown_url} is at schema {current(app.db)}")
    return 0


def show_settings(_arguments: argparse.Namespace, _chosen: Settings) -> int:
    """Every setting as a Markdown table: what the README holds."""
    print("| setting | default | allowed | meaning |\n| --- | --- | --- | --- |")
    for row in settings.describe():
        allowed = row["allowed"].removeprefix("allowed is ").replace("|", "\\|")
        print(f"| `{row['name']}` | {row['default']} | {allowed} | {row['meaning']} |")
    return 0


def contract(arguments: argparse.Namespace, _chosen: Settings) -> int:
    """Print one of the contract's documents as the models say it now, or bring those of this checkout up to date."""
    from .contract import DOCUMENTS, refresh

    if arguments.document:
        print(DOCUMENTS[arguments.document][1](), end="")
        return 0
    written = refresh()
    print("\n".join(f"written: {file}" for file in written) or "all documents are current")
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m queue_ext", description="A persistent queue for the Stable Diffusion WebUI."
    )
    made.add_argument("--version", action="version", version=__version__)
    commands = made.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--pipeline", default="demo", metavar="demo|URL", help="demo, or the address of a WebUI that runs with --api"
    )
    settings.add_arguments(common.add_argument_group("settings, for all commands"), prefix="")
    for name, action, text in (
        ("serve", serve, "serve REST, Socket.IO and the page, and run jobs"),
        ("jobs", jobs, "list jobs"),
        ("enqueue", enqueue, "add a job: a prompt, or a request as JSON"),
        ("schedules", list_schedules, "list recurring jobs with their next run"),
        ("export", export_jobs, "write waiting jobs to a file"),
        ("import", import_jobs, "read waiting jobs from a file"),
        ("doctor", doctor, "say how things stand"),
        ("migrate", migrate, "bring the database's tables to this version"),
        ("settings", show_settings, "list every setting"),
        ("contract", contract, "bring openapi.json, asyncapi.json and the TypeScript types up to date"),
    ):
        usage = f"{made.prog} {name} [options]{OWN.get(name, '')}"
        command = commands.add_parser(name, parents=[common], help=text, description=text, usage=usage)
        command.set_defaults(action=action)
        _add_own_arguments(name, command)
    return made


def _add_own_arguments(name: str, command: argparse.ArgumentParser) -> None:
    if name == "serve":
        command.add_argument("--host", default="127.0.0.1")
        command.add_argument("--port", type=int, default=7861)
        command.add_argument("--no-page", action="store_true", help="serve the API alone")
        command.add_argument(
            "--root-path", default="", help="where a proxy that cuts off a prefix serves this, such as /queue"
        )
    elif name == "jobs":
        command.add_argument(
            "--state", choices=["scheduled", "awaiting", "enqueued", "processing", "succeeded", "failed", "deleted"]
        )
        command.add_argument("--limit", type=int, default=50)
    elif name == "enqueue":
        command.add_argument("request", help="a prompt, a request as JSON, or - to read one from standard input")
    elif name in ("export", "import"):
        command.add_argument("file", nargs="?", default="-", help="a file, or - for standard output or input")
    if name == "contract":
        command.add_argument(
            "document", nargs="?", choices=["openapi", "asyncapi", "types"], help="print this one instead"
        )
    if name == "export":
        command.add_argument("--queue", default=None)


def _dashed(word: str) -> str:
    """Options may be written as the settings are, with underscores."""
    name, equals, value = word.partition("=")
    return (name.replace("_", "-") if word.startswith("--") else name) + equals + value


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args([_dashed(word) for word in (sys.argv[1:] if argv is None else argv)])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("apscheduler", "alembic", "httpx", "queue_ext.socketio", "queue_ext.engineio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        chosen = settings.from_arguments(arguments, settings.from_environment())
        if arguments.command == "migrate":
            chosen = replace(chosen, prepare_schema=True)
        return arguments.action(arguments, chosen)
    except BrokenPipeError:  # the reader has seen enough, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except QueueExtError as error:
        print(f"queue_ext: {error.detail}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
