"""Submit a picture, watch its place in line and save it: ``python client.py http://127.0.0.1:7861 "a lighthouse"``.

Needs ``pip install python-socketio aiohttp``. It survives a restart of the server: it connects again, ``since``
asks for what was missed, and the idempotency key makes one job of however many tries.
"""

import asyncio
import functools
import json
import secrets
import sys
import urllib.error
import urllib.request
from pathlib import Path

import socketio

NAMESPACE = "/queue"
PAUSE = 3  # seconds between two tries


class Client:
    """One connection that waits for one job."""

    def __init__(self, server: str) -> None:
        self.server = server.rstrip("/")
        self.client_id = secrets.token_urlsafe(24)  # keep it to find your jobs again
        self.since: int | None = None  # the last news that was heard
        self.early: list[tuple[str, dict]] | None = None  # news that came before the greeting was answered
        self.job_id: str | None = None
        self.outcomes: dict[str, list[str] | RuntimeError] = {}  # by job: it may end before we know that it is ours
        self.unsure = False  # whether it may have ended longer ago than news are kept
        self.live, self.news = asyncio.Event(), asyncio.Event()
        self.socket = socketio.AsyncClient(reconnection=False)  # the library's own stops when the server hangs up
        self.socket.on("positions", self.on_positions, namespace=NAMESPACE)
        self.socket.on("progress", self.on_progress, namespace=NAMESPACE)
        for event in ("job", "result", "failed"):
            self.socket.on(event, functools.partial(self.hear, event), namespace=NAMESPACE)

    async def picture(self, prompt: str) -> list[str]:
        """The addresses of the finished pictures. Raises RuntimeError with the server's reason."""
        request = {
            "task": "txt2img",
            "payload": {"prompt": prompt, "steps": 20, "width": 512, "height": 512},
            "idempotency_key": secrets.token_hex(16),
        }
        connection = asyncio.create_task(self.stay())
        try:
            job = await self.enqueue(request)
            print(job["message"])
            self.job_id = job["id"]
            self.judge(job)  # one that was sent before, to an answer that got lost, may have ended
            while self.job_id not in self.outcomes:
                self.news.clear()
                await self.news.wait()
        finally:
            await self.socket.disconnect()
            connection.cancel()
        outcome = self.outcomes[self.job_id]
        if isinstance(outcome, RuntimeError):
            raise outcome
        return outcome

    async def stay(self) -> None:
        """Be connected, and again whenever the connection is lost."""
        while True:
            self.early = []
            try:
                await self.socket.connect(
                    self.server,
                    socketio_path="/queue-ext/socket.io",
                    namespaces=[NAMESPACE],
                    auth={"client_id": self.client_id},
                )
                await self.greet()
                self.live.set()
                await self.socket.wait()
            except (RuntimeError, OSError, ValueError, socketio.exceptions.SocketIOError) as error:
                print(f"not connected: {error}")
            self.live.clear()
            await self.socket.disconnect()
            await asyncio.sleep(PAUSE)

    async def enqueue(self, request: dict) -> dict:
        """The job; sent again until somebody answers, it is one job however often it arrives."""
        while True:
            await self.live.wait()
            try:
                return (await self.ask("enqueue", request))["job"]
            except socketio.exceptions.SocketIOError:
                await asyncio.sleep(PAUSE)

    async def ask(self, event: str, data: dict) -> dict:
        said = await self.socket.call(event, data, namespace=NAMESPACE, timeout=30)
        if not said["ok"]:
            raise RuntimeError(said["error"]["detail"])
        return said

    async def hear(self, event: str, data: dict) -> None:
        """News, each once and in order: what is not above the last that was heard is old."""
        if self.early is not None:
            self.early.append((event, data))
        elif self.since is None or data["seq"] > self.since:
            self.since = data["seq"]
            getattr(self, f"on_{event}")(data)

    async def greet(self) -> None:
        """Learn what was missed; what is told meanwhile is newer."""
        said = await self.ask("hello", {} if self.since is None else {"since": self.since})
        waiting, self.early = self.early or [], None
        for news in said.get("replay", ()):
            await self.hear(news["event"], news["data"])
        self.since = said["cursor"] if said.get("snapshot") else max(self.since or 0, said["cursor"])
        for event, data in waiting:
            await self.hear(event, data)
        self.unsure |= bool(said.get("snapshot"))
        if self.unsure and self.job_id:
            await self.look()
            self.unsure = False

    async def look(self) -> None:
        """Ask how the job stands. Raises OSError or ValueError while nobody can tell."""
        address = f"{self.server}/queue-ext/v1/jobs/{self.job_id}"
        asked = urllib.request.Request(address, headers={"X-Queue-Client": self.client_id})
        try:
            with await asyncio.to_thread(urllib.request.urlopen, asked, timeout=30) as answer:
                self.judge(json.load(answer))
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            self.end(str(self.job_id), RuntimeError("the job is no more"))

    def judge(self, job: dict) -> None:
        if job["state"] == "succeeded":
            self.on_result({"job_id": job["id"], "images": job["result"]["images"]})
        elif job["state"] in ("failed", "deleted"):
            self.end(job["id"], RuntimeError(job["message"]))

    def end(self, job_id: str, outcome: "list[str] | RuntimeError") -> None:
        self.outcomes[job_id] = outcome
        self.news.set()

    async def on_positions(self, places: dict) -> None:
        if self.job_id in places:
            place = places[self.job_id]
            print(f"{place['ahead']} before you" + (f", about {place['eta_s']:.0f} s" if place["eta_s"] else ""))

    async def on_progress(self, data: dict) -> None:
        if data["job_id"] == self.job_id:
            print(f"step {data['step']} of {data['steps']}")

    def on_job(self, job: dict) -> None:
        if job["state"] == "deleted":
            self.end(job["id"], RuntimeError(job["message"]))

    def on_result(self, data: dict) -> None:
        self.end(data["job_id"], [self.server + image["url"] for image in data["images"]])

    def on_failed(self, data: dict) -> None:
        if not data["will_retry"]:
            self.end(data["job_id"], RuntimeError(data["error"]["message"]))
        elif data["job_id"] == self.job_id:
            print(f"{data['error']['message']}; it is tried again at {data['run_at']}")


async def main(server: str = "http://127.0.0.1:7861", prompt: str = "a lighthouse", folder: str = ".") -> None:
    for number, address in enumerate(await Client(server).picture(prompt)):
        file = Path(folder) / f"picture-{number}.png"
        with urllib.request.urlopen(address) as answer:
            file.write_bytes(answer.read())
        print(file)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
