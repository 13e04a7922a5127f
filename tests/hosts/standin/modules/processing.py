"""Makes pictures, cheaply: colours drawn from prompt and seed, a short wait for each step.

What is kept of a real sampler: its steps can be watched in ``shared.state`` and stopped there at each of them, an
interrupted run returns what it has, half-made or not, and seeds, sizes, counts and settings are honoured.
"""

import hashlib
import json
import os
import random
import time

from PIL import Image, ImageChops, ImageOps

from modules import images, scripts, sd_models, sd_samplers, shared, sysinfo

STEP = float(os.environ.get("STANDIN_STEP_S", "0.03"))  # seconds
DEFAULTS = {
    "prompt": "",
    "negative_prompt": "",
    "styles": None,
    "seed": -1,
    "subseed": -1,
    "subseed_strength": 0,
    "sampler_name": None,
    "scheduler": None,
    "batch_size": 1,
    "n_iter": 1,
    "steps": 50,
    "cfg_scale": 7.0,
    "width": 512,
    "height": 512,
    "denoising_strength": None,
    "override_settings": None,
    "override_settings_restore_afterwards": True,
    "do_not_save_samples": False,
    "do_not_save_grid": False,
    "init_images": None,
    "mask": None,
    "outpath_samples": None,
    "outpath_grids": None,
}


def fixed_seed(seed):
    return random.randrange(2**32) if seed in (None, "", -1) else int(seed)


class StableDiffusionProcessing:
    tabname = ""
    is_api = False
    scripts = None
    script_args = ()
    user = None
    iteration = 0

    def __init__(self, sd_model=None, **given):
        for name, value in {**DEFAULTS, **given}.items():
            setattr(
                self,
                name,
                DEFAULTS.get(name) if value is None and name in ("steps", "width", "height", "cfg_scale") else value,
            )
        self.override_settings = dict(self.override_settings or {})
        self.extra_generation_params = {}
        self.comments = {}

    def sample(self, conditioning=None, unconditional_conditioning=None, seeds=(), **_more):
        """One batch, step by step; extensions may put a function of their own in its place."""
        state = shared.state
        state.current_latent = draw(self, seeds[0], (64, 64))
        for state.sampling_step in range(self.steps):
            if state.interrupted or state.skipped:
                return
            time.sleep(STEP)
        state.sampling_step = self.steps

    def close(self):
        self.init_images = self.mask = None


class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing):
    tabname = "txt2img"


class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    tabname = "img2img"


class Processed:
    def __init__(
        self,
        p,
        images_list,
        seed=-1,
        info="",
        infotexts=None,
        all_seeds=None,
        all_prompts=None,
        index_of_first_image=0,
        comments="",
    ):
        self.images, self.extra_images = images_list, []
        self.prompt, self.negative_prompt = p.prompt, p.negative_prompt
        self.seed, self.info, self.infotexts = seed, info, infotexts or [info]
        self.all_seeds, self.all_prompts = all_seeds or [seed], all_prompts or [p.prompt]
        self.index_of_first_image, self.comments = index_of_first_image, comments
        self.width, self.height, self.steps, self.cfg_scale = p.width, p.height, p.steps, p.cfg_scale
        self.sampler_name, self.batch_size = p.sampler_name, p.batch_size
        self.job_timestamp = shared.state.job_timestamp

    def js(self):
        names = (
            "prompt",
            "all_prompts",
            "negative_prompt",
            "seed",
            "all_seeds",
            "width",
            "height",
            "sampler_name",
            "cfg_scale",
            "steps",
            "batch_size",
            "index_of_first_image",
            "infotexts",
            "job_timestamp",
        )
        model = shared.sd_model.sd_checkpoint_info if shared.sd_model else None
        known = {name: getattr(self, name) for name in names}
        return json.dumps(
            {
                **known,
                "sd_model_name": model and model.model_name,
                "sd_model_hash": model and model.shorthash,
                "version": "1.10.1",
            }
        )


def create_infotext(p, prompt, seed):
    model = shared.sd_model.sd_checkpoint_info
    fields = {
        "Steps": p.steps,
        "Sampler": p.sampler_name,
        "Schedule type": p.scheduler or "Automatic",
        "CFG scale": p.cfg_scale,
        "Seed": seed,
        "Size": f"{p.width}x{p.height}",
        "Model hash": model.shorthash,
        "Model": model.model_name,
        **({"Denoising strength": p.denoising_strength} if p.init_images else {}),
        **p.extra_generation_params,
        "Version": "1.10.1",
    }
    negative = f"\nNegative prompt: {p.negative_prompt}" if p.negative_prompt else ""
    return f"{prompt}{negative}\n" + ", ".join(
        f"{name}: {value}" for name, value in fields.items() if value is not None
    )


# --- settings for one run ----------------------------------------------------------------------------------------


def process_images(p):
    before = {name: shared.opts.data[name] for name in p.override_settings if name in shared.opts.data}
    try:
        if p.override_settings.get("sd_model_checkpoint") not in sd_models.checkpoint_aliases:
            p.override_settings.pop("sd_model_checkpoint", None)
            before.pop("sd_model_checkpoint", None)
        _set(p.override_settings)
        sd_models.reload_model_weights()
        p.sampler_name, p.scheduler = sd_samplers.get_sampler_and_scheduler(
            p.sampler_name, p.scheduler, convert_automatic=False
        )
        return _process(p)
    finally:
        if p.override_settings_restore_afterwards:
            for name, value in before.items():
                shared.opts.data[name] = value


def _set(settings):
    if hasattr(sysinfo, "set_config"):
        sysinfo.set_config(settings, is_api=True, run_callbacks=False, save_config=False)
    else:
        for name, value in settings.items():
            shared.opts.set(name, value, is_api=True, run_callbacks=False)


# --- the run -----------------------------------------------------------------------------------------------------


def _process(p):
    state = shared.state
    runner = p.scripts
    p.seed = fixed_seed(p.seed)
    p.width, p.height = int(p.width), int(p.height)
    if p.width <= 0 or p.height <= 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {p.height // 8}")
    if runner is not None:
        runner.setup(p)
        p.seed = fixed_seed(p.seed)
        runner.call("before_process", p)
        runner.call("process", p)
    made, texts, seeds = [], [], []
    state.sampling_steps = p.steps
    if p.steps <= 0:
        raise ZeroDivisionError("modulo by zero") if p.steps == 0 else RuntimeError("a schedule of negative length")
    if state.job_count == -1:
        state.job_count = p.n_iter
    for number in range(p.n_iter):
        p.iteration = number
        if state.skipped:
            state.skipped = False
        if state.interrupted or state.stopping_generation:
            break
        numbers = [p.seed + number * p.batch_size + n for n in range(p.batch_size)]
        p.sample(seeds=numbers)
        for seed in numbers:
            made.append(_finished(p, runner, seed))
            texts.append(create_infotext(p, p.prompt, seed))
            seeds.append(seed)
            _save(p, made[-1], seed, texts[-1])
        state.nextjob()
    processed = Processed(p, made, p.seed, texts[0] if texts else "", texts, seeds, [p.prompt] * len(made))
    if runner is not None:
        runner.call("postprocess", p, processed)
    return processed


def _finished(p, runner, seed):
    found = scripts.PostprocessImageArgs(draw(p, seed, (p.width, p.height)))
    if runner is not None:
        runner.call("postprocess_image", p, found)
    return found.image


def draw(p, seed, size):
    """Two colours of the prompt and seed, from one corner to the other; over the first picture, where there is one."""
    numbers = hashlib.sha256(f"{p.prompt}\n{p.negative_prompt}\n{seed}\n{p.steps}".encode()).digest()
    ramp = ImageChops.add(Image.linear_gradient("L"), Image.linear_gradient("L").rotate(90), 2)
    image = ImageOps.colorize(ramp.resize(size), tuple(numbers[:3]), tuple(numbers[3:6]))
    first = (p.init_images or [None])[0]
    if first is not None:
        image = Image.blend(
            first.convert("RGB").resize(size), image, p.denoising_strength if p.denoising_strength is not None else 0.75
        )
    return image


def _save(p, image, seed, text):
    image.info["parameters"] = text
    if not p.do_not_save_samples and shared.opts.samples_save and p.outpath_samples:
        images.save_image(image, p.outpath_samples, "", seed, p.prompt, shared.opts.samples_format, info=text, p=p)
