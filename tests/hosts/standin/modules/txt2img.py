"""What the Generate button of txt2img calls: its own arguments in the order of the host, then the scripts'."""

import inspect
from contextlib import closing

import gradio as gr

from modules import infotext_utils, processing, scripts, shared
from modules.flavour import FORGE
from modules.ui_common import plaintext_to_html

if FORGE:

    def txt2img_create_processing(
        id_task: str,
        request: gr.Request,
        prompt: str,
        negative_prompt: str,
        prompt_styles,
        n_iter: int,
        batch_size: int,
        cfg_scale: float,
        distilled_cfg_scale: float,
        height: int,
        width: int,
        enable_hr: bool,
        denoising_strength: float,
        hr_scale: float,
        hr_upscaler: str,
        hr_second_pass_steps: int,
        hr_resize_x: int,
        hr_resize_y: int,
        hr_checkpoint_name: str,
        hr_additional_modules: list,
        hr_sampler_name: str,
        hr_scheduler: str,
        hr_prompt: str,
        hr_negative_prompt,
        hr_cfg: float,
        hr_distilled_cfg: float,
        override_settings_texts,
        *args,
        force_enable_hr=False,
    ):
        return _processing(locals())

else:

    def txt2img_create_processing(
        id_task: str,
        request: gr.Request,
        prompt: str,
        negative_prompt: str,
        prompt_styles,
        n_iter: int,
        batch_size: int,
        cfg_scale: float,
        height: int,
        width: int,
        enable_hr: bool,
        denoising_strength: float,
        hr_scale: float,
        hr_upscaler: str,
        hr_second_pass_steps: int,
        hr_resize_x: int,
        hr_resize_y: int,
        hr_checkpoint_name: str,
        hr_sampler_name: str,
        hr_scheduler: str,
        hr_prompt: str,
        hr_negative_prompt,
        override_settings_texts,
        *args,
        force_enable_hr=False,
    ):
        return _processing(locals())


NAMES = [
    name
    for name in inspect.signature(txt2img_create_processing).parameters
    if name not in ("id_task", "request", "args", "force_enable_hr")
]


def _processing(given):
    p = processing.StableDiffusionProcessingTxt2Img(
        outpath_samples=shared.opts.outdir_samples or shared.opts.outdir_txt2img_samples,
        prompt=given["prompt"],
        negative_prompt=given["negative_prompt"],
        styles=given["prompt_styles"],
        batch_size=int(given["batch_size"]),
        n_iter=int(given["n_iter"]),
        cfg_scale=given["cfg_scale"],
        width=given["width"],
        height=given["height"],
        override_settings=infotext_utils.create_override_settings_dict(given["override_settings_texts"]),
    )
    p.scripts, p.script_args, p.user = scripts.scripts_txt2img, given["args"], given["request"].username
    return p


def txt2img_function(id_task: str, request: gr.Request, *args):
    with closing(txt2img_create_processing(id_task, request, *args)) as p:
        return answer(scripts.scripts_txt2img.run(p, *p.script_args) or processing.process_images(p))


def answer(processed):
    comments = plaintext_to_html(processed.comments, classname="comments")
    return processed.images + processed.extra_images, processed.js(), plaintext_to_html(processed.info), comments


def txt2img(id_task: str, request: gr.Request, *args):
    if not FORGE:
        return txt2img_function(id_task, request, *args)
    from modules_forge import main_thread

    return main_thread.run_and_wait_result(txt2img_function, id_task, request, *args)
