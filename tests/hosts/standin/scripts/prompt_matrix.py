from itertools import combinations

import gradio as gr
from modules import processing, scripts, shared
from PIL import Image


class Script(scripts.Script):
    """A picture for every choice of a prompt's parts between "|": several runs of the sampler within one click."""

    def title(self):
        return "Prompt matrix"

    def ui(self, is_img2img):
        return [
            gr.Checkbox(False, label="Put variable parts at start of prompt", elem_id=self.elem_id("put_at_start")),
            gr.Checkbox(False, label="Use different seed for each picture", elem_id=self.elem_id("different_seeds")),
            gr.Radio(
                ["positive", "negative"], value="positive", label="Select prompt", elem_id=self.elem_id("prompt_type")
            ),
            gr.Radio(
                ["comma", "space"],
                value="comma",
                label="Select joining char",
                elem_id=self.elem_id("variations_delimiter"),
            ),
            gr.Slider(0, 500, 0, step=2, label="Grid margins (px)", elem_id=self.elem_id("margin_size")),
        ]

    def run(self, p, put_at_start, different_seeds, prompt_type, delimiter, margin):
        first, *parts = p.prompt.split("|")
        joint = ", " if delimiter == "comma" else " "
        prompts = [joint.join([first, *chosen]) for n in range(len(parts) + 1) for chosen in combinations(parts, n)]
        seed, images, texts = processing.fixed_seed(p.seed), [], []
        for number, p.prompt in enumerate(prompts):
            p.seed = seed + number if different_seeds else seed
            made = processing.process_images(p)
            images += made.images
            texts += made.infotexts
        if shared.opts.return_grid:
            grid = Image.new("RGB", (p.width * len(images), p.height))
            for number, image in enumerate(images):
                grid.paste(image, (number * p.width, 0))
            images, texts = [grid, *images], [texts[0], *texts]
        return processing.Processed(p, images, seed, texts[0], texts, index_of_first_image=len(images) - len(prompts))
