"""Ways to start a server that has something wrong with it."""

import os
import signal


def poison(argv: "list[str]") -> int:
    """A server whose process dies of any job with the word "poison" in its prompt."""
    from queue_ext.__main__ import main
    from queue_ext.pipelines.demo import DemoPipeline

    run = DemoPipeline.run

    def deadly(self, request, on_progress, cancelled):
        if "poison" in request.payload.get("prompt", ""):
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        return run(self, request, on_progress, cancelled)

    DemoPipeline.run = deadly
    return main(argv)


def counting(argv: "list[str]") -> int:
    """A server that writes a line into the file RUNS_FILE for every run of its pipeline."""
    from queue_ext.__main__ import main
    from queue_ext.pipelines.demo import DemoPipeline

    run = DemoPipeline.run
    runs = os.open(os.environ["RUNS_FILE"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def counted(self, request, on_progress, cancelled):
        os.write(runs, f"{os.getpid()} {request.job_id} {request.attempt}\n".encode())
        return run(self, request, on_progress, cancelled)

    DemoPipeline.run = counted
    return main(argv)


def slow_disk(argv: "list[str]") -> int:
    """A server whose disk takes nothing for good."""
    import threading

    from queue_ext.__main__ import main
    from queue_ext.media import Media

    Media.settle = lambda self, sha256: threading.Event().wait()
    return main(argv)


def read_only(argv: "list[str]") -> int:
    """A server whose database can only be read while the file SWITCH exists."""
    from queue_ext.__main__ import main
    from queue_ext.store import Database

    begin = Database._begin

    def perhaps(self, conn):
        conn.connection.execute(f"PRAGMA query_only={int(os.path.exists(os.environ['SWITCH']))}")
        begin(self, conn)

    Database._begin = perhaps
    return main(argv)


def doubtful(argv: "list[str]") -> int:
    """A server whose connection breaks right after the first claim was committed."""
    from queue_ext.__main__ import main
    from queue_ext.errors import StorageUnavailable
    from queue_ext.store import Store

    claim, broken = Store.claim, []

    def breaking(self, *args):
        job = claim(self, *args)
        if job is not None and not broken:
            broken.append(job)
            raise StorageUnavailable(reason="the connection broke")
        return job

    Store.claim = breaking
    return main(argv)


def with_login(argv: "list[str]") -> int:
    """A server that asks everybody for a login, as a WebUI with ``--api-auth ann:secret`` does."""
    import base64
    from functools import partial

    import queue_ext.__main__ as program
    from queue_ext.errors import NotAuthenticated

    expected = "Basic " + base64.b64encode(b"ann:secret").decode()

    def authenticate(visitor):
        if visitor.headers.get("authorization") != expected:
            raise NotAuthenticated(reason="The user name or the password is wrong.")
        return "ann"

    program.QueueApp = partial(program.QueueApp, authenticate=authenticate, login=lambda: True)
    return program.main(argv)
