"""Runs captured buttons: rebuilds the arguments for the function as it is now, and calls it as a click would."""

import html
import inspect
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image, PngImagePlugin

from ..errors import InvalidRequest, RequestRefused, invalid
from ..identity import ANONYMOUS
from ..pipelines import Picture, Request, Result
from ..pipelines.payloads import RULES
from . import host, model_options
from .buttons import KNOWN, Capture, gallery_of
from .checks import nearest
from .controls import Control, choices, default, is_request, still_there
from .running import HostRun, lent
from .values import Classes, Decoder, Inexpressible

PREFIX = "ui:"
ERROR = re.compile(r"<div class=['\"]error['\"]>(.*?)</div>", re.DOTALL)
NOTE_LIMIT = 12  # controls a note names
FIELDS = {
    "prompt": "prompt",
    "negative_prompt": "neg_prompt",
    "width": "width",
    "height": "height",
    "steps": "steps",
    "n_iter": "batch_count",
    "batch_size": "batch_size",
    "cfg_scale": "cfg_scale",
    "seed": "seed",
    "denoising_strength": "denoising_strength",
    "sampler_name": "sampling",
    "enable_hr": "hr-checkbox",
    "hr_scale": "hr_scale",
}
"""What a payload says in the words of the API, and how the elem_id of its control ends (``txt2img_width``)."""


def field_keys(found: Capture) -> dict[str, str]:
    """The controls behind those fields, where this button has them."""
    tab = found.elem_id.rpartition("_")[0]
    keys = {control.key for _, control in found.kept()}
    return {name: f"{tab}_{end}" for name, end in FIELDS.items() if f"{tab}_{end}" in keys}


class CapturedButtons:
    """What ``WebUIPipeline`` runs ``ui:`` jobs with. ``find`` gives the capture of a button of the present page."""

    def __init__(self, find: Callable[[str], Capture | None]) -> None:
        self._find = find

    def check(self, task: str, payload: dict[str, Any]) -> None:
        """Raises InvalidRequest for a payload that no button of this page wrote."""
        found = self._find(task[len(PREFIX) :])
        if found is None:
            raise invalid("task", msg=f"is a button this page does not have (any more): {task[len(PREFIX) :]}")
        if not isinstance(payload.get("controls"), dict):
            raise invalid("payload", "controls", msg="must be an object with a value for each control")
        if faults := list(_faults(found, payload)):
            raise InvalidRequest(faults)

    def run(self, request: Request, run: HostRun) -> Result:
        """Raises RequestRefused where a value cannot be used any more, else what the function raises."""
        found = self._find(request.task[len(PREFIX) :])
        if found is None:
            raise RequestRefused(reason=f"This page has no button {request.task[len(PREFIX) :]} any more.")
        task_id = f"task(queue-{request.job_id})"
        with Decoder(Classes(found.held())) as decode:
            inputs, notes = arguments(found, request.payload, decode)
            function = bare(found.call.function)
            given = with_request(found.call.function, _with_task_id(found, inputs, task_id), request.owner)
            run.images = max(1, _number(request.payload, "batch_size") * _number(request.payload, "n_iter"))
            with model_options.set_for(request.payload), _lock_for(found):
                outputs = answer(run.call(called, function, given, task_id=task_id, hop=False), found)
        return result(found, outputs, notes, run, request.payload)


def _lock_for(found: Capture) -> AbstractContextManager[None]:
    """The host's own buttons have the lock taken for them, by a wrapper that ``bare`` leaves out; others may do it."""
    return nullcontext() if found.elem_id in KNOWN else lent(host.queue_lock())


def _choices_of(found: Capture, field: str) -> list[Any]:
    key = field_keys(found).get(field)
    return next((choices(control.component) for _, control in found.kept() if control.key == key), [])


def _number(payload: Mapping[str, Any], field: str) -> int:
    value = payload.get(field)
    return value if isinstance(value, int) and not isinstance(value, bool) else 1


def _faults(found: Capture, payload: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What no host would survive, and what this one does not have."""
    sampler, known = payload.get("sampler_name"), _choices_of(found, "sampler_name")
    if sampler is not None and known and sampler not in known:
        said = f"must be a sampler of this WebUI, not {str(sampler)[:60]!r}{nearest(str(sampler), known)}"
        yield {"loc": ["payload", "sampler_name"], "msg": said}
    for name in FIELDS:
        rule = RULES["txt2img"].get(name)
        if name in payload and rule is not None and rule.refuses(payload[name]):
            yield {"loc": ["payload", name], "msg": f"must be {rule.allowed}, not {str(payload[name])[:60]!r}"}
    checkpoint, skip = payload.get("checkpoint"), payload.get("clip_skip")
    if checkpoint is not None and not (isinstance(checkpoint, str) and host.is_checkpoint(checkpoint)):
        shown = str(checkpoint)[:200]
        yield {"loc": ["payload", "checkpoint"], "msg": f"must be a checkpoint of this WebUI, not {shown!r}"}
    if skip is not None and (isinstance(skip, bool) or not isinstance(skip, int) or not 1 <= skip <= 12):
        yield {"loc": ["payload", "clip_skip"], "msg": "must be a whole number from 1 to 12"}


# --- arguments -------------------------------------------------------------------------------------------------------


def arguments(found: Capture, payload: Mapping[str, Any], decode: Decoder) -> tuple[list[Any], list[str]]:
    """The values of the function's inputs, and what is to be said about them. Raises RequestRefused.

    A control of the payload that has gone is ignored, as is a choice that has gone (a script, a sampler); what the
    payload does not know takes its default. All of that is said.
    A field in the words of the API wins over its control, so that a waiting job can be edited.
    """
    kept = {**payload["controls"], **_edited(found, payload)}
    picked = set(payload.get("picked") or ())
    values: dict[str, Any] = {}
    new: list[str] = []
    gone: list[str] = []
    for _, control in found.kept():
        if control.key in kept:
            values[control.key] = _value(control, kept.pop(control.key), decode, control.key in picked, gone)
        else:
            values[control.key] = default(control.component)
            new.append(control.title)
    for helper in found.helpers:
        filled = helper.call.function(*(values.get(control.key) for control in helper.controls))
        values.update({control.key: filled for control in found.controls if control.component is helper.state})
    notes = [*_note("ignored, not there any more", [*gone, *kept]), *_note("new, at its default", new)]
    return [values.get(control.key) for control in found.controls], notes


def _edited(found: Capture, payload: Mapping[str, Any]) -> dict[str, Any]:
    return {key: payload[name] for name, key in field_keys(found).items() if name in payload}


def _note(what: str, titles: Sequence[str]) -> list[str]:
    if not titles:
        return []
    more = f" and {len(titles) - NOTE_LIMIT} more" if len(titles) > NOTE_LIMIT else ""
    return [f"{what}: {', '.join(titles[:NOTE_LIMIT])}{more}"]


def _value(control: Control, kept: Any, decode: Decoder, picked: bool, gone: list[str]) -> Any:
    """The value for the function; what it chose that cannot be chosen any more is added to ``gone``."""
    try:
        by_name = isinstance(kept, dict) and kept.get("$") == "choice"
        value = kept["value"] if by_name else decode(kept)
    except Inexpressible as error:
        raise RequestRefused(reason=f"{control.title} holds {error}.") from None
    if not (by_name or (picked and choices(control.component))):
        return value
    left, lost = still_there(control.component, value)
    gone.extend(f"{control.title} “{name}”" for name in lost)
    return default(control.component) if lost and left is None else left


def _with_task_id(found: Capture, inputs: list[Any], task_id: str) -> list[Any]:
    return [
        task_id if control.key == "argument:id_task" else value
        for control, value in zip(found.controls, inputs, strict=True)
    ]


def with_request(function: Callable[..., Any], inputs: list[Any], owner: str) -> list[Any]:
    """The inputs with a request where gradio would put it; its user is the job's owner."""
    given = list(inputs)
    user = None if owner == ANONYMOUS or owner.startswith("client-") else owner
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return given
    for number, parameter in enumerate(parameters):
        if is_request(parameter) and number <= len(given):
            given.insert(number, gr.Request(username=user))
    return given


# --- the call --------------------------------------------------------------------------------------------------------


def bare(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function inside the host's wrappers, which take the lock that we hold, and turn errors into HTML."""
    while _is_hosts_wrapper(function):
        inner = getattr(function, "__wrapped__", None) or _enclosed(function)
        if inner is None:
            break
        function = inner
    return function


def _is_hosts_wrapper(function: Any) -> bool:
    return getattr(function, "__globals__", {}).get("__name__") == "modules.call_queue"


def _enclosed(function: Any) -> Any:
    variables = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
    return variables["func"].cell_contents if "func" in variables else None


def called(function: Callable[..., Any], given: list[Any]) -> Any:
    """What the function returns. On Forge it runs in the main thread, which swallows what it raises and says None."""
    main = host.optional("modules_forge.main_thread")
    if main is not None:
        main.last_exception = None
    made = function(*given)
    swallowed = getattr(main, "last_exception", None)
    if made is None and swallowed is not None:
        raise swallowed
    return list(made) if inspect.isgenerator(made) else made


def answer(made: Any, found: Capture) -> list[Any]:
    """One value for each output. Raises RuntimeError with the text where the function answered with an error."""
    if isinstance(made, Mapping):
        made = [made.get(component) for component in found.call.outputs]
    elif not isinstance(made, (list, tuple)) or len(found.call.outputs) == 1:
        made = [made]
    outputs = [
        item.get("value") if isinstance(item, dict) and item.get("__type__") == "update" else item for item in made
    ]
    gallery = gallery_of(found.call)
    for text in outputs:
        error = ERROR.search(text) if isinstance(text, str) else None
        if error is not None and (gallery is None or not outputs[gallery]):
            raise RuntimeError(html.unescape(error.group(1)))
    return outputs


# --- pictures --------------------------------------------------------------------------------------------------------


def result(found: Capture, outputs: list[Any], notes: list[str], run: HostRun, payload: Mapping[str, Any]) -> Result:
    """The pictures of the answer; after an interruption by the queue without what is half-made."""
    gallery = gallery_of(found.call)
    shown = outputs[gallery] if gallery is not None and gallery < len(outputs) else None
    info = _info(outputs)
    first, seeds, texts = (
        info.get("index_of_first_image") or 0,
        info.get("all_seeds") or [],
        info.get("infotexts") or [],
    )
    images = [image for item in (shown if isinstance(shown, (list, tuple)) else [shown]) for image in _images(item)]
    pictures = [picture(image, _at(seeds, n - first), _at(texts, n)) for n, image in enumerate(images)]
    if run.cancelled.is_set():
        batches = int((run.finished or 0.0) * _number(payload, "n_iter") + 1e-6)
        pictures = pictures[first : first + batches * _number(payload, "batch_size")]
    texts_shown = [
        None if number == gallery else item if isinstance(item, (str, int, float)) else None
        for number, item in enumerate(outputs)
    ]
    info = {**info, "captured": {"button": found.elem_id, "outputs": texts_shown, "notes": notes}}
    return Result(tuple(pictures), info, {name: payload[name] for name in FIELDS if name in payload})


def _info(outputs: Sequence[Any]) -> dict[str, Any]:
    """The generation info among the outputs, told by what it holds."""
    for item in outputs:
        if isinstance(item, str) and item.startswith("{"):
            try:
                found = json.loads(item)
            except ValueError:
                continue
            if isinstance(found, dict) and ("infotexts" in found or "all_seeds" in found):
                return found
    return {}


def _at(values: Sequence[Any], index: int) -> Any:
    return values[index] if 0 <= index < len(values) else None


def _images(item: Any) -> Iterator[Any]:
    """A picture of a gallery, as a picture or the path of one; with or without a caption."""
    if isinstance(item, (tuple, list)) and item:
        item = item[0]
    if isinstance(item, dict):
        item = item.get("image", item.get("name", item.get("path")))
        item = item.get("path") if isinstance(item, dict) else item
    if isinstance(item, np.ndarray):
        item = Image.fromarray(item if item.dtype == np.uint8 else (np.clip(item, 0, 1) * 255).astype(np.uint8))
    if isinstance(item, (Image.Image, str, Path)):
        yield item


def picture(image: Any, seed: Any, infotext: str | None) -> Picture:
    """A picture of the host as a PNG with its infotext: the file the host saved, where that is one."""
    path = Path(
        str(getattr(image, "already_saved_as", None) or (image if isinstance(image, (str, Path)) else "")).rsplit(
            "?", 1
        )[0]
    )
    if isinstance(image, (str, Path)):
        with Image.open(path) as opened:
            opened.load()
            image = opened
    infotext = infotext or image.info.get("parameters") or ""
    number = int(seed) if isinstance(seed, (int, float)) else None
    if path.suffix.lower() == ".png" and path.is_file():
        return Picture(path.read_bytes(), image.width, image.height, number, infotext)
    return Picture(_png(image, infotext), image.width, image.height, number, infotext)


def _png(image: Image.Image, infotext: str) -> bytes:
    known = PngImagePlugin.PngInfo()
    texts = {key: value for key, value in image.info.items() if isinstance(key, str) and isinstance(value, str)}
    for key, value in {**texts, **({"parameters": infotext} if infotext else {})}.items():
        known.add_text(key, value)
    buffer = io.BytesIO()
    (image if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else image.convert("RGB")).save(
        buffer, "PNG", pnginfo=known
    )
    return buffer.getvalue()
