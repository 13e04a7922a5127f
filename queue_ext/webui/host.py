"""The one door to ``modules.*``: what this host is, what it offers, and what it is doing.

Everything is looked up when it is asked for, since a host replaces its parts at "Reload UI", and nothing is imported
before somebody asks.
"""

import importlib
import importlib.util
import logging
import queue
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
LINGER = 0.02  # seconds the host's own thread waits for the next job before it goes back to its own list

A1111, FORGE, UNKNOWN = "AUTOMATIC1111", "Forge", "unknown"

_absent: set[str] = set()  # optional modules that this host was found not to have


def module(name: str) -> Any:
    """``modules.<name>`` of the host. Raises ImportError."""
    return _imported(f"modules.{name}")


def optional(name: str) -> Any:
    """A module of the host by its full name, or None where this host has none."""
    if name in _absent:  # to look for it again costs every job a millisecond
        return sys.modules.get(name)
    try:
        return _imported(name)
    except ImportError:
        _absent.add(name)
        return None


def _imported(name: str) -> Any:
    """The import system would look at more than whether it is there, many times a job."""
    return sys.modules.get(name) or importlib.import_module(name)


def kind() -> str:
    """Which WebUI this is. reForge and others that keep the modules of one of the two count as that one."""
    if importlib.util.find_spec("modules_forge") is not None:
        return FORGE
    return A1111 if importlib.util.find_spec("modules") is not None else UNKNOWN


def state() -> Any:
    return module("shared").state


def options() -> Any:
    return module("shared").opts


def command_line() -> Any:
    """What the WebUI was started with, ours (``queue_*``) included."""
    return module("shared").cmd_opts


def progress() -> Any:
    """``modules.progress``, which the page's own progress bar reads."""
    return module("progress")


def queue_lock() -> Any:
    """The lock that whoever uses the model holds; not reentrant, without a timeout."""
    return module("call_queue").queue_lock


def data_path() -> Path:
    """The folder the WebUI keeps its data in (``--data-dir``)."""
    return Path(module("paths").data_path)


def free_memory() -> None:
    """Give back what can be given back of the graphics card's memory."""
    unload = getattr(optional("backend.memory_management"), "unload_all_models", None)
    if unload is not None:
        unload()
    module("devices").torch_gc()


def let_go_of_pages(seconds: float) -> None:
    """Give what the page's server still answers so long when it is closed.

    gradio 3.41 waits for ever for a page that was closed between its click and the click's turn, and the uvicorn of the
    page waits for gradio: with many people's browsers, "Reload UI" would one day not come back.
    """
    server = getattr(getattr(module("shared"), "demo", None), "server", None)
    config: Any = getattr(server, "config", None)
    if getattr(config, "timeout_graceful_shutdown", 0) is None:
        config.timeout_graceful_shutdown = seconds


# --- the thread the host runs its model in ---------------------------------------------------------------------------


def has_main_thread() -> bool:
    """Whether this host wants its model used in one thread of its own (Forge)."""
    return getattr(optional("modules_forge.main_thread"), "async_run", None) is not None


@dataclass
class Errand:
    """Something the host's own thread is to do, and what came of it."""

    before: Callable[[], None]
    work: Callable[[], Any]
    after: Callable[[], None]
    done: threading.Event = field(default_factory=threading.Event)
    value: Any = None
    error: BaseException | None = None


_handed_over: set[int] = set()  # ids of our tasks that the main thread may not have put down yet
_inbox: "queue.SimpleQueue[Errand]" = queue.SimpleQueue()
_gate = threading.Lock()
_lingers = False  # whether the main thread looks into the inbox


def in_main_thread(
    work: Callable[[], T], before: Callable[[], None] = lambda: None, after: Callable[[], None] = lambda: None
) -> T:
    """Have the host's own thread call ``work``, and wait until it is done; what it returns or raises.

    ``before`` and, where that has returned, ``after`` are called around it in the same thread.
    Not ``run_and_wait_result``: that looks only every 10 ms whether it is done, and swallows what was raised.
    """
    global _lingers
    main = optional("modules_forge.main_thread")
    _put_down(main)
    errand = Errand(before, work, after)
    with _gate:
        _inbox.put(errand)
        if not _lingers:
            _lingers = True
            _handed_over.add(main.async_run(_work_off))
    errand.done.wait()
    if errand.error is None:
        return errand.value  # type: ignore[no-any-return]
    try:
        raise errand.error
    finally:
        del errand  # else the error would hold this frame, and this frame the error


def _work_off() -> None:
    """In the main thread: what is in the inbox, and what comes soon after. Between two tasks of its own list the thread
    sleeps, which would cost every job of a queue some milliseconds. Nobody else's task waits for jobs yet to come.

    The work is called from here and not from a wrapper of its own: scripts of the host look at every frame of the stack
    once or twice a picture, which costs as much for each of ours as for each of theirs.
    """
    global _lingers
    others = getattr(optional("modules_forge.main_thread"), "waiting_list", ())
    while True:
        try:
            errand = _inbox.get(timeout=0 if others else LINGER)
        except queue.Empty:
            with _gate:
                if _inbox.empty():
                    _lingers = False
                    return
            continue
        try:
            errand.before()
            try:
                errand.value = errand.work()
            finally:
                errand.after()
        except BaseException as error:
            errand.error = error
        errand.done.set()
        del errand  # pictures are not to be kept while nothing comes


def _put_down(main: Any) -> None:
    """Forge keeps finished tasks until somebody takes them."""
    with main.lock:
        for task in [task for task in main.finished_list if task.task_id in _handed_over]:
            main.finished_list.remove(task)
            _handed_over.discard(task.task_id)


# --- lists -----------------------------------------------------------------------------------------------------------


def samplers() -> list[str]:
    return list(module("sd_samplers").all_samplers_map)


def schedulers() -> list[str]:
    """Names and labels; every one is accepted."""
    found = optional("modules.sd_schedulers")
    return list(found.schedulers_map) if found else []


def scheduler_suffixes() -> list[str]:
    """What may stand behind a sampler's name, as in "DPM++ 2M Karras"."""
    found = optional("modules.sd_schedulers")
    return [name for s in (found.schedulers if found else ()) for name in (s.label, s.name, *(s.aliases or ()))]


def checkpoints() -> list[str]:
    """Names a person knows a checkpoint by, without their hashes."""
    return [info.name_for_extra for info in module("sd_models").checkpoints_list.values()]


def is_checkpoint(name: str) -> bool:
    """Whether ``override_settings.sd_model_checkpoint`` finds it; the host drops any other in silence."""
    return name in module("sd_models").checkpoint_aliases


def finds_checkpoint(name: str) -> bool:
    """Whether the host finds one by a part of its title, as it does for the refiner's and hires fix's."""
    return module("sd_models").get_closet_checkpoint_match(name) is not None


def vaes() -> list[str] | None:
    """Names of VAEs; None where the host has no such list (Forge loads them as additional modules)."""
    found = getattr(optional("modules.sd_vae"), "vae_dict", None)
    return None if found is None or kind() == FORGE else ["Automatic", "None", *found]


def additional_modules() -> list[str] | None:
    """Forge's list of VAEs and text encoders."""
    found = getattr(optional("modules_forge.main_entry"), "module_list", None)
    return None if found is None else list(found)


def upscalers() -> list[str]:
    return [upscaler.name for upscaler in module("shared").sd_upscalers]


def latent_upscalers() -> list[str]:
    return list(module("shared").latent_upscale_modes)


def styles() -> list[str]:
    return list(getattr(module("shared").prompt_styles, "styles", ()))


@dataclass(frozen=True)
class ScriptInfo:
    """One script of a tab: its title as the API knows it (lower case) and how many values it takes."""

    title: str
    alwayson: bool
    arguments: int


def scripts(task: str) -> list[ScriptInfo]:
    """The scripts of txt2img or img2img, selectable and always on."""
    runner = getattr(module("scripts"), f"scripts_{task}")
    selectable = [_script(script, False) for script in runner.selectable_scripts]
    return selectable + [_script(script, True) for script in runner.alwayson_scripts]


def _script(script: Any, alwayson: bool) -> ScriptInfo:
    return ScriptInfo(script.title().lower(), alwayson, (script.args_to or 0) - (script.args_from or 0))


@dataclass(frozen=True)
class OptionFact:
    """One setting of the host: whether a request may override it, and its default."""

    name: str
    settable: bool
    default: Any


def option(name: str) -> OptionFact | None:
    info = options().data_labels.get(name)
    if info is None:
        return None
    restricted = bool(getattr(info, "restrict_api", False) or getattr(info, "do_not_save", False))
    return OptionFact(name, not restricted, info.default)


def option_names() -> list[str]:
    return list(options().data_labels)


def settings_frozen() -> bool:
    return bool(getattr(command_line(), "freeze_settings", False))


# --- login -----------------------------------------------------------------------------------------------------------


def api_users() -> dict[str, str]:
    """Users and passwords of ``--api-auth``; empty without it."""
    return dict(_pair(text) for text in (getattr(command_line(), "api_auth", None) or "").split(",") if ":" in text)


def login_expected() -> bool:
    """Whether this WebUI was started with a login, of its page or of its API."""
    given = command_line()
    return any(getattr(given, name, None) for name in ("gradio_auth", "gradio_auth_path", "api_auth"))


def _pair(text: str) -> tuple[str, str]:
    user, _, password = text.partition(":")
    return user, password


# --- the API ---------------------------------------------------------------------------------------------------------


def find_api(routes: Iterable[Any]) -> Any:
    """The host's ``Api`` behind the routes of its application; None where it runs without ``--api``."""
    for route in routes:
        if getattr(route, "path", None) == "/sdapi/v1/txt2img":
            return getattr(route.endpoint, "__self__", None)
    return None


def make_api() -> Any:
    """An ``Api`` that serves nobody: it makes jobs of requests where the host was started without one."""
    from fastapi import FastAPI

    return module("api.api").Api(FastAPI(), queue_lock())


def request_model(task: str) -> Any:
    """The pydantic model of a task's request."""
    models = module("api.models")
    names = {
        "txt2img": "StableDiffusionTxt2ImgProcessingAPI",
        "img2img": "StableDiffusionImg2ImgProcessingAPI",
        "extras": "ExtrasSingleImageRequest",
    }
    return getattr(models, names[task])


def model_trouble() -> str | None:
    """Why no model can be used now; None where one is loaded, or is loaded with the job (Forge).

    AUTOMATIC1111 loads it here if need be. Where that fails it writes the reason into its log and goes on with None.
    """
    if not list(module("sd_models").checkpoints_list):
        return "the WebUI has no checkpoint: put one into its folder models/Stable-diffusion"
    if has_main_thread() or module("shared").sd_model is not None:
        return None
    try:
        module("sd_models").reload_model_weights()
    except Exception as error:
        return f"the checkpoint {options().sd_model_checkpoint} could not be loaded: {error}"
    if module("shared").sd_model is None:
        return f"the checkpoint {options().sd_model_checkpoint} could not be loaded; the WebUI's log says more"
    return None


LOADERS = ("reload_model_weights", "load_model", "forge_model_reload", "forge_loader")


def failed_to_load(error: BaseException) -> bool:
    """Whether it was raised while the host loaded a checkpoint, wherever in there."""
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_name in LOADERS:
            return True
        frame = frame.tb_next
    return False


def repair_model() -> None:
    """Put right what a host was left with that could not read a checkpoint; else every job after it would fail.

    AUTOMATIC1111 takes its changes out of the old model and does not put them back: it is loaded anew, which raises
    what loading raises. Forge drops the old model and still takes it for loaded: it is told, and the next job loads it.
    """
    models = module("sd_models")
    model = getattr(models.model_data, "sd_model", None)
    if getattr(models.model_data, "forge_hash", ""):
        if model is None:
            models.model_data.forge_hash = ""
        return
    hijack = getattr(optional("modules.sd_hijack"), "model_hijack", None)
    if model is None or hijack is None or hijack.clip is not None:
        return
    log.warning("the WebUI was left without a model that it can use: %s is loaded again", options().sd_model_checkpoint)
    if model in models.model_data.loaded_sd_models:
        models.model_data.loaded_sd_models.remove(model)
    models.model_data.sd_model = None
    models.reload_model_weights()
