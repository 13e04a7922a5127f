"""A small real HTTP server that stands in for another WebUI's ``/sdapi/v1``, with knobs for what can go wrong.

    with FakeWebUI(step_s=0.01) as webui:
        RemotePipeline(webui.url)

It makes real PNGs, keeps the WebUI's progress state, obeys ``/interrupt`` and ``/skip``, and remembers every request.
Like the WebUI it forgets an interruption that arrives before the job begins, and runs one job at a time.
"""

import base64
import io
import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from PIL import Image
from PIL.PngImagePlugin import PngInfo

DEFAULTS = {"prompt": "", "negative_prompt": "", "steps": 50, "width": 512, "height": 512, "batch_size": 1, "n_iter": 1,
            "cfg_scale": 7.0, "seed": -1, "sampler_name": None}  # fmt: skip


def png(size: tuple[int, int], text: str = "", colour: Any = "teal") -> str:
    """A picture in base64."""
    chunk, out = PngInfo(), io.BytesIO()
    chunk.add_text("parameters", text)
    Image.new("RGB", size, colour).save(out, "PNG", pnginfo=chunk)
    return base64.b64encode(out.getvalue()).decode()


class FakeWebUI:
    """The knobs may be turned at any time.

    ``step_s``: seconds a step takes; ``gate``: clear it, and a generation stands still at its next step (until it is
    interrupted); ``answer``: ``(status, body)`` given instead of generating, body a str, bytes or anything JSON;
    ``drop``: ``"start"`` or ``"middle"`` closes the connection of a generation without an answer; ``deaf``: number of
    interruptions that are ignored; ``auth``: ``"user:password"`` that is required; ``grid``: put a grid in front;
    ``silent``: drop the connections of everything but generations.
    """

    def __init__(self, step_s: float = 0.0, port: int = 0) -> None:
        self.step_s, self.port = step_s, port
        self.gate = threading.Event()
        self.gate.set()
        self.answer: tuple[int, Any] | None = None
        self.headers: dict[str, str] = {}
        self.drop: str | None = None
        self.deaf = 0
        self.auth: str | None = None
        self.grid = self.silent = False
        self.seen: list[str] = []  # "POST /sdapi/v1/txt2img", in order
        self.bodies: list[dict[str, Any]] = []  # what generations were asked for
        self.connections: set[Any] = set()  # addresses of the clients' sockets
        self.state = {"job_no": 0, "job_count": 0, "sampling_step": 0, "sampling_steps": 0, "job": ""}
        self.interrupted, self.skipped, self.closing = threading.Event(), threading.Event(), threading.Event()
        self.queue_lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "FakeWebUI":
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), type("Bound", (Handler,), {"webui": self}))
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.gate.set()
        self.interrupted.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)

    def asked(self, what: str) -> int:
        """How often a line such as ``POST /sdapi/v1/interrupt`` was seen, whatever its query."""
        return sum(line.partition("?")[0] == what for line in self.seen)

    def generate(self, task: str, body: dict[str, Any]) -> "dict[str, Any] | None":
        with self.queue_lock:
            self.interrupted.clear()
            asked = {**DEFAULTS, **{name: value for name, value in body.items() if value is not None}}
            try:
                return self._upscaled(asked) if task == "extra-single-image" else self._sampled(asked)
            finally:
                self.state.update(job_no=0, job_count=0, sampling_step=0, sampling_steps=0, job="")

    def _upscaled(self, asked: dict[str, Any]) -> dict[str, Any]:
        source = Image.open(io.BytesIO(base64.b64decode(asked["image"])))
        factor = asked.get("upscaling_resize", 2)
        return {"html_info": "<p>done</p>", "image": png((int(source.width * factor), int(source.height * factor)))}

    def _sampled(self, asked: dict[str, Any]) -> "dict[str, Any] | None":
        self.state.update(job_count=asked["n_iter"], sampling_steps=asked["steps"], job="scripts_txt2img")
        first = 1000 if asked["seed"] == -1 else asked["seed"]
        seeds: list[int] = []
        for number in range(asked["n_iter"]):
            self.state.update(job_no=number, sampling_step=0)
            if not self._steps(asked["steps"]):
                return None
            seeds += [first + number * asked["batch_size"] + i for i in range(asked["batch_size"])]
            if self.interrupted.is_set():
                break
        return self._response(asked, first, seeds)

    def _steps(self, steps: int) -> bool:
        """False when the connection is to be dropped here."""
        self.skipped.clear()
        for step in range(1, steps + 1):
            while not self.gate.wait(0.005) and not self.interrupted.is_set() and not self.skipped.is_set():
                pass
            if self.interrupted.wait(self.step_s) or self.skipped.is_set():
                break
            self.state["sampling_step"] = step
            if self.drop == "middle" and step > steps // 2:
                return False
        return not self.closing.is_set()

    def _response(self, asked: dict[str, Any], first: int, seeds: list[int]) -> dict[str, Any]:
        size = asked["width"], asked["height"]
        texts = [f"{asked['prompt']}\nSteps: {asked['steps']}, Seed: {seed}" for seed in seeds]
        images = [png(size, text, (seed % 256, 90, 120)) for text, seed in zip(texts, seeds, strict=True)]
        if self.grid:
            images, texts = [png((size[0] * 2, size[1]), texts[0]), *images], [texts[0], *texts]
        info = {"prompt": asked["prompt"], "seed": first, "all_seeds": seeds, "infotexts": texts,
                "index_of_first_image": int(self.grid), "width": size[0], "height": size[1]}  # fmt: skip
        return {"images": images, "parameters": {**asked, "init_images": None}, "info": json.dumps(info)}

    def progress(self, with_image: bool) -> dict[str, Any]:
        state = dict(self.state)
        fraction = 0.0
        if state["job_count"]:
            done = state["job_no"] + state["sampling_step"] / (state["sampling_steps"] or 1)
            fraction = min(1.0, 0.01 + done / state["job_count"])
        image = png((640, 320)) if with_image and state["job_count"] else None
        return {"progress": fraction, "eta_relative": 0.0, "state": state, "current_image": image, "textinfo": None}


class Handler(BaseHTTPRequestHandler):
    webui: FakeWebUI
    protocol_version = "HTTP/1.1"  # connections are kept

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _serve(self, raw: bytes) -> None:
        webui, path = self.webui, urlsplit(self.path).path
        webui.seen.append(f"{self.command} {self.path}")
        webui.connections.add(self.client_address)
        task = path.removeprefix("/sdapi/v1/")
        if (
            webui.auth
            and self.headers.get("Authorization") != "Basic " + base64.b64encode(webui.auth.encode()).decode()
        ):
            self._answer(401, {"detail": "Incorrect username or password"})
        elif task in ("txt2img", "img2img", "extra-single-image") and self.command == "POST":
            self._generation(task, raw)
        elif webui.silent:
            self._drop()
        else:
            self._side(task)

    def _generation(self, task: str, raw: bytes) -> None:
        webui, body = self.webui, json.loads(raw)
        webui.bodies.append(body)
        if webui.drop == "start":
            return self._drop()
        if webui.answer is not None:
            return self._answer(*webui.answer)
        made = webui.generate(task, body)
        return self._drop() if made is None else self._answer(200, made)

    def _side(self, task: str) -> None:
        webui = self.webui
        if task == "progress":
            self._answer(200, webui.progress("skip_current_image=false" in self.path))
        elif task in ("interrupt", "skip") and self.command == "POST":
            self._stop(webui.interrupted if task == "interrupt" else webui.skipped)
            self._answer(200, {} if task == "interrupt" else None)
        else:
            self._answer(404, {"detail": "Not Found"})

    def _stop(self, event: threading.Event) -> None:
        if self.webui.deaf > 0:
            self.webui.deaf -= 1
        else:
            event.set()

    def _answer(self, status: int, body: Any) -> None:
        raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        with suppress(OSError):  # the client may be gone
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **self.webui.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    def _drop(self) -> None:
        self.close_connection = True
