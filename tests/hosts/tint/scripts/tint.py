"""An extension with a switch, a picture and a slider; what it is given can be seen in the picture it changes.

It also brings a script to be selected, which takes a picture, and a sampler; both go with it.
"""

import gradio as gr
import numpy as np
from modules import processing, script_callbacks, scripts, sd_samplers
from PIL import Image

SAMPLER = "Tint Euler"


class Tint(scripts.Script):
    def title(self):
        return "Tint"

    def show(self, _is_img2img):
        return scripts.AlwaysVisible

    def ui(self, _is_img2img):
        picture = gr.Image(label="Tint picture", type="numpy", elem_id=self.elem_id("tint_picture"))
        return [gr.Checkbox(True, label="Tint on"), picture, gr.Slider(0, 1, 1, label="Tint strength")]

    def postprocess_image(self, _p, finished, on, picture, strength):
        if on and picture is not None:
            colour = picture.reshape(-1, picture.shape[-1])[:, :3].mean(0)
            finished.image = Image.fromarray(
                (np.asarray(finished.image) * (1 - strength) + colour * strength).astype(np.uint8)
            )


class Mirror(scripts.Script):
    def title(self):
        return "Tint mirror"

    def ui(self, _is_img2img):
        return [gr.Image(label="Mirror picture", type="pil", elem_id=self.elem_id("mirror_picture"))]

    def run(self, p, picture):
        p.extra_generation_params["Tint mirror"] = f"{picture.width}x{picture.height}" if picture else "nothing"
        return processing.process_images(p)


def add_sampler():
    euler = sd_samplers.all_samplers_map["Euler"]
    added = euler._replace(name=SAMPLER, aliases=["tint_euler"])
    sd_samplers.all_samplers.append(added)
    sd_samplers.all_samplers_map[SAMPLER] = added
    sd_samplers.set_samplers()


def remove_sampler():
    sd_samplers.all_samplers.remove(sd_samplers.all_samplers_map.pop(SAMPLER))
    sd_samplers.set_samplers()


add_sampler()
script_callbacks.on_script_unloaded(remove_sampler)
