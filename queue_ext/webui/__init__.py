"""Everything that lives in a WebUI: nothing else imports ``modules.*``, and nothing here before ``register``."""

import importlib
import importlib.util
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .lifecycle import Extension

log = logging.getLogger(__name__)

_current: "Extension | None" = None
_captured: Any = None  # what runs the captured buttons of the page


def _nothing() -> None:
    """There is nothing to undo yet."""


_undo_restart: Callable[[], None] = _nothing


def current() -> "Extension | None":
    """The queue of the page that is served now; None before the host has started and after it was unloaded."""
    return _current


def register() -> None:
    """Ask the WebUI to call us. Runs anew at every "Reload UI", when the host has forgotten what it was told before.

    At each callback the host asks ``inspect.stack`` whose it is, and that goes through all its modules for every frame
    of a file that is none of them. A thread of our own has no such frames: AUTOMATIC1111 starts 0.5 s sooner, Forge 1.5 s.
    """
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_register).result()


def _register() -> None:
    global _undo_restart
    from . import host
    from .lifecycle import on_restart

    callbacks = host.module("script_callbacks")
    _undo_restart()
    _undo_restart = on_restart(_halt)
    callbacks.on_ui_settings(_add_settings)
    callbacks.on_ui_tabs(_tabs)
    callbacks.on_app_started(_start)
    if hasattr(callbacks, "on_before_reload"):
        callbacks.on_before_reload(_stop)
    callbacks.on_script_unloaded(_stop)
    _register_capture()


def _register_capture() -> None:
    """The Enqueue buttons; without them, jobs still come in by REST and Socket.IO."""
    global _captured
    name = f"{__name__}.capture"
    if importlib.util.find_spec(name) is None:
        return
    try:
        _captured = importlib.import_module(name).register()
    except Exception:
        log.exception("there are no Enqueue buttons")


def _start(_demo: Any, application: Any) -> None:
    global _current
    from .leaving import before_leaving
    from .lifecycle import Extension

    _stop()
    _current = Extension(application)
    _current.pipeline.captured = _captured
    _current.start()
    before_leaving(_leave)


def _stop() -> None:
    global _current
    extension, _current = _current, None
    if extension is not None:
        extension.stop()


def _leave(patience: float) -> None:
    if _current is not None:
        _current.leave(patience)


def _halt() -> None:
    if _current is not None:
        _current.halt()


def _add_settings() -> None:
    from . import settings_page

    settings_page.add_options(_apply)


def _apply(name: str) -> None:
    if _current is not None:
        _current.apply(name)


def _tabs() -> list[tuple[Any, str, str]]:
    """The tab "Queue"; without one, jobs still run and both APIs are there."""
    try:
        from ..tab import build_tab

        return [(build_tab(current()), "Queue", "queue_ext")]  # type: ignore[arg-type]
    except Exception:
        log.exception("there is no tab Queue")
        return []


__all__ = ["current", "register"]
