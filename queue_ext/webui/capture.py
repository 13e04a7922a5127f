"""Enqueue beside every Generate: finds the buttons while the page is built, and makes jobs of clicks."""

import html
import json
import logging
import os
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import Context
from PIL import Image

from ..errors import InvalidRequest, QueueExtError, invalid
from ..identity import Owner
from ..ids import new_id
from ..sentences import told
from ..tab.blocks import visitor
from ..tab.form import queued
from ..texts import language, say
from . import host, model_options, send
from .buttons import KNOWN, Capture, Made, attach, capture, create, gallery_of
from .captured import PREFIX, CapturedButtons, field_keys
from .controls import Control, chosen, is_state, offers
from .settings_page import SECTION
from .values import Classes, Encoder, Inexpressible

log = logging.getLogger(__name__)

BUTTONS, SHORTCUT, GENERATE = "queue_ext_buttons", "queue_ext_shortcut", "queue_ext_generate"
DEFAULT_SHORTCUT = "Ctrl+Shift+Enter"
TIMES_LIMIT = 100
SEEDS = 2**32
TEXTUAL = {
    "Textbox",
    "Text",
    "TextArea",
    "Dropdown",
    "Radio",
    "CheckboxGroup",
    "HTML",
    "Markdown",
    "Label",
    "Code",
    "JSON",
    "ColorPicker",
}
"""Components whose text is a text, also where it happens to be the path of a file."""
WHOLE = {"width", "height", "steps", "n_iter", "batch_size", "seed"}


def register(find_app: Callable[[], Any] | None = None) -> CapturedButtons:
    """Have the host tell us of its page, and give what runs its buttons; for every run of the extension's script."""
    page.find_app = find_app or _running
    callbacks = host.module("script_callbacks")
    callbacks.on_before_ui(page.forget)
    callbacks.on_after_component(page.on_component)
    callbacks.on_ui_tabs(page.on_tabs)
    callbacks.on_ui_settings(add_settings)
    return CapturedButtons(page.find)


def _running() -> Any:
    """The queue; waits until it has started. Raises NotRunning."""
    from . import current

    extension = current()
    return extension.queue_app() if extension is not None else None


def add_settings() -> None:
    """Our part of the settings page's section."""
    shared = host.module("shared")
    option = shared.OptionInfo
    shared.opts.add_option(
        SHORTCUT,
        option(DEFAULT_SHORTCUT, "Keys that queue what is on screen", section=SECTION).info(
            "such as Ctrl+Shift+Enter; empty for none"
        ),
    )
    shared.opts.add_option(
        GENERATE,
        option(False, "Generate also queues", section=SECTION).info(
            "Generate becomes Enqueue, and shows the outcome in its usual place when it is done"
        ),
    )
    shared.opts.add_option(
        BUTTONS,
        option("", "Other buttons to put Enqueue beside", section=SECTION)
        .info("elem_ids of buttons of other extensions, separated by commas; elem_id:function where one calls several")
        .needs_reload_ui(),
    )


# --- the page --------------------------------------------------------------------------------------------------------


class Page:
    """The page as it was built last: its components, and the buttons that can be queued."""

    def __init__(self) -> None:
        self.find_app: Callable[[], Any] = lambda: None
        self.forget()

    def forget(self) -> None:
        """A new page is about to be built."""
        self._components: dict[int, Any] = {}
        self._made: dict[str, Made] = {}
        self._wanted: dict[str, str | None] = {}

    def find(self, elem_id: str) -> Capture | None:
        """What a button does, as the page is now."""
        made = self._made.get(elem_id)
        return made.capture if made is not None else None

    def on_component(self, component: Any, **_options: Any) -> None:
        """Every component passes by here when it has been made."""
        if Context.root_block is None:  # the host builds its scripts once more for its API
            return
        if getattr(component, "_id", None) is not None:
            self._components[component._id] = component
        elem_id = str(getattr(component, "elem_id", None) or "")
        if elem_id == "tabs":  # all tabs are complete, and none of them is in the page yet
            self._attach()
        elif isinstance(component, gr.Button) and elem_id in self._names() and elem_id not in self._made:
            if not self._made:
                send.build(self.find_app)
            self._made[elem_id] = create(component, self._names()[elem_id])

    def on_tabs(self) -> list[Any]:
        """The host's own tabs are complete now."""
        self._attach()
        return []

    def _names(self) -> Mapping[str, str | None]:
        if not self._wanted:
            self._wanted = {**wanted(str(getattr(host.options(), BUTTONS, "") or "")), **KNOWN}
        return self._wanted

    def _attach(self) -> None:
        owners = script_titles()
        for elem_id, made in self._made.items():
            if made.attached:
                continue
            try:
                found = capture(
                    made.root, made.button, made.name, lambda component: owners.get(id(component)), self._components
                )
                if found is not None:
                    attach(made, found, self._clicked(found), self._shown(found), checkpoints_json)
            except Exception:
                log.exception("the button %s cannot be queued", elem_id)

    def _clicked(self, found: Capture) -> Callable[..., str]:
        def enqueue(options: str, request: gr.Request, *values: Any) -> str:
            return json.dumps({"click": new_id(), **Click(self.find_app, found, request).outcome(options, values)})

        return enqueue

    def _shown(self, found: Capture) -> Callable[..., Any]:
        def show(options: str, request: gr.Request) -> Any:
            shown = outputs_of(self.find_app(), found, json.loads(options)["job"], request)
            return shown if len(shown) != 1 else shown[0]

        return show


page = Page()


def wanted(text: str) -> dict[str, str | None]:
    """The setting: elem_ids, each with the name of its function where one is given."""
    found = [part.strip().partition(":") for part in re.split(r"[,\s]+", text) if part.strip()]
    return {elem_id: name or None for elem_id, _, name in found}


def script_titles() -> dict[int, str]:
    """Whose control a component is, by its id() in Python."""
    module = host.module("scripts")
    titles: dict[int, str] = {}
    for runner in (getattr(module, "scripts_txt2img", None), getattr(module, "scripts_img2img", None)):
        for script in getattr(runner, "scripts", None) or ():
            for control in getattr(script, "controls", None) or ():
                titles[id(control)] = str(script.title())
    for script in getattr(getattr(module, "scripts_postproc", None), "scripts", None) or ():
        for control in (getattr(script, "controls", None) or {}).values():
            titles[id(control)] = str(script.name)
    return titles


def checkpoints_json() -> str:
    """What *Enqueue for every checkpoint* is about."""
    infos = host.module("sd_models").checkpoints_list.values()
    return json.dumps(
        {
            "click": new_id(),
            "checkpoints": sorted(info.name for info in infos),
            "current": model_options.current().get("checkpoint"),
        }
    )


# --- a click ---------------------------------------------------------------------------------------------------------


class Click:
    """One click on Enqueue."""

    def __init__(self, find_app: Callable[[], Any], found: Capture, request: Any) -> None:
        self._find_app = find_app
        self._found = found
        self._visitor = visitor(request)
        self._lang = language(self._visitor.headers.get("accept-language"))

    def outcome(self, options: str, values: Sequence[Any]) -> dict[str, Any]:
        """``{ok, text, ids}``. Never raises: whatever is wrong becomes a sentence that names the control."""
        try:
            self._app = self._find_app()
            if self._app is None:
                return {"ok": False, "text": say(self._lang, "capture_not_started")}
            return self._queued(json.loads(options or "{}"), values)
        except InvalidRequest as error:
            _, faults = told(self._lang, error)
            return {"ok": False, "text": "\n".join(f"{_place(fault['loc'])}: {fault['msg']}" for fault in faults)}
        except QueueExtError as error:
            return {"ok": False, "text": told(self._lang, error)[0]}
        except Exception:
            log.exception("a click on %s was not queued", self._found.elem_id)
            return {"ok": False, "text": say(self._lang, "capture_broken")}

    def _queued(self, options: Mapping[str, Any], values: Sequence[Any]) -> dict[str, Any]:
        owner = self._app.identity.owner(self._visitor)
        if options.get("front"):
            self._app.identity.require_admin(owner, say(self._lang, "capture_front"))
        payload = self._payload(owner, values)
        requests = [self._request(payload, options) for payload in variants(payload, options)]
        ids = self._app.queue.enqueue(owner, requests, len(requests) > 1, bool(options.get("front")))
        job = self._app.queue.show(owner, ids[:1], self._lang)[0]
        text = job["message"] if job["state"] == "scheduled" else queued(job, len(ids), self._lang)
        return {"ok": True, "text": text, "ids": ids, "button": self._found.elem_id, "show": bool(options.get("show"))}

    def _request(self, payload: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
        request = {"task": PREFIX + self._found.elem_id, "payload": payload}
        return {**request, "run_at": options["run_at"]} if options.get("run_at") else request

    def _payload(self, owner: Owner, values: Sequence[Any]) -> dict[str, Any]:
        """Everything the button would take, and what the host has set. Raises InvalidRequest naming the control."""
        kept, picked, faults = {}, [], []
        classes = Classes(self._found.held())
        for number, control in self._found.kept():
            encode = Encoder(
                self._save(owner), classes, _is_dropped_file if _may_hold_files(control) else lambda _path: False
            )
            try:
                kept[control.key] = _encoded(control, values[number], encode)
            except Inexpressible as error:
                faults.append({"loc": [control.title], "msg": say(self._lang, "capture_inexpressible", what=error)})
            if offers(control.component, values[number]):
                picked.append(control.key)
        if faults:
            raise InvalidRequest(faults)
        fields = {name: kept[key] for name, key in field_keys(self._found).items()}
        plain = {name: int(v) if name in WHOLE else v for name, v in fields.items() if isinstance(v, (str, int, float))}
        return {**plain, **model_options.current(), "controls": kept, "picked": picked}

    def _save(self, owner: Owner) -> Callable[[bytes, tuple[int, int]], str]:
        from ..store import FileRef  # with the database behind it: loaded long before somebody clicks

        limit = self._app.settings.max_payload_mb

        def save(data: bytes, size: tuple[int, int]) -> str:
            if not any(size) and len(data) > limit * 1_000_000:
                raise Inexpressible(say(self._lang, "capture_large", limit=f"{limit:g}"))
            mime = "image/png" if any(size) else "application/octet-stream"
            ref = FileRef(self._app.queue.media.save(data), mime, len(data), *size)
            self._app.store.add_upload(owner.id, ref, time.time())
            return f"upload:{ref.sha256}"

        return save


def _encoded(control: Control, value: Any, encode: Encoder) -> Any:
    is_choice, choice = chosen(control.component, value)
    return {"$": "choice", "value": choice} if is_choice else encode(value, control.key)


def _may_hold_files(control: Control) -> bool:
    return type(control.component).__name__ not in TEXTUAL and not is_state(control.component)


def _is_dropped_file(path: str) -> bool:
    """Whether it is a file that gradio put down for this page, and not some other file of the server."""
    folders = {tempfile.gettempdir(), os.environ.get("GRADIO_TEMP_DIR"), getattr(host.options(), "temp_dir", None)}
    try:
        found = Path(path).resolve()
        return found.is_file() and any(found.is_relative_to(Path(folder).resolve()) for folder in folders if folder)
    except (OSError, ValueError):
        return False


def _place(loc: Sequence[Any]) -> str:
    return ".".join(str(part) for part in loc if part not in ("payload", "jobs", "controls"))


def variants(payload: dict[str, Any], options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One payload for each checkpoint or seed that was asked for. Raises InvalidRequest."""
    names, times = options.get("checkpoints"), options.get("times")
    if names is not None:
        if not isinstance(names, list) or not names:
            raise invalid("checkpoint", msg="choose at least one")
        yield from ({**payload, "checkpoint": name} for name in names)
    elif times is not None:
        if isinstance(times, bool) or not isinstance(times, int) or not 1 <= times <= TIMES_LIMIT:
            raise invalid("times", msg=f"must be a whole number from 1 to {TIMES_LIMIT}")
        yield from (
            {**payload, **({"seed": random.randrange(SEEDS)} if "seed" in payload else {})} for _ in range(times)
        )
    else:
        yield payload


# --- the outcome in its usual place ----------------------------------------------------------------------------------


def outputs_of(app: Any, found: Capture, job_id: str, request: Any) -> list[Any]:
    """What the button would have shown: a finished job's pictures and the texts around them. Raises JobNotFound."""
    sender = visitor(request)
    job = app.queue.details(app.identity.owner(sender), job_id, language(sender.headers.get("accept-language")))
    captured = ((job.get("result") or {}).get("info") or {}).get("captured") or {}
    kept = captured.get("outputs") or []
    shown = [kept[n] if n < len(kept) and kept[n] is not None else "" for n in range(len(found.call.outputs))]
    gallery = gallery_of(found.call)
    if gallery is not None:
        shown[gallery] = [_opened(app, file["sha256"]) for file in app.store.files([job_id]).get(job_id, ())]
        if type(found.call.outputs[gallery]).__name__ != "Gallery":
            shown[gallery] = next(iter(shown[gallery]), None)
    if not job.get("result") and shown:
        shown[-1] = f"<div class='error'>{html.escape(job['message'])}</div>"
    elif notes := captured.get("notes"):
        shown[-1] = f"{shown[-1]}<p class='queue-ext-notes'>{html.escape('. '.join(notes))}</p>"
    return shown


def _opened(app: Any, sha256: str) -> Image.Image:
    with Image.open(app.queue.media.path(sha256)) as image:
        image.load()
        return image
