import gradio as gr
from modules import scripts


class ScriptSeed(scripts.ScriptBuiltinUI):
    section = "seed"
    create_group = False

    def title(self):
        return "Seed"

    def ui(self, is_img2img):
        return [
            gr.Number(-1, precision=None, label="Seed", elem_id=self.elem_id("seed")),
            gr.Checkbox(False, label="Extra", elem_id=self.elem_id("subseed_show")),
            gr.Number(-1, label="Variation seed", elem_id=self.elem_id("subseed")),
            gr.Slider(0.0, 1, 0.0, step=0.01, label="Variation strength", elem_id=self.elem_id("subseed_strength")),
            gr.Slider(0, 2048, 0, step=8, label="Resize seed from width", elem_id=self.elem_id("seed_resize_from_w")),
            gr.Slider(0, 2048, 0, step=8, label="Resize seed from height", elem_id=self.elem_id("seed_resize_from_h")),
        ]

    def setup(self, p, seed, *_extra):
        p.seed = seed
