"""A few lines that answer as ``modules.*`` of AUTOMATIC1111 1.10.1 and Forge do where ``queue_ext.webui`` asks them.

Names, signatures and moments are those of the hosts; the pipeline is a loop of sleeps. What the real hosts do is tested
by ``pytest tests/hosts --webui-dir PATH``.
"""

import base64
import collections
import io
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

from fastapi import FastAPI, HTTPException
from PIL import Image
from pydantic import BaseModel


class FIFOLock:
    """As ``modules.fifo_lock``: no owner, no time-out, and a newcomer may overtake who was just woken up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inner_lock = threading.Lock()
        self._pending_threads: collections.deque[threading.Event] = collections.deque()

    def acquire(self, blocking: bool = True) -> bool:
        with self._inner_lock:
            if self._lock.acquire(False):
                return True
            if not blocking:
                return False
            woken = threading.Event()
            self._pending_threads.append(woken)
        woken.wait()
        return self._lock.acquire()

    def release(self) -> None:
        with self._inner_lock:
            if self._pending_threads:
                self._pending_threads.popleft().set()
            self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()


class State:
    """As ``modules.shared_state.State``."""

    def __init__(self) -> None:
        self.skipped = self.interrupted = self.stopping_generation = False
        self.job, self.job_no, self.job_count, self.sampling_step, self.sampling_steps = "", 0, 0, 0, 0
        self.current_image: Any = None
        self.restarts = 0

    def begin(self, job: str = "(unknown)") -> None:
        self.skipped = self.interrupted = self.stopping_generation = False
        self.job, self.job_no, self.job_count, self.sampling_step, self.current_image = job, 0, -1, 0, None

    def end(self) -> None:
        self.job, self.job_count = "", 0

    def nextjob(self) -> None:
        self.job_no, self.sampling_step = self.job_no + 1, 0

    def interrupt(self) -> None:
        self.interrupted = True

    def skip(self) -> None:
        self.skipped = True

    def stop_generating(self) -> None:
        self.stopping_generation = True

    def set_current_image(self) -> None:
        self.current_image = self.current_image or Image.new("RGB", (32, 32), "red")

    def request_restart(self) -> None:
        self.interrupt()
        self.restarts += 1


class Txt2Img(BaseModel):
    prompt: str | None = ""
    sampler_name: str | None = None
    steps: int | None = 50
    n_iter: int | None = 1
    batch_size: int | None = 1
    cfg_scale: float | None = 7.0
    send_images: bool = True
    force_task_id: str | None = None


class Extras(BaseModel):
    image: str = ""
    upscaler_1: str = "None"


class Script:
    """As ``modules.scripts.Script`` after its controls were counted."""

    def __init__(self, title: str, args_from: int, args_to: int) -> None:
        self._title, self.args_from, self.args_to = title, args_from, args_to

    def title(self) -> str:
        return self._title


STEP = 0.01  # seconds
CALLBACKS = (
    "on_before_ui", "on_ui_settings", "on_ui_tabs", "on_app_started", "on_before_reload", "on_script_unloaded",
    "on_before_component", "on_after_component", "on_image_saved",
)  # fmt: skip


class Api:
    """As ``modules.api.api.Api``: takes the lock itself, and leaves ``current_task`` behind when it raises."""

    def __init__(self, app: FastAPI, queue_lock: Any) -> None:
        self.queue_lock = queue_lock
        self.threads: list[str] = []
        self.raises: list[Exception] = []  # one for each call, before it makes a picture
        app.add_api_route("/sdapi/v1/txt2img", self.text2imgapi, methods=["POST"])
        app.add_api_route("/sdapi/v1/samplers", lambda: [{"name": "Euler"}])

    def text2imgapi(self, req: Txt2Img) -> Any:
        shared, progress = sys.modules["modules.shared"], sys.modules["modules.progress"]
        self.threads.append(threading.current_thread().name)
        progress.add_task_to_queue(req.force_task_id)
        with self.queue_lock:
            try:
                shared.state.begin(job="scripts_txt2img")
                progress.start_task(req.force_task_id)
                if self.raises:
                    raise self.raises.pop(0)
                pictures = self._sample(req, shared.state)
                progress.finish_task(req.force_task_id)
            finally:
                shared.state.end()
        info = json.dumps(
            {"index_of_first_image": 0, "all_seeds": list(range(len(pictures))), "infotexts": ["text"] * len(pictures)}
        )
        return SimpleNamespace(images=pictures, parameters=vars(req), info=info)

    @staticmethod
    def _sample(req: Txt2Img, state: State) -> list[str]:
        state.job_count, state.sampling_steps = req.n_iter or 1, req.steps or 1
        pictures = []
        for _ in range(state.job_count):
            state.skipped = False
            if state.interrupted or state.stopping_generation:
                break
            for step in range(state.sampling_steps):
                if state.interrupted or state.skipped:
                    break
                state.sampling_step = step
                time.sleep(STEP)
            pictures += [_png()] * (req.batch_size or 1)
            state.nextjob()
        return pictures


def _png() -> str:
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


class OptionInfo:
    """As ``modules.options.OptionInfo``."""

    def __init__(
        self,
        default: Any = None,
        label: str = "",
        component: Any = None,
        component_args: Any = None,
        onchange: Any = None,
        section: Any = None,
    ) -> None:
        self.default, self.label, self.onchange, self.section = default, label, onchange, section
        self.restrict_api = self.do_not_save = False
        self.texts: list[str] = []

    def info(self, text: str) -> "OptionInfo":
        self.texts.append(text)
        return self

    html = info


class Options:
    """As ``modules.options.Options``."""

    def __init__(self) -> None:
        self.__dict__["data_labels"] = {}
        self.__dict__["data"] = {}

    def __getattr__(self, name: str) -> Any:
        if name in self.data:
            return self.data[name]
        if name in self.data_labels:
            return self.data_labels[name].default
        raise AttributeError(name)

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.data_labels[key] = info
        self.data.setdefault(key, info.default)

    def set(self, key: str, value: Any) -> bool:
        old = self.data.get(key)
        self.data[key] = value
        try:
            if self.data_labels[key].onchange:
                self.data_labels[key].onchange()
        except Exception:
            self.data[key] = old
            return False
        return True


class MainThread(threading.Thread):
    """As ``modules_forge.main_thread``: a loop that looks every 10 ms, and keeps what is finished."""

    def __init__(self) -> None:
        super().__init__(name="the host's main thread", daemon=True)
        self.lock = threading.Lock()
        self.waiting_list: list[Any] = []
        self.finished_list: list[Any] = []
        self.last_id = 0
        self.ended = False

    def async_run(self, function: Callable[..., Any], *args: Any) -> int:
        with self.lock:
            self.last_id += 1
            self.waiting_list.append(SimpleNamespace(task_id=self.last_id, work=lambda: function(*args)))
            return self.last_id

    def run(self) -> None:
        while not self.ended:
            time.sleep(0.01)
            if self.waiting_list:
                with self.lock:
                    task = self.waiting_list.pop(0)
                task.work()
                with self.lock:
                    self.finished_list.append(task)


class StandIn:
    """The host; ``app`` is its FastAPI application, ``api`` what answers there."""

    def __init__(self, forge: bool, folder: Any) -> None:
        self.lock, self.state, self.options = FIFOLock(), State(), Options()
        self.command_line = SimpleNamespace(
            api_auth=None, gradio_auth=None, gradio_auth_path=None, freeze_settings=False
        )
        self.app = FastAPI()
        self.app.auth, self.app.tokens = None, {}
        self.api = Api(self.app, self.lock)
        self.main = MainThread() if forge else None
        self.callbacks: dict[str, Any] = {}
        self.freed = 0
        self.modules = self._modules(folder)

    def _modules(self, folder: Any) -> dict[str, ModuleType]:
        self.options.add_option("sd_model_checkpoint", OptionInfo("tiny-a"))
        self.options.add_option("CLIP_stop_at_last_layers", OptionInfo(1))
        schedulers = [
            SimpleNamespace(name="karras", label="Karras", aliases=None),
            SimpleNamespace(name="automatic", label="Automatic", aliases=None),
        ]
        checkpoints = {name: SimpleNamespace(name_for_extra=name) for name in ("tiny-a", "tiny-b")}
        scripts = SimpleNamespace(
            selectable_scripts=[Script("X/Y/Z plot", 5, 8)], alwayson_scripts=[Script("ControlNet", 1, 5)]
        )
        parts: dict[str, dict[str, Any]] = {
            "modules": {"__path__": []},
            "modules.shared": {
                "state": self.state, "opts": self.options, "cmd_opts": self.command_line, "sd_model": object(),
                "sd_upscalers": [SimpleNamespace(name=name) for name in ("None", "Lanczos", "Nearest")],
                "latent_upscale_modes": {"Latent": {}}, "prompt_styles": SimpleNamespace(styles={"sketch": None}),
            },
            "modules.call_queue": {"queue_lock": self.lock},
            "modules.progress": self._progress(),
            "modules.paths": {"data_path": str(folder)},
            "modules.devices": {"torch_gc": self._free},
            "modules.options": {"OptionInfo": OptionInfo},
            "modules.sd_samplers": {"all_samplers_map": dict.fromkeys(("Euler", "Euler a", "DPM++ 2M"))},
            "modules.sd_schedulers": {
                "schedulers": schedulers, "schedulers_map": {key: s for s in schedulers for key in (s.name, s.label)},
            },
            "modules.sd_models": {
                "checkpoints_list": checkpoints, "checkpoint_aliases": checkpoints,
                "get_closet_checkpoint_match": lambda name: checkpoints.get(name),
                "model_data": SimpleNamespace(sd_model=None),
            },
            "modules.sd_vae": {"vae_dict": {"good.vae": ""}},
            "modules.scripts": {"scripts_txt2img": scripts, "scripts_img2img": scripts},
            "modules.script_callbacks": {
                name: (lambda function, name=name: self.callbacks.__setitem__(name, function))
                for name in CALLBACKS
            },
            "modules.api": {"__path__": []},
            "modules.api.models": {
                "StableDiffusionTxt2ImgProcessingAPI": Txt2Img, "StableDiffusionImg2ImgProcessingAPI": Txt2Img,
                "ExtrasSingleImageRequest": Extras,
            },
            "modules.api.api": {"Api": Api},
        }  # fmt: skip
        if self.main is not None:
            main = self.main
            parts["modules_forge"] = {"__path__": []}
            parts["modules_forge.main_thread"] = {
                "async_run": main.async_run,
                "lock": main.lock,
                "finished_list": main.finished_list,
                "waiting_list": main.waiting_list,
            }
        return {name: _module(name, values) for name, values in parts.items()}

    def _progress(self) -> dict[str, Any]:
        values: dict[str, Any] = {"current_task": None, "pending_tasks": {}, "finished_tasks": []}

        def here() -> Any:
            return sys.modules["modules.progress"]

        def start_task(task: Any) -> None:
            here().current_task = task
            here().pending_tasks.pop(task, None)

        def finish_task(task: Any) -> None:
            here().current_task = None if here().current_task == task else here().current_task
            here().finished_tasks.append(task)

        values.update(start_task=start_task, finish_task=finish_task)
        values["add_task_to_queue"] = lambda task: here().pending_tasks.__setitem__(task, time.time())
        return values

    def _free(self) -> None:
        self.freed += 1


def _module(name: str, values: dict[str, Any]) -> ModuleType:
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None)
    made.__dict__.update(values)
    return made


def installed(forge: bool, folder: Any, monkeypatch: Any) -> Iterator[StandIn]:
    """The stand-in in the place of ``modules`` while a test runs."""
    host = StandIn(forge, folder)
    for name, made in host.modules.items():
        monkeypatch.setitem(sys.modules, name, made)
    for name, made in host.modules.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(host.modules[parent], child, made)
    if host.main is not None:
        host.main.start()
    yield host
    if host.main is not None:
        host.main.ended = True
        host.main.join()


__all__ = ["HTTPException", "StandIn", "installed"]
