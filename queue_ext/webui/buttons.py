"""Buttons of a page and what they call, in gradio 3.41 and 4.40 alike; and the Enqueue button put beside one."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.context import Context

from ..tab.blocks import JS, TOLD
from .controls import TASK_ID, Control, argument_names, is_state, name_controls

NEW = int(gr.__version__.partition(".")[0]) >= 4
KNOWN = {"txt2img_generate": "txt2img", "img2img_generate": "img2img", "extras_generate": "run_postprocessing_webui"}
"""The Generate buttons, and the name of the function that each calls (its wrappers keep it)."""


@dataclass(frozen=True)
class Call:
    """One thing a click does."""

    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    js: str | None = None


@dataclass(frozen=True)
class Helper:
    """A call that fills one State of the button from other controls, at the same click (Forge's ControlNet)."""

    call: Call
    controls: tuple[Control, ...]
    state: Any


@dataclass(frozen=True)
class Capture:
    """All that is needed to keep a click of a button, and to do later what it would have done."""

    elem_id: str
    call: Call
    controls: tuple[Control, ...]
    helpers: tuple[Helper, ...] = ()

    @property
    def inputs(self) -> list[Any]:
        """What the Enqueue button sends: the button's own inputs, then those of its helpers."""
        return [*self.call.inputs, *(item for helper in self.helpers for item in helper.call.inputs)]

    def every_control(self) -> list[Control]:
        """One for each of ``inputs``."""
        return [*self.controls, *(control for helper in self.helpers for control in helper.controls)]

    def kept(self) -> Iterator[tuple[int, Control]]:
        """The controls that are kept, each with its place in ``inputs``: not the task's id, nor what a helper fills."""
        filled = {id(helper.state) for helper in self.helpers}
        seen: set[str] = set()
        for number, control in enumerate(self.every_control()):
            if control.key != f"argument:{TASK_ID}" and id(control.component) not in filled and control.key not in seen:
                seen.add(control.key)
                yield number, control

    def held(self) -> list[Any]:
        """What the States of this button hold when a page is opened."""
        return [component.value for component in self.inputs if is_state(component)]


# --- looking up ------------------------------------------------------------------------------------------------------


def clicks(root: Any, button: Any, components: Mapping[int, Any] | None = None) -> list[Call]:
    """The Python functions that a click of the button calls, in order."""
    known = {**(components or {}), **root.blocks}
    return list(_clicks_4(root, button) if isinstance(root.fns, Mapping) else _clicks_3(root, button, known))


def _clicks_4(root: Any, button: Any) -> Iterator[Call]:
    for entry in root.fns.values():
        if entry.fn is not None and (button._id, "click") in [tuple(target) for target in entry.targets]:
            yield Call(
                entry.fn, tuple(entry.inputs), tuple(entry.outputs), entry.js if isinstance(entry.js, str) else None
            )


def _clicks_3(root: Any, button: Any, known: Mapping[int, Any]) -> Iterator[Call]:
    for entry, dependency in zip(root.fns, root.dependencies, strict=False):
        if entry.fn is None or dependency["trigger"] != "click" or button._id not in dependency["targets"]:
            continue
        if all(number in known for number in dependency["inputs"]):
            inputs = tuple(known[number] for number in dependency["inputs"])
            outputs = tuple(known.get(number) for number in dependency["outputs"])
            yield Call(entry.fn, inputs, outputs, dependency["js"] if isinstance(dependency["js"], str) else None)


def split(calls: Iterable[Call], name: str | None) -> tuple[Call, list[Call]] | None:
    """The call that does the work, found by the name of its function, and its helpers; None where there is none.

    Without a name it is the one that shows pictures, else the first that is not a helper of another.
    """
    calls = list(calls)
    helpers = [
        call
        for call in calls
        if len(call.outputs) == 1 and any(_fills(call, other) for other in calls if other is not call)
    ]
    workers = [call for call in calls if not any(call is helper for helper in helpers)]
    named = [call for call in workers if getattr(call.function, "__name__", None) == name]
    shows = [call for call in workers if gallery_of(call) is not None]
    main = next(iter(named or (shows if name is None else []) or (workers if name is None else [])), None)
    return None if main is None else (main, [call for call in helpers if _fills(call, main)])


def _fills(call: Call, other: Call) -> bool:
    """Whether all that ``call`` gives goes into a State that ``other`` takes."""
    return is_state(call.outputs[0]) and any(call.outputs[0] is item for item in other.inputs)


def gallery_of(call: Call) -> int | None:
    """Which of the outputs shows the pictures."""
    for kind in ("Gallery", "Image"):
        for number, component in enumerate(call.outputs):
            if type(component).__name__ == kind:
                return number
    return None


def capture(
    root: Any, button: Any, name: str | None, script_of: Callable[[Any], str | None], components: Mapping[int, Any]
) -> Capture | None:
    """Everything about one button; None while its root has no function for it."""
    found = split(clicks(root, button, components), name)
    if found is None:
        return None
    main, helpers = found
    sizes = [len(call.inputs) for call in (main, *helpers)]
    arguments: list[str | None] = [*argument_names(main.function)[: sizes[0]]]
    arguments += [None] * (sizes[0] - len(arguments))
    counted: Counter[str] = Counter()
    for call, size in zip(helpers, sizes[1:], strict=True):
        name = getattr(call.function, "__name__", "helper")
        counted[name] += 1
        own = [f"{name}{counted[name]}.{argument}" for argument in argument_names(call.function)[:size]]
        arguments += [*own, *[None] * (size - len(own))]
    inputs = [*main.inputs, *(item for call in helpers for item in call.inputs)]
    controls = name_controls(inputs, arguments, script_of)
    made, start = [], sizes[0]
    for call, size in zip(helpers, sizes[1:], strict=True):
        made.append(Helper(call, tuple(controls[start : start + size]), call.outputs[0]))
        start += size
    return Capture(button.elem_id, main, tuple(controls[: sizes[0]]), tuple(made))


# --- the button ------------------------------------------------------------------------------------------------------


@dataclass
class Made:
    """What was put beside a button: unseen, the page's script shows it and fills in what was asked for."""

    root: Any
    button: Any
    options: Any
    outcome: Any
    enqueue: Any
    show: Any
    ask: Any
    attached: bool = False
    capture: Capture | None = None
    name: str | None = None


def create(button: Any, name: str | None) -> Made:
    """Put the parts of an Enqueue button where the layout stands now."""
    elem_id = button.elem_id
    hidden = {"visible": False, "label": ""}
    made = Made(
        Context.root_block,
        button,
        gr.Textbox("", elem_id=f"{elem_id}_queue_options", **hidden),
        gr.Textbox("", elem_id=f"{elem_id}_queue_outcome", **hidden),
        gr.Button("Enqueue", elem_id=f"{elem_id}_enqueue", elem_classes=["queue-ext-hidden"]),
        gr.Button("Show", elem_id=f"{elem_id}_queue_show", elem_classes=["queue-ext-hidden"]),
        gr.Button("Ask", elem_id=f"{elem_id}_queue_ask", elem_classes=["queue-ext-hidden"]),
        name=name,
    )
    for part in (made.options, made.outcome, made.enqueue, made.show, made.ask):
        part.do_not_save_to_config = True
    return made


def attach(
    made: Made, found: Capture, on_click: Callable[..., Any], on_show: Callable[..., Any], on_ask: Callable[..., Any]
) -> None:
    """Let Enqueue send what the button would send, Show fill what it would fill, and Ask tell what there is."""
    made.capture, made.attached = found, True
    with inside(made.root):
        fire(
            made.enqueue,
            on_click,
            [made.options, *found.inputs],
            [made.outcome],
            collect_js(found),
            then=(made.outcome, TOLD),
        )
        fire(made.ask, on_ask, None, [made.outcome], then=(made.outcome, TOLD))
        if all(output is not None for output in found.call.outputs):
            fire(
                made.show,
                on_show,
                [made.options],
                list(found.call.outputs),
                f"() => [window.queueExt.toShow({json.dumps(found.elem_id)})]",
            )


def collect_js(found: Capture) -> str:
    """Runs the button's own JavaScript, its side effects held back, so that values only it knows are there too."""
    own, outputs, total = len(found.call.inputs), len(found.call.outputs), len(found.inputs)
    source = f"({found.call.js})" if found.call.js else "null"
    return (
        f"async (...args) => window.queueExt ? await window.queueExt.collect("
        f"{json.dumps(found.elem_id)}, args, {own}, {outputs}, {total}, {source}) : args.slice(0, {total + 1})"
    )


def fire(
    button: Any, function: Any, inputs: Any, outputs: Any, js: str | None = None, then: "tuple[Any, str] | None" = None
) -> None:
    """One event of ours: not in the host's line of events, not in its API."""
    options: dict[str, Any] = {"queue": False, "show_progress": "hidden" if NEW else False, "api_name": False}
    if NEW:
        options["trigger_mode"] = "multiple"
    if js is not None:
        options[JS] = js
    event = button.click(function, inputs, outputs, **options)
    if then is not None:
        event.then(None, [then[0]], None, queue=False, **{JS: then[1]})


@contextmanager
def inside(root: Any) -> Iterator[None]:
    """As ``with root``, but without closing it again: that would attach its load events a second time."""
    saved = Context.root_block, Context.block
    Context.root_block = Context.block = root
    try:
        yield
    finally:
        Context.root_block, Context.block = saved
