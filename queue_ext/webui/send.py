"""*Send to* txt2img, img2img, inpaint and extras from a finished job, through the host's own paste buttons."""

import io
import json
import re
from collections.abc import Callable
from typing import Any

import gradio as gr
from PIL import Image

from ..errors import PictureNotFound
from ..tab.blocks import visitor
from . import host
from .buttons import fire

TARGETS = ("txt2img", "img2img", "inpaint", "extras")
PICTURE = re.compile(r"/v1/jobs/([^/?#]+)/images/(\d+)")
LOADED = "() => { window.queueExt.sent(); return []; }"


def build(find_app: Callable[[], Any]) -> None:
    """Put the unseen parts into the layout where it stands: a picture, a text, and a button for each target."""
    what, text = (
        gr.Textbox("", visible=False, label="", elem_id=f"queue_ext_send_{name}") for name in ("what", "text")
    )
    image = gr.Image(visible=False, type="pil", label="", elem_id="queue_ext_send_image")
    load = gr.Button("Load", elem_id="queue_ext_send", elem_classes=["queue-ext-hidden"])
    parts = [what, text, image, load]
    paste = host.optional("modules.infotext_utils") or host.module("generation_parameters_copypaste")
    for target in TARGETS:
        button = gr.Button(target, elem_id=f"queue_ext_send_{target}", elem_classes=["queue-ext-hidden"])
        parts.append(button)
        paste.register_paste_params_button(
            paste.ParamBinding(
                paste_button=button, tabname=target, source_text_component=text, source_image_component=image
            )
        )
    for part in parts:
        part.do_not_save_to_config = True

    def on_load(asked: str, request: gr.Request) -> tuple[Any, str]:
        return fetch(find_app(), asked, request)

    fire(load, on_load, [what], [image, text], "() => [window.queueExt.toSend()]", then=(what, LOADED))


def fetch(app: Any, asked: str, request: Any) -> tuple[Image.Image, str]:
    """The picture that an address of ours names, and its infotext. Raises JobNotFound, PictureNotFound."""
    wanted = json.loads(asked)
    found = PICTURE.search(str(wanted.get("url", "")))
    job_id, number = (found[1], int(found[2])) if found else ("", 0)
    app.queue.job(app.identity.owner(visitor(request)), job_id)
    for file in app.store.files([job_id]).get(job_id, ()):
        if file["number"] == number:
            image = Image.open(io.BytesIO(app.queue.media.read(file["sha256"])))
            image.load()
            return image, str(wanted.get("infotext") or file["infotext"] or "")
    raise PictureNotFound(job_id=job_id, number=number)
