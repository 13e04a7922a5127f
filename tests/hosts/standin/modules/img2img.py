"""What the Generate button of img2img calls."""

import inspect
from contextlib import closing

import gradio as gr

from modules import infotext_utils, processing, scripts, shared
from modules.flavour import FORGE
from modules.txt2img import answer

if FORGE:

    def img2img(
        id_task: str,
        request: gr.Request,
        mode: int,
        prompt: str,
        negative_prompt: str,
        prompt_styles,
        init_img,
        sketch,
        sketch_fg,
        init_img_with_mask,
        init_img_with_mask_fg,
        inpaint_color_sketch,
        inpaint_color_sketch_fg,
        init_img_inpaint,
        init_mask_inpaint,
        mask_blur: int,
        mask_alpha: float,
        inpainting_fill: int,
        n_iter: int,
        batch_size: int,
        cfg_scale: float,
        distilled_cfg_scale: float,
        image_cfg_scale: float,
        denoising_strength: float,
        selected_scale_tab: int,
        height: int,
        width: int,
        scale_by: float,
        resize_mode: int,
        inpaint_full_res: bool,
        inpaint_full_res_padding: int,
        inpainting_mask_invert: int,
        img2img_batch_input_dir: str,
        img2img_batch_output_dir: str,
        img2img_batch_inpaint_mask_dir: str,
        override_settings_texts,
        img2img_batch_use_png_info: bool,
        img2img_batch_png_info_props: list,
        img2img_batch_png_info_dir: str,
        img2img_batch_source_type: str,
        img2img_batch_upload: list,
        *args,
    ):
        from modules_forge import main_thread

        return main_thread.run_and_wait_result(img2img_function, locals())

else:

    def img2img(
        id_task: str,
        request: gr.Request,
        mode: int,
        prompt: str,
        negative_prompt: str,
        prompt_styles,
        init_img,
        sketch,
        init_img_with_mask,
        inpaint_color_sketch,
        inpaint_color_sketch_orig,
        init_img_inpaint,
        init_mask_inpaint,
        mask_blur: int,
        mask_alpha: float,
        inpainting_fill: int,
        n_iter: int,
        batch_size: int,
        cfg_scale: float,
        image_cfg_scale: float,
        denoising_strength: float,
        selected_scale_tab: int,
        height: int,
        width: int,
        scale_by: float,
        resize_mode: int,
        inpaint_full_res: bool,
        inpaint_full_res_padding: int,
        inpainting_mask_invert: int,
        img2img_batch_input_dir: str,
        img2img_batch_output_dir: str,
        img2img_batch_inpaint_mask_dir: str,
        override_settings_texts,
        img2img_batch_use_png_info: bool,
        img2img_batch_png_info_props: list,
        img2img_batch_png_info_dir: str,
        img2img_batch_source_type: str,
        img2img_batch_upload: list,
        *args,
    ):
        return img2img_function(locals())


NAMES = [name for name in inspect.signature(img2img).parameters if name not in ("id_task", "request", "args")]


def img2img_function(given):
    image = _first_picture(given)
    assert image is not None, "no picture is chosen in this tab of img2img"
    assert 0.0 <= given["denoising_strength"] <= 1.0, "can only work with strength in [0.0, 1.0]"
    width, height = given["width"], given["height"]
    if given["selected_scale_tab"] == 1:
        width, height = int(image.width * given["scale_by"]), int(image.height * given["scale_by"])
    p = processing.StableDiffusionProcessingImg2Img(
        outpath_samples=shared.opts.outdir_samples or shared.opts.outdir_img2img_samples,
        prompt=given["prompt"],
        negative_prompt=given["negative_prompt"],
        styles=given["prompt_styles"],
        batch_size=int(given["batch_size"]),
        n_iter=int(given["n_iter"]),
        cfg_scale=given["cfg_scale"],
        width=width,
        height=height,
        init_images=[image],
        denoising_strength=given["denoising_strength"],
        override_settings=infotext_utils.create_override_settings_dict(given["override_settings_texts"]),
    )
    p.scripts, p.script_args, p.user = scripts.scripts_img2img, given["args"], given["request"].username
    with closing(p):
        return answer(scripts.scripts_img2img.run(p, *p.script_args) or processing.process_images(p))


def _first_picture(given):
    """The picture of the tab that is open: 0 img2img, 1 sketch, 2 inpaint, 3 inpaint sketch, 4 inpaint upload."""
    name = ("init_img", "sketch", "init_img_with_mask", "inpaint_color_sketch", "init_img_inpaint")[int(given["mode"])]
    found = given[name]
    return found["image"] if isinstance(found, dict) else found
