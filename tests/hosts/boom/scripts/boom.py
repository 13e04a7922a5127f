"""An extension of the tests: an always-on script that fails inside the host's own pipeline, as its argument says."""

import gradio as gr
from modules import scripts

tries = {}


class Boom(scripts.Script):
    def title(self):
        return "Boom"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        with gr.Accordion("Boom", open=False):
            return [gr.Textbox("", label="Boom how", elem_id=self.elem_id("how"))]

    def process(self, p, how, *_rest):
        """The host swallows what is raised here, so it is raised where the sampler would start."""
        how, _, name = (how or "").partition(":")
        tries[name] = tries.get(name, 0) + 1
        if how == "error":
            p.sample = raising(ValueError("boom inside the host's pipeline"))
        if how == "memory" or (how == "memory once" and tries[name] == 1):
            p.sample = raising(RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"))


def raising(error):
    def sample(**_arguments):
        raise error

    return sample
