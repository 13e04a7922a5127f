import gradio as gr
from modules import scripts, sd_samplers, sd_schedulers


class ScriptSampler(scripts.ScriptBuiltinUI):
    section = "sampler"

    def title(self):
        return "Sampler"

    def ui(self, is_img2img):
        names = sd_samplers.visible_sampler_names()
        labels = [scheduler.label for scheduler in sd_schedulers.schedulers]
        return [
            gr.Slider(1, 150, 20, step=1, label="Sampling steps", elem_id=f"{self.tabname}_steps"),
            gr.Dropdown(names, value=names[0], label="Sampling method", elem_id=f"{self.tabname}_sampling"),
            gr.Dropdown(labels, value=labels[0], label="Schedule type", elem_id=f"{self.tabname}_scheduler"),
        ]

    def setup(self, p, steps, sampler_name, scheduler):
        p.steps, p.sampler_name, p.scheduler = steps, sampler_name, scheduler
