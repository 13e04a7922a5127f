"""What Forge has instead of gradio's picture: two texts, background and foreground, that the browser fills with PNGs.

Nothing can be drawn here; a file can be chosen, which becomes the background.
"""

import base64
import io
import uuid

import gradio as gr
from PIL import Image

PNG = "data:image/png;base64,"


class LogicalImage(gr.Textbox):
    def preprocess(self, payload):
        if not isinstance(payload, str) or not payload.startswith(PNG):
            return None
        return Image.open(io.BytesIO(base64.b64decode(payload.removeprefix(PNG)))).convert("RGBA")

    def postprocess(self, value):
        if value is None:
            return None
        buffer = io.BytesIO()
        value.convert("RGBA").save(buffer, "PNG")
        return PNG + base64.b64encode(buffer.getvalue()).decode()

    def get_block_name(self):
        return "textbox"


class Canvas:
    def __init__(self, elem_id):
        self.uuid = f"uuid_{uuid.uuid4().hex}"
        chooser = f'<input type="file" id="imageInput_{self.uuid}" onchange="standinCanvas(this, \'{self.uuid}\')">'
        self.block = gr.HTML(chooser, elem_id=elem_id)
        options = {"elem_id": self.uuid, "visible": False}
        self.foreground = LogicalImage(label="foreground", elem_classes=["logical_image_foreground"], **options)
        self.background = LogicalImage(label="background", elem_classes=["logical_image_background"], **options)
