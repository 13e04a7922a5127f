"""Submit a picture, watch its place in line and save it: ``python client.py http://127.0.0.1:7861 "a lighthouse"``.

Needs ``pip install python-socketio aiohttp``. It survives a restart of the server: the library connects
again, ``since`` asks for what was missed, and the idempotency key makes one job of however many tries.
"""

import asyncio
import functools
import secrets
import sys
import urllib.request
from pathlib import Path

import socketio

NAMESPACE = "/queue"


class Client:
    """One connection that waits for one job."""

    def __init__(self, server: str) -> None:
        self.server = server.rstrip("/")
        self.client_id = secrets.token_urlsafe(24)  # keep it to find your jobs again
        self.since: int | None = None  # the last news that was heard
        self.early: list[tuple[str, dict]] | None = None  # news that came before the greeting was answered
        self.job_id: str | None = None
        self.ended: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self.socket = socketio.AsyncClient(reconnection_delay=3)
        self.socket.on("connect", self.on_connect, namespace=NAMESPACE)
        self.socket.on("positions", self.on_positions, namespace=NAMESPACE)
        self.socket.on("progress", self.on_progress, namespace=NAMESPACE)
        for event in ("job", "result", "failed"):
            self.socket.on(event, functools.partial(self.hear, event), namespace=NAMESPACE)

    async def picture(self, prompt: str) -> list[str]:
        """The addresses of the finished pictures. Raises RuntimeError with the server's reason."""
        await self.socket.connect(
            self.server,
            socketio_path="/queue-ext/socket.io",
            namespaces=[NAMESPACE],
            auth=lambda: {"client_id": self.client_id},
        )
        request = {
            "task": "txt2img",
            "payload": {"prompt": prompt, "steps": 20, "width": 512, "height": 512},
            "idempotency_key": secrets.token_hex(16),
        }
        job = (await self.ask("enqueue", request))["job"]
        self.job_id = job["id"]
        print(job["message"])
        try:
            return await self.ended
        finally:
            await self.socket.disconnect()

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

    async def on_connect(self) -> None:
        waiting = self.early = []
        said = await self.ask("hello", {} if self.since is None else {"since": self.since})
        self.early = None
        for news in said.get("replay", ()):
            await self.hear(news["event"], news["data"])
        self.since = said["cursor"] if said.get("snapshot") else max(self.since or 0, said["cursor"])
        for event, data in waiting:
            await self.hear(event, data)

    async def on_positions(self, places: dict) -> None:
        if self.job_id in places:
            place = places[self.job_id]
            print(f"{place['ahead']} before you" + (f", about {place['eta_s']:.0f} s" if place["eta_s"] else ""))

    async def on_progress(self, data: dict) -> None:
        if data["job_id"] == self.job_id:
            print(f"step {data['step']} of {data['steps']}")

    def on_job(self, job: dict) -> None:
        if job["id"] == self.job_id and job["state"] == "deleted" and not self.ended.done():
            self.ended.set_exception(RuntimeError(job["message"]))

    def on_result(self, data: dict) -> None:
        if data["job_id"] == self.job_id and not self.ended.done():
            self.ended.set_result([self.server + image["url"] for image in data["images"]])

    def on_failed(self, data: dict) -> None:
        if data["job_id"] != self.job_id:
            return
        if data["will_retry"]:
            print(f"{data['error']['message']}; it is tried again at {data['run_at']}")
        elif not self.ended.done():
            self.ended.set_exception(RuntimeError(data["error"]["message"]))


async def main(server: str = "http://127.0.0.1:7861", prompt: str = "a lighthouse", folder: str = ".") -> None:
    for number, address in enumerate(await Client(server).picture(prompt)):
        file = Path(folder) / f"picture-{number}.png"
        with urllib.request.urlopen(address) as answer:
            file.write_bytes(answer.read())
        print(file)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
