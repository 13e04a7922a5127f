import gradio as gr
from modules import scripts, sd_models


class ScriptRefiner(scripts.ScriptBuiltinUI):
    section = "accordions"
    create_group = False

    def title(self):
        return "Refiner"

    def ui(self, is_img2img):
        with gr.Accordion("Refiner", open=False):
            return [
                gr.Checkbox(False, label="Refiner", elem_id=self.elem_id("enable-checkbox")),
                gr.Dropdown(
                    ["", *sd_models.checkpoint_tiles()],
                    value="",
                    label="Checkpoint",
                    elem_id=self.elem_id("checkpoint"),
                ),
                gr.Slider(0.01, 1.0, 0.8, step=0.01, label="Switch at", elem_id=self.elem_id("switch_at")),
            ]
