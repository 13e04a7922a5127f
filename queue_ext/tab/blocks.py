"""The Gradio side of the tab; runs on gradio 3.41 and 4.40."""

import html
import inspect
import json
from typing import Any

import gradio as gr
from starlette.requests import cookie_parser

from ..errors import QueueExtError
from ..identity import Visitor
from ..ids import new_id
from ..sentences import told
from ..texts import language
from . import Host
from .form import FIELDS, Outcome, submit
from .words import say

JS = "js" if int(gr.__version__.partition(".")[0]) >= 4 else "_js"
SAMPLERS = (
    "Euler",
    "Euler a",
    "DPM++ 2M",
    "DPM++ SDE",
    "DPM++ 2M SDE",
    "DPM++ 3M SDE",
    "Heun",
    "LMS",
    "DDIM",
    "UniPC",
    "LCM",
)
MOUNT = '<div id="queue_ext" class="queue-ext"></div>'

# The page stands at the root of whatever path a proxy gives it; where it does not, Gradio knows the root.
LOAD = """
async () => {
  const folder = (path) => path.replace(/\\/*$/, '/') + 'queue-ext/tab/js/main.js';
  const root = () => new URL((window.gradio_config && window.gradio_config.root) || '/', location.href).pathname;
  const tab = await import(folder(location.pathname)).catch(() => import(folder(root())));
  tab.start(document.getElementById('queue_ext'));
  return [];
}
"""
TOLD = "(outcome) => { if (window.queueExt) window.queueExt.told(outcome); return []; }"
CSS = """
footer { display: none !important }
#queue_ext:empty { min-height: 160px; border-radius: 8px; background: var(--border-color-primary) }
#queue_ext:empty { animation: queue-comes 1s ease-in-out infinite alternate }
@media (prefers-reduced-motion: reduce) { #queue_ext:empty { animation: none } }
@keyframes queue-comes { from { opacity: .25 } to { opacity: .6 } }
.queue-form { gap: 12px }
.queue-form .queue-said p { margin: 0; white-space: pre-line; color: var(--body-text-color) }
.queue-form .queue-said p.bad { border-inline-start: 3px solid #dc2626; padding-inline-start: 10px }
.queue-form .queue-said:not(:has(p)), .queue-live .queue-said:not(:has(p.bad)) { display: none }
.queue-form .queue-who p { margin: 0 }
.queue-page { gap: 32px !important }
.queue-form .queue-size input[type=number] { appearance: textfield; padding-inline: 10px }
@media (max-width: 640px) {
  .gradio-container.app, .gradio-container > .app { padding: 16px !important }
  .queue-form .queue-size > .form { display: grid !important; grid-template-columns: 1fr 1fr }
}
"""


def build(app: Host, form: bool) -> gr.Blocks:
    """The tab; with ``form`` a page of its own."""
    if not form:
        with gr.Blocks(analytics_enabled=False) as tab:
            gr.HTML(MOUNT)
        return tab
    options = {"theme": _theme(), "css": CSS, "title": f"Queue – {app.pipeline.name}", "analytics_enabled": False}
    with gr.Blocks(**options) as page:
        with gr.Row(equal_height=False, elem_classes="queue-page"):
            with gr.Column(scale=4, min_width=300, elem_classes="queue-form"):
                _form(app, page)
            with gr.Column(scale=7, min_width=330):
                gr.HTML(MOUNT)
        page.load(None, None, None, queue=False, **{JS: LOAD})
    return page


def _theme() -> Any:
    """Calm, and without fonts from elsewhere: the page works on a machine that reaches nothing but this server."""
    theme = gr.themes.Default(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    button = {
        "button_primary_background_fill": "*primary_600",
        "button_primary_background_fill_hover": "*primary_500",
        "button_primary_text_color": "white",
    }
    accent = {
        "color_accent": "*primary_600",
        "slider_color": "*primary_600",
        "checkbox_background_color_selected": "*primary_600",
    }
    both = {**button, **accent}
    dark = {f"{name}_dark": value for name, value in both.items()}
    known = inspect.signature(theme.set).parameters
    return theme.set(**{name: value for name, value in {**both, **dark}.items() if name in known})


def _form(app: Host, page: gr.Blocks) -> None:
    who = gr.Markdown(_pipeline(app, "en"), elem_classes="queue-who")
    parts = _components()
    outcome = gr.Textbox("", visible=False)
    plain = {"queue": False, "show_progress": "hidden", "api_name": False}
    parts["task"].change(_task_view, parts["task"], parts["picture"], **plain)

    def click(request: gr.Request, *values: Any) -> tuple[str, str]:
        done = _submit(app, dict(zip(FIELDS, values, strict=True)), request)
        return _said(done), json.dumps({"click": new_id(), "ok": done.ok, "text": done.text})

    inputs = [parts[name] for name in FIELDS]
    for fire in (parts["enqueue"].click, parts["prompt"].submit):
        fire(click, inputs, [parts["said"], outcome], **plain).then(None, outcome, None, queue=False, **{JS: TOLD})

    def localise(request: gr.Request) -> list[Any]:
        lang = language(visitor(request).headers.get("accept-language"))
        return [gr.update(value=_pipeline(app, lang)), *(_labelled(name, lang) for name in LABELLED)]

    page.load(localise, None, [who, *(parts[name] for name in LABELLED)], **plain)


def _components() -> dict[str, Any]:
    label = {name: say("en", f"form.{name}") for name in LABELLED}
    parts: dict[str, Any] = {
        "task": gr.Radio(["txt2img", "img2img"], value="txt2img", label=label["task"]),
    }
    with gr.Group(visible=False) as parts["picture"]:
        parts["image"] = gr.Image(type="filepath", label=label["image"], height=220)
        parts["denoising_strength"] = gr.Slider(0, 1, 0.75, step=0.01, label=label["denoising_strength"])
    parts["prompt"] = gr.Textbox(
        label=label["prompt"], lines=3, max_lines=8, placeholder=say("en", "form.example"), elem_id="queue_prompt"
    )
    with gr.Row(elem_classes="queue-size"):
        parts["width"] = gr.Number(512, precision=0, label=label["width"], min_width=80)
        parts["height"] = gr.Number(512, precision=0, label=label["height"], min_width=80)
        parts["n_iter"] = gr.Number(1, precision=0, label=label["n_iter"], min_width=80)
        parts["jobs"] = gr.Number(1, precision=0, label=label["jobs"], min_width=80)
    parts["steps"] = gr.Slider(1, 150, 20, step=1, label=label["steps"])
    parts["enqueue"] = gr.Button(say("en", "form.enqueue"), variant="primary", elem_id="queue_enqueue")
    parts["said"] = gr.HTML("", elem_classes="queue-said")
    with gr.Accordion(say("en", "form.more"), open=False) as parts["more"]:
        parts["negative_prompt"] = gr.Textbox(label=label["negative_prompt"], lines=2)
        parts["sampler_name"] = gr.Dropdown(SAMPLERS, value=None, allow_custom_value=True, label=label["sampler_name"])
        with gr.Row(elem_classes="queue-size"):
            parts["cfg_scale"] = gr.Number(7, label=label["cfg_scale"], min_width=80)
            parts["seed"] = gr.Number(-1, precision=0, label=label["seed"], min_width=80)
    return parts


LABELLED = (*FIELDS, "enqueue", "more")


def _labelled(name: str, lang: str) -> Any:
    text = say(lang, f"form.{name}")
    if name == "prompt":
        return gr.update(label=text, placeholder=say(lang, "form.example"))
    return gr.update(value=text) if name == "enqueue" else gr.update(label=text)


def _pipeline(app: Host, lang: str) -> str:
    name = str(app.pipeline.name)
    key = "form.demo" if name == "demo" else "form.remote"
    return say(lang, key, name=html.escape(name.removeprefix("remote ")))


def _task_view(task: str) -> Any:
    return gr.update(visible=task == "img2img")


def _submit(app: Host, fields: dict[str, Any], request: gr.Request) -> Outcome:
    sender = visitor(request)
    lang = language(sender.headers.get("accept-language"))
    try:
        owner = app.identity.owner(sender)
    except QueueExtError as error:
        return Outcome(False, told(lang, error)[0])
    return submit(app, owner, fields, lang)


def visitor(request: gr.Request) -> Visitor:
    """Who clicked. Gradio 3.41 knows no cookies but in the header."""
    headers = {str(name).lower(): str(value) for name, value in dict(request.headers or {}).items()}
    client = getattr(request, "client", None)
    return Visitor(
        headers=headers, cookies=cookie_parser(headers.get("cookie", "")), address=getattr(client, "host", None)
    )


def _said(done: Outcome) -> str:
    """Shown below the button; what was queued is a toast where our own modules run."""
    kind, role = ("good", "status") if done.ok else ("bad", "alert")
    return f'<p class="{kind}" role="{role}">{html.escape(done.text)}</p>'
