"""As Forge's ControlNet does: a State among the inputs of Generate, which another handler of the same click fills."""

from dataclasses import dataclass, field
from enum import Enum

import gradio as gr
import numpy as np
from modules import scripts


class Mode(Enum):
    BALANCED = "Balanced"
    PROMPT = "My prompt is more important"


@dataclass
class Unit:
    enabled: bool = False
    image: np.ndarray = None
    weight: float = 1.0
    mode: Mode = field(default=Mode.BALANCED)

    def __post_init__(self):
        self.mode = Mode(self.mode)


class Units(scripts.Script):
    def title(self):
        return "Units"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        with gr.Accordion("Units", open=False):
            controls = [
                gr.Checkbox(False, label="Enable unit", elem_id=self.elem_id("enabled")),
                gr.Image(type="numpy", label="Unit picture", elem_id=self.elem_id("image")),
                gr.Slider(0.0, 2.0, 1.0, step=0.05, label="Unit weight", elem_id=self.elem_id("weight")),
                gr.Radio(
                    [mode.value for mode in Mode],
                    value=Mode.BALANCED.value,
                    label="Unit mode",
                    elem_id=self.elem_id("mode"),
                ),
            ]
        self.state, self.parts = gr.State(Unit()), controls
        if button := buttons.get(self.tabname):  # there is none while the API asks for defaults
            button.click(fn=Unit, inputs=self.parts, outputs=[self.state], queue=False)
        return [self.state]

    def before_component(self, component, **kwargs):
        pass

    def after_component(self, component, **kwargs):
        if kwargs.get("elem_id") == f"{self.tabname}_generate":
            buttons[self.tabname] = component

    def process(self, p, unit):
        if unit is not None and unit.enabled:
            shown = None if unit.image is None else "x".join(map(str, unit.image.shape))
            p.extra_generation_params["Unit"] = f"{shown} {unit.weight} {unit.mode.name}"


buttons = {}
