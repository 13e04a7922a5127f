"""An extension of the tests: notes when the host calls, describes what it finds there, and marks every run's begin and end."""

import importlib
import inspect
import json
import runpy
import socket
import sys
import threading
import time
import weakref
from pathlib import Path

import gradio as gr
from gradio.context import Context
from modules import call_queue, paths, processing, script_callbacks, scripts, shared
from PIL import Image

CONTRACT = runpy.run_path(str(Path(scripts.basedir()).resolve().parent / "contract.py"))
FOLDER = Path(paths.data_path) / "probe"
FOLDER.mkdir(exist_ok=True)


def note(file, **fields):
    with (FOLDER / file).open("a") as out:
        out.write(json.dumps(fields) + "\n")


# --- moments -------------------------------------------------------------------------------------------------------


def listening():
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", shared.cmd_opts.port)) == 0


def moment(name, **fields):
    is_main = threading.current_thread() is threading.main_thread()
    note("moments.jsonl", name=name, listening=listening(), is_main=is_main, **fields)


def on_component(component, **_kwargs):
    if getattr(component, "elem_id", None) == "txt2img_generate" and Context.root_block is not None:
        moment("txt2img_generate", row=getattr(Context.block, "elem_id", None))


def on_app_started(demo, app):
    moment("app_started", has_page=demo is not None)
    (FOLDER / "facts.json").write_text(json.dumps(facts(demo, app)))


moment("script", first_path=sys.path[0], basedir=scripts.basedir())
script_callbacks.on_before_ui(lambda: moment("before_ui"))
script_callbacks.on_ui_settings(lambda: moment("ui_settings"))
script_callbacks.on_after_component(on_component)
script_callbacks.on_ui_tabs(lambda: moment("ui_tabs", has_handler=bool(handlers(Context.root_block, "txt2img"))) or [])
script_callbacks.on_app_started(on_app_started)
script_callbacks.on_before_reload(lambda: moment("before_reload"))
script_callbacks.on_script_unloaded(lambda: moment("script_unloaded"))


# --- a button of an extension's own ------------------------------------------------------------------------------------


def own_tab():
    with gr.Blocks() as tab:
        colour = gr.Textbox("red", label="Probe colour", elem_id="probe_colour")
        button = gr.Button("Paint", elem_id="probe_paint")
        pictures = gr.Gallery(elem_id="probe_gallery")
        button.click(painted, [colour], [pictures])
    return [(tab, "Probe", "probe")]


def painted(colour):
    """Takes the host's lock itself, as functions do that the host does not wrap."""
    with call_queue.queue_lock:
        return [Image.new("RGB", (24, 16), colour)]


script_callbacks.on_ui_tabs(own_tab)


# --- facts ---------------------------------------------------------------------------------------------------------


def facts(demo, app):
    found = {"names": {name: described(name) for name in CONTRACT["NAMES"]}, "gradio": gr.__version__}
    found["routes"] = sorted({getattr(route, "path", "") for route in app.routes})
    found["option_names"] = list(shared.opts.data_labels)
    found["line"] = line_of_the_lock()
    if demo is not None:
        found["elem_ids"] = sorted({block.elem_id for block in demo.blocks.values() if getattr(block, "elem_id", None)})
        found["buttons"] = {tab: handlers(demo, tab) for tab in CONTRACT["BUTTONS"]}
        found["scripts"] = {task: script_table(getattr(scripts, f"scripts_{task}")) for task in ("txt2img", "img2img")}
    return found


def line_of_the_lock():
    """Whether who waits for a lock such as ``queue_lock`` is in its line, and the event of theirs there until they have it."""
    lock = type(call_queue.queue_lock)()
    lock.acquire()
    waiter = threading.Thread(target=lock.acquire, daemon=True)
    waiter.start()
    until = time.monotonic() + 20
    while not lock._pending_threads and time.monotonic() < until:
        time.sleep(0.001)
    (event,) = [weakref.ref(entry) for entry in lock._pending_threads]
    waits = event() is not None
    lock.release()
    waiter.join(20)
    return {"while_waiting": waits, "when_taken": event() is not None}


def described(name):
    """None for what is not there."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        try:
            for part in parts[cut:]:
                value = getattr(value, part)
        except AttributeError:
            return None
        return {"type": type(value).__name__, "parameters": parameters(value)}
    return None


def parameters(value):
    try:
        return list(inspect.signature(value).parameters) if callable(value) else None
    except (TypeError, ValueError):
        return None


def handlers(root, tab):
    """What a click on the Generate button of a tab calls."""
    if root is None:
        return []
    button = next(
        (block for block in root.blocks.values() if getattr(block, "elem_id", None) == f"{tab}_generate"), None
    )
    return [] if button is None else [handler(*entry) for entry in clicks(root, button)]


def clicks(root, button):
    if isinstance(root.fns, dict):
        for entry in root.fns.values():
            if (button._id, "click") in [tuple(target) for target in entry.targets]:
                yield entry.fn, entry.inputs, entry.outputs, entry.js
        return
    for entry, item in zip(root.fns, root.dependencies, strict=False):
        if item["trigger"] == "click" and button._id in item["targets"]:
            blocks = [[root.blocks[number] for number in item[kind]] for kind in ("inputs", "outputs")]
            yield entry.fn, *blocks, item["js"]


def handler(function, inputs, outputs, js):
    arguments = [name for name in parameters(function) or () if name != "request"]
    return {
        "function": getattr(function, "__name__", None),
        "arguments": own_arguments(function, arguments),
        "inputs": [[type(item).__name__, getattr(item, "elem_id", None)] for item in inputs],
        "outputs": [[type(item).__name__, getattr(item, "elem_id", None)] for item in outputs],
        "js": js if isinstance(js, str) else None,
    }


def own_arguments(function, arguments):
    """The parameters that the page's own controls fill, in the order of the inputs."""
    if getattr(function, "__name__", None) == "txt2img":
        from modules.txt2img import txt2img_create_processing

        arguments = [
            name for name in parameters(txt2img_create_processing) if name not in ("request", "force_enable_hr")
        ]
    return [name for name in arguments if name not in ("args", "kwargs")]


def script_table(runner):
    return {
        "selector": getattr(runner.inputs[0], "elem_id", None),
        "inputs": len(runner.inputs),
        "scripts": [
            {
                "title": script.title(), "alwayson": script.alwayson, "from": script.args_from, "to": script.args_to,
                "elem_ids": [getattr(control, "elem_id", None) for control in runner.inputs[script.args_from : script.args_to]],
            }
            for script in runner.scripts
        ],
    }  # fmt: skip


# --- runs ----------------------------------------------------------------------------------------------------------


class Marks(scripts.Script):
    """Always on: notes when a run begins and when it ends, and puts its own control into the infotext."""

    def title(self):
        return "Probe marks"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        return [gr.Slider(0, 9, 0, step=1, label="Probe level", elem_id=self.elem_id("level"))]

    def process(self, p, level=0, *_rest):
        note("runs.jsonl", what="begin", prompt=p.prompt, at=time.monotonic())
        if level:
            p.extra_generation_params["Probe level"] = level

    def postprocess(self, p, processed, *_args):
        note("runs.jsonl", what="end", prompt=p.prompt, at=time.monotonic())


class Picture(scripts.Script):
    """Selectable: takes a picture, and tells in the infotext what it was."""

    def title(self):
        return "Probe picture"

    def ui(self, is_img2img):
        return [
            gr.Image(type="pil", label="Probe picture", elem_id=self.elem_id("picture")),
            gr.Slider(0, 1, 0.5, step=0.1, label="Probe weight", elem_id=self.elem_id("weight")),
        ]

    def run(self, p, picture, weight):
        if picture is not None:
            colour = "".join(f"{band:02x}" for band in picture.convert("RGB").getpixel((0, 0)))
            p.extra_generation_params["Probe picture"] = f"{picture.width}x{picture.height} {colour} {weight}"
        return processing.process_images(p)
