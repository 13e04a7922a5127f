"""What the Extras tab does to a picture: one step, an upscaler."""

import gradio as gr
from PIL import Image

from modules import shared

UPSCALE = (
    "upscale_enabled",
    "upscale_mode",
    "upscale_by",
    "max_side_length",
    "upscale_to_width",
    "upscale_to_height",
    "upscale_crop",
    "upscaler_1_name",
    "upscaler_2_name",
    "upscaler_2_visibility",
)


class PostprocessedImage:
    def __init__(self, image):
        self.image, self.info, self.extra_images, self.caption = image, {}, [], None


class ScriptPostprocessing:
    name = ""
    order = 1000
    args_from = args_to = 0
    controls = None

    def ui(self):
        return {}

    def process(self, pp, **args):
        pass


class Upscale(ScriptPostprocessing):
    name = "Upscale"
    order = 1000

    def ui(self):
        names = [upscaler.name for upscaler in shared.sd_upscalers]
        parts = (
            gr.Checkbox(True, label="Upscale", elem_id="extras_upscale-checkbox"),
            gr.Number(0, visible=False),
            gr.Slider(1, 8, 4, step=0.05, label="Resize", elem_id="extras_upscaling_resize"),
            gr.Number(0, label="Max side length", elem_id="extras_upscale_max_side_length"),
            gr.Slider(64, 8192, 512, step=8, label="Width", elem_id="extras_upscaling_resize_w"),
            gr.Slider(64, 8192, 512, step=8, label="Height", elem_id="extras_upscaling_resize_h"),
            gr.Checkbox(True, label="Crop to fit", elem_id="extras_upscaling_crop"),
            gr.Dropdown(names, value=names[0], label="Upscaler 1", elem_id="extras_upscaler_1"),
            gr.Dropdown(names, value=names[0], label="Upscaler 2", elem_id="extras_upscaler_2"),
            gr.Slider(0, 1, 0.0, step=0.001, label="Upscaler 2 visibility", elem_id="extras_upscaler_2_visibility"),
        )
        return dict(zip(UPSCALE, parts, strict=True))

    def process(self, pp, upscale_enabled=True, upscale_by=2.0, upscaler_1_name=None, **_args):
        if not upscale_enabled or upscaler_1_name in (None, "None"):
            return
        kind = Image.Resampling.NEAREST if upscaler_1_name == "Nearest" else Image.Resampling.LANCZOS
        size = int(pp.image.width * upscale_by), int(pp.image.height * upscale_by)
        pp.image = pp.image.resize(size, kind)
        pp.info.update({"Postprocess upscale by": upscale_by, "Postprocess upscaler": upscaler_1_name})


class ScriptPostprocessingRunner:
    def __init__(self):
        self.scripts = None
        self.ui_created = False

    def scripts_in_preferred_order(self):
        if self.scripts is None:
            self.scripts = [Upscale()]
        return self.scripts

    def setup_ui(self):
        inputs = []
        for script in self.scripts_in_preferred_order():
            with gr.Row():
                script.controls = script.ui()
            script.args_from, script.args_to = len(inputs), len(inputs) + len(script.controls)
            inputs += script.controls.values()
        self.ui_created = True
        return inputs

    def run(self, pp, args):
        for script in self.scripts_in_preferred_order():
            values = args[script.args_from : script.args_to]
            script.process(pp, **dict(zip(script.controls, values, strict=True)))

    def create_args_for_run(self, scripts_args):
        if not self.ui_created:
            with gr.Blocks(analytics_enabled=False):
                self.setup_ui()
        args = []
        for script in self.scripts_in_preferred_order():
            given = scripts_args.get(script.name, {})
            args += [given.get(name, component.value) for name, component in script.controls.items()]
        return args
