"""What the Generate button of Extras calls; it knows no request, and begins and ends the run itself."""

from modules import images, scripts, scripts_postprocessing, shared, ui_common


def run_postprocessing(
    extras_mode, image, image_folder, input_dir, output_dir, show_extras_results, *args, save_output: bool = True
):
    shared.state.begin(job="extras")
    given = image_folder if extras_mode == 1 else [image]
    assert given and given[0] is not None, "image not selected"
    shared.state.job_count = len(given)
    outputs, text = [], ""
    for picture in given:
        shared.state.nextjob()
        if shared.state.interrupted or shared.state.stopping_generation:
            break
        picture = picture if hasattr(picture, "convert") else images.read(picture.name)
        pp = scripts_postprocessing.PostprocessedImage(
            picture if picture.mode in ("RGBA", "RGB") else picture.convert("RGB")
        )
        scripts.scripts_postproc.run(pp, args)
        text = ", ".join(f"{name}: {value}" for name, value in pp.info.items())
        if save_output:
            folder = shared.opts.outdir_samples or shared.opts.outdir_extras_samples
            images.save_image(
                pp.image, folder, "", extension=shared.opts.samples_format, info=text, pnginfo_section_name="extras"
            )
        outputs.append(pp.image)
    shared.state.end()
    return outputs, ui_common.plaintext_to_html(text), ""


def run_postprocessing_webui(id_task, *args, **kwargs):
    return run_postprocessing(*args, **kwargs)


def run_extras(extras_mode, image, upscaling_resize, extras_upscaler_1, save_output=True):
    """For the API."""
    given = {"upscale_enabled": True, "upscale_by": upscaling_resize, "upscaler_1_name": extras_upscaler_1}
    args = scripts.scripts_postproc.create_args_for_run({"Upscale": given})
    return run_postprocessing(extras_mode, image, None, "", "", True, *args, save_output=save_output)
