"""The page: tabs, buttons and controls that an extension meets, under the hosts' elem_ids, inputs in their order."""

import json

import gradio as gr

from modules import (
    img2img,
    infotext_utils,
    postprocessing,
    progress,
    script_callbacks,
    scripts,
    sd_models,
    sd_samplers,
    sd_schedulers,
    shared,
    txt2img,
)
from modules.call_queue import wrap_gradio_gpu_call
from modules.flavour import FORGE, JS
from modules.paths import data_path

HERE = scripts.HERE
QUIET = {"show_progress": False} if not FORGE else {"show_progress": "hidden"}


class InputAccordion(gr.Checkbox):
    """A checkbox that opens what belongs to it; here, the checkbox alone."""

    def get_block_name(self):
        return "checkbox"


def slider(tab, name, label, low, high, value, step=1):
    return gr.Slider(low, high, value, step=step, label=label, elem_id=f"{tab}_{name}")


def dummy():
    """Input 0, where the browser puts the task's id."""
    return gr.Textbox(visible=False) if FORGE else gr.Label(visible=False)


# --- parts of a tab ----------------------------------------------------------------------------------------------


def toprow(tab):
    """Prompts and the buttons that start and stop."""
    parts = {}
    with gr.Row(elem_id=f"{tab}_toprow"):
        with gr.Column(elem_id=f"{tab}_prompt_container", scale=6):
            parts["prompt"] = gr.Textbox("", label="Prompt", lines=3, elem_id=f"{tab}_prompt", elem_classes=["prompt"])
            parts["negative_prompt"] = gr.Textbox(
                "", label="Negative prompt", lines=3, elem_id=f"{tab}_neg_prompt", elem_classes=["prompt"]
            )
        with gr.Column(scale=1, elem_id=f"{tab}_actions_column"):
            parts["submit"] = generate_box(tab)
            with gr.Row(elem_id=f"{tab}_tools"):
                parts["paste"] = gr.Button("↙️", elem_id="paste")
            styles = list(shared.prompt_styles.styles)
            parts["prompt_styles"] = gr.Dropdown(
                styles, value=[], multiselect=True, label="Styles", elem_id=f"{tab}_styles"
            )
    return parts


def generate_box(tab):
    with gr.Row(elem_id=f"{tab}_generate_box", elem_classes=["generate-box"]):
        interrupt = gr.Button("Interrupt", elem_id=f"{tab}_interrupt", elem_classes="generate-box-interrupt")
        skip = gr.Button("Skip", elem_id=f"{tab}_skip", elem_classes="generate-box-skip")
        interrupting = gr.Button(
            "Interrupting...", elem_id=f"{tab}_interrupting", elem_classes="generate-box-interrupting"
        )
        submit = gr.Button("Generate", elem_id=f"{tab}_generate", variant="primary")
    skip.click(fn=shared.state.skip)
    interrupt.click(
        fn=interrupt_function, **{JS: f"() => {{ showSubmitInterruptingPlaceholder('{tab}'); return []; }}"}
    )
    interrupting.click(fn=interrupt_function)
    return submit


def interrupt_function():
    """The first press lets the picture be finished where there are more to come."""
    state = shared.state
    if not state.stopping_generation and state.job_count > 1 and shared.opts.interrupt_after_current:
        state.stop_generating()
    else:
        state.interrupt()


def size_and_count(tab):
    parts = {
        "width": slider(tab, "width", "Width", 64, 2048, 512, 8),
        "height": slider(tab, "height", "Height", 64, 2048, 512, 8),
        "n_iter": slider(tab, "batch_count", "Batch count", 1, 100, 1),
        "batch_size": slider(tab, "batch_size", "Batch size", 1, 8, 1),
        "cfg_scale": slider(tab, "cfg_scale", "CFG Scale", 1.0, 30.0, 7.0, 0.5),
    }
    if FORGE:
        parts["distilled_cfg_scale"] = slider(tab, "distilled_cfg_scale", "Distilled CFG Scale", 0.0, 30.0, 3.5, 0.1)
    return parts


def override_settings(tab):
    return gr.Dropdown(
        [], label="Override settings", visible=False, multiselect=True, elem_id=f"{tab}_override_settings"
    )


def results(tab):
    with gr.Column(elem_id=f"{tab}_results"), gr.Column(variant="panel", elem_id=f"{tab}_results_panel"):
        with gr.Group(elem_id=f"{tab}_gallery_container"):
            gallery = gr.Gallery(label="Output", show_label=False, elem_id=f"{tab}_gallery", columns=4, preview=True)
        with gr.Row(elem_id=f"image_buttons_{tab}"):
            pass
        if tab == "extras":
            return [gallery, gr.HTML(elem_id="html_info_x_extras"), gr.HTML(elem_id="html_log_extras")]
        with gr.Group():
            return [
                gallery,
                gr.Textbox(visible=False, elem_id=f"generation_info_{tab}"),
                gr.HTML(elem_id=f"html_info_{tab}", elem_classes="infotext"),
                gr.HTML(elem_id=f"html_log_{tab}", elem_classes="html-log"),
            ]


def submits(parts, function, js, inputs, outputs):
    """The prompt's Enter and the button, each an entry of its own."""
    options = {
        "fn": wrap_gradio_gpu_call(function, extra_outputs=[None, "", ""]),
        "inputs": inputs,
        "outputs": outputs,
        JS: js,
        **QUIET,
    }
    parts["prompt"].submit(**options)
    parts["submit"].click(**options)


FROM_SCRIPTS = {"Seed": "Seed", "Sampling steps": "Steps"}


def paste_fields(tab, parts, runner, init_img=None):
    fields = [
        (parts["prompt"], "Prompt"),
        (parts["negative_prompt"], "Negative prompt"),
        (parts["cfg_scale"], "CFG scale"),
        (parts["width"], "Size-1"),
        (parts["height"], "Size-2"),
        *((control, FROM_SCRIPTS[control.label]) for control in runner.inputs[1:] if control.label in FROM_SCRIPTS),
    ]
    infotext_utils.add_paste_fields(tab, init_img, fields)
    binding = infotext_utils.ParamBinding(
        paste_button=parts["paste"], tabname=tab, source_text_component=parts["prompt"]
    )
    infotext_utils.register_paste_params_button(binding)


# --- tabs --------------------------------------------------------------------------------------------------------


def txt2img_tab():
    runner = scripts.scripts_current = scripts.scripts_txt2img
    runner.initialize_scripts(False)
    with gr.Blocks(analytics_enabled=False) as tab:
        parts, task = toprow("txt2img"), dummy()
        with gr.Row():
            with gr.Column(elem_id="txt2img_settings"):
                runner.prepare_ui()
                runner.setup_ui_for_section("sampler")
                parts.update(size_and_count("txt2img"))
                with gr.Row(elem_id="txt2img_accordions"):
                    parts.update(hires())
                    runner.setup_ui_for_section("accordions")
                runner.setup_ui_for_section("seed")
                parts["override_settings_texts"] = override_settings("txt2img")
                with gr.Group(elem_id="txt2img_script_container"):
                    inputs = runner.setup_ui()
            outputs = results("txt2img")
        submits(parts, txt2img.txt2img, "submit", [task, *(parts[name] for name in txt2img.NAMES), *inputs], outputs)
        paste_fields("txt2img", parts, runner)
    scripts.scripts_current = None
    return tab


def hires():
    same = "Use same "
    samplers, schedulers = (
        sd_samplers.visible_sampler_names(),
        [scheduler.label for scheduler in sd_schedulers.schedulers],
    )
    upscalers = [*shared.latent_upscale_modes, *(upscaler.name for upscaler in shared.sd_upscalers)]
    parts = {
        "enable_hr": InputAccordion(False, label="Hires. fix", elem_id="txt2img_hr-checkbox"),
        "hr_upscaler": gr.Dropdown(
            upscalers, value=shared.latent_upscale_default_mode, label="Upscaler", elem_id="txt2img_hr_upscaler"
        ),
        "hr_second_pass_steps": slider("txt2img", "hires_steps", "Hires steps", 0, 150, 0),
        "denoising_strength": slider("txt2img", "denoising_strength", "Denoising strength", 0.0, 1.0, 0.7, 0.01),
        "hr_scale": slider("txt2img", "hr_scale", "Upscale by", 1.0, 4.0, 2.0, 0.05),
        "hr_resize_x": slider("txt2img", "hr_resize_x", "Resize width to", 0, 2048, 0, 8),
        "hr_resize_y": slider("txt2img", "hr_resize_y", "Resize height to", 0, 2048, 0, 8),
        "hr_checkpoint_name": gr.Dropdown(
            [f"{same}checkpoint", *sd_models.checkpoint_tiles(True)],
            value=f"{same}checkpoint",
            label="Checkpoint",
            elem_id="hr_checkpoint",
        ),
        "hr_sampler_name": gr.Dropdown(
            [f"{same}sampler", *samplers], value=f"{same}sampler", label="Hires sampling method", elem_id="hr_sampler"
        ),
        "hr_scheduler": gr.Dropdown(
            [f"{same}scheduler", *schedulers],
            value=f"{same}scheduler",
            label="Hires schedule type",
            elem_id="hr_scheduler",
        ),
        "hr_prompt": gr.Textbox("", label="Hires prompt", elem_id="hires_prompt"),
        "hr_negative_prompt": gr.Textbox("", label="Hires negative prompt", elem_id="hires_neg_prompt"),
    }
    if FORGE:
        parts["hr_additional_modules"] = gr.Dropdown(
            [f"{same}choices"],
            value=[f"{same}choices"],
            multiselect=True,
            label="Hires VAE / Text Encoder",
            elem_id="hr_vae_te",
        )
        parts["hr_cfg"] = slider("txt2img", "hr_cfg", "Hires CFG Scale", 1.0, 30.0, 7.0, 0.1)
        parts["hr_distilled_cfg"] = slider(
            "txt2img", "hr_distilled_cfg", "Hires Distilled CFG Scale", 0.0, 30.0, 3.5, 0.1
        )
    return parts


IMG2IMG_TABS = (
    "img2img_img2img_tab",
    "img2img_img2img_sketch_tab",
    "img2img_inpaint_tab",
    "img2img_inpaint_sketch_tab",
    "img2img_inpaint_upload_tab",
    "img2img_batch_tab",
)
IMG2IMG_LABELS = ("img2img", "Sketch", "Inpaint", "Inpaint sketch", "Inpaint upload", "Batch")


def img2img_tab():
    runner = scripts.scripts_current = scripts.scripts_img2img
    runner.initialize_scripts(True)
    with gr.Blocks(analytics_enabled=False) as tab:
        parts, task = toprow("img2img"), dummy()
        mode = gr.Number(value=0, precision=0, visible=False) if FORGE else gr.Label(visible=False)
        with gr.Row():
            with gr.Column(elem_id="img2img_settings"):
                runner.prepare_ui()
                pictures(parts, mode)
                runner.setup_ui_for_section("inpaint")
                parts.update(inpainting())
                runner.setup_ui_for_section("sampler")
                parts.update(size_and_count("img2img"))
                with gr.Row(elem_id="img2img_accordions"):
                    runner.setup_ui_for_section("accordions")
                runner.setup_ui_for_section("seed")
                parts["override_settings_texts"] = override_settings("img2img")
                with gr.Group(elem_id="img2img_script_container"):
                    inputs = runner.setup_ui()
            outputs = results("img2img")
        own = [parts[name] for name in img2img.NAMES if name != "mode"]
        submits(parts, img2img.img2img, "submit_img2img", [task, mode, *own, *inputs], outputs)
        paste_fields("img2img", parts, runner, parts["init_img"])
        infotext_utils.add_paste_fields(
            "inpaint", parts["init_img_with_mask"], infotext_utils.paste_fields["img2img"]["fields"]
        )
    scripts.scripts_current = None
    return tab


def pictures(parts, mode):
    """The modes: each a tab with a picture of its own."""
    with gr.Tabs(elem_id="mode_img2img"):
        for number, (elem_id, label) in enumerate(zip(IMG2IMG_TABS, IMG2IMG_LABELS, strict=True)):
            with gr.TabItem(
                label, id=elem_id.removesuffix("_tab").removeprefix("img2img_"), elem_id=elem_id
            ) as mode_tab:
                if number < 4:
                    parts.update(canvas(number))
                elif number == 4:
                    parts["init_img_inpaint"] = gr.Image(
                        type="pil", label="Image for img2img", elem_id="img_inpaint_base"
                    )
                    parts["init_mask_inpaint"] = gr.Image(type="pil", label="Mask", elem_id="img_inpaint_mask")
                else:
                    parts.update(batch())
            if FORGE:
                mode_tab.select(lambda n=number: n, None, [mode], queue=False)


CANVASES = (
    ("init_img", "img2img_image", "Image for img2img", "editor"),
    ("sketch", "img2img_sketch", "Image for img2img", "color-sketch"),
    ("init_img_with_mask", "img2maskimg", "Image for inpainting with mask", "sketch"),
    ("inpaint_color_sketch", "inpaint_sketch", "Color sketch inpainting", "color-sketch"),
)


def canvas(number):
    name, elem_id, label, tool = CANVASES[number]
    if FORGE:
        from modules.canvas import Canvas

        made = Canvas(elem_id)
        return {name: made.background, **({f"{name}_fg": made.foreground} if number else {})}
    parts = {
        name: gr.Image(
            label=label,
            elem_id=elem_id,
            source="upload",
            type="pil",
            tool=tool,
            image_mode="RGBA" if number < 2 else "RGB",
        )
    }
    if name == "inpaint_color_sketch":
        parts["inpaint_color_sketch_orig"] = gr.State(None)
    return parts


def batch():
    return {
        "img2img_batch_source_type": gr.Textbox(visible=False, value="upload"),
        "img2img_batch_upload": gr.Files(label="Files", elem_id="img2img_batch_upload"),
        "img2img_batch_input_dir": gr.Textbox("", label="Input directory", elem_id="img2img_batch_input_dir"),
        "img2img_batch_output_dir": gr.Textbox("", label="Output directory", elem_id="img2img_batch_output_dir"),
        "img2img_batch_inpaint_mask_dir": gr.Textbox(
            "", label="Inpaint batch mask directory", elem_id="img2img_batch_inpaint_mask_dir"
        ),
        "img2img_batch_use_png_info": gr.Checkbox(
            False, label="Append png info to prompts", elem_id="img2img_batch_use_png_info"
        ),
        "img2img_batch_png_info_dir": gr.Textbox("", label="PNG info directory", elem_id="img2img_batch_png_info_dir"),
        "img2img_batch_png_info_props": gr.CheckboxGroup(
            ["Prompt", "Seed"], value=[], label="Parameters to take from png info"
        ),
    }


def inpainting():
    def radio(choices, label, elem_id, value=0):
        return gr.Radio(choices, value=choices[value], type="index", label=label, elem_id=elem_id)

    return {
        "selected_scale_tab": gr.Number(value=0, visible=False),
        "scale_by": slider("img2img", "scale", "Scale", 0.05, 4.0, 1.0, 0.05),
        "resize_mode": radio(
            ["Just resize", "Crop and resize", "Resize and fill", "Just resize (latent upscale)"],
            "Resize mode",
            "resize_mode",
        ),
        "mask_blur": slider("img2img", "mask_blur", "Mask blur", 0, 64, 4),
        "mask_alpha": slider("img2img", "mask_alpha", "Mask transparency", 0, 100, 0),
        "inpainting_mask_invert": radio(["Inpaint masked", "Inpaint not masked"], "Mask mode", "img2img_mask_mode"),
        "inpainting_fill": radio(
            ["fill", "original", "latent noise", "latent nothing"], "Masked content", "img2img_inpainting_fill", 1
        ),
        "inpaint_full_res": radio(["Whole picture", "Only masked"], "Inpaint area", "img2img_inpaint_full_res"),
        "inpaint_full_res_padding": slider(
            "img2img", "inpaint_full_res_padding", "Only masked padding, pixels", 0, 256, 32, 4
        ),
        "image_cfg_scale": slider("img2img", "image_cfg_scale", "Image CFG Scale", 0, 3.0, 1.5, 0.05),
        "denoising_strength": slider("img2img", "denoising_strength", "Denoising strength", 0.0, 1.0, 0.75, 0.01),
    }


def extras_tab():
    with gr.Blocks(analytics_enabled=False) as tab:
        task = dummy()
        mode = gr.State(0) if FORGE else gr.Number(value=0, visible=False)
        with gr.Row():
            with gr.Column():
                with gr.Tabs(elem_id="mode_extras"):
                    with gr.TabItem("Single Image", elem_id="extras_single_tab"):
                        image = gr.Image(
                            label="Source",
                            type="pil",
                            elem_id="extras_image",
                            **({} if FORGE else {"source": "upload"}),
                        )
                    with gr.TabItem("Batch Process", elem_id="extras_batch_process_tab"):
                        files = gr.Files(label="Batch Process", elem_id="extras_image_batch")
                    with gr.TabItem("Batch from Directory", elem_id="extras_batch_directory_tab"):
                        folder = gr.Textbox("", label="Input directory", elem_id="extras_batch_input_dir")
                        target = gr.Textbox("", label="Output directory", elem_id="extras_batch_output_dir")
                        show = gr.Checkbox(True, label="Show result images", elem_id="extras_show_extras_results")
                submit = generate_box("extras")
                inputs = scripts.scripts_postproc.setup_ui()
            outputs = results("extras")
        function = wrap_gradio_gpu_call(postprocessing.run_postprocessing_webui, extra_outputs=[None, ""])
        submit.click(
            function,
            [task, mode, image, files, folder, target, show, *inputs],
            outputs,
            **{JS: "submit_extras"},
            **QUIET,
        )
        infotext_utils.add_paste_fields("extras", image, None)
    return tab


# --- settings ----------------------------------------------------------------------------------------------------


def settings_tab():
    components = {}
    with gr.Blocks(analytics_enabled=False) as tab:
        with gr.Row():
            submit = gr.Button("Apply settings", variant="primary", elem_id="settings_submit")
            restart = gr.Button("Reload UI", variant="primary", elem_id="settings_restart_gradio")
        result = gr.HTML(elem_id="settings_result")
        sections = {}
        for key, info in shared.opts.data_labels.items():
            sections.setdefault(info.section, []).append((key, info))
        with gr.Tabs(elem_id="settings"):
            for (ident, label), options in sections.items():
                with gr.TabItem(label, elem_id=f"settings_{ident}"), gr.Column(elem_id=f"column_settings_{ident}"):
                    components.update({key: made for key, info in options if (made := setting(key, info)) is not None})

    def save(*values):
        changed = [key for key, value in zip(components, values, strict=True) if shared.opts.set(key, value)]
        shared.opts.save(shared.config_filename)
        return f"{len(changed)} settings changed: {', '.join(changed)}."

    with tab:
        submit.click(save, list(components.values()), [result])
        restart.click(shared.state.request_restart, None, None, **{JS: "restart_reload"})
    return tab


def setting(key, info):
    """Its component; None for what only the WebUI itself sets."""
    value = shared.opts.data.get(key, info.default)
    kinds = {bool: gr.Checkbox, int: gr.Number, float: gr.Number, str: gr.Textbox}
    kind = info.component or kinds.get(type(info.default))
    if kind is None:
        return None
    arguments = info.component_args() if callable(info.component_args) else (info.component_args or {})
    return kind(value=value, label=info.label or key, elem_id=f"setting_{key}", **arguments)


# --- all ---------------------------------------------------------------------------------------------------------


def create_ui():
    infotext_utils.reset()
    script_callbacks.call("ui_settings")
    page_files()
    tabs = [
        (txt2img_tab(), "Txt2img" if FORGE else "txt2img", "txt2img"),
        (img2img_tab(), "Img2img" if FORGE else "img2img", "img2img"),
    ]
    if FORGE:
        with gr.Blocks(analytics_enabled=False) as space:
            gr.HTML("")
        tabs.append((space, "Spaces", "space"))
    tabs.append((extras_tab(), "Extras", "extras"))
    for answer in script_callbacks.call("ui_tabs"):
        tabs += answer or []
    tabs.append((settings_tab(), "Settings", "settings"))
    with gr.Blocks(analytics_enabled=False, title="Stable Diffusion (stand-in)") as demo:
        infotext_utils.connect_paste_params_buttons()
        with gr.Tabs(elem_id="tabs"):
            for tab, label, ident in tabs:
                with gr.TabItem(label, id=ident, elem_id=f"tab_{ident}"):
                    tab.render()
        gr.HTML("A stand-in for tests; no model.", elem_id="footer")
    return demo


def page_files():
    """Every JavaScript and style sheet, of the host and of extensions, by its address with a time stamp."""
    import os

    def address(path):
        return f"file={path}?{os.path.getmtime(path)}"

    head = (
        f"<script>var opts = {json.dumps(json.loads(shared.opts.dumpjson())).replace('<', chr(92) + 'u003c')};</script>"
    )
    head += "".join(
        f'<script src="{address(file.path)}"></script>' for file in scripts.list_scripts("javascript", ".js")
    )
    head += "".join(
        f'<script type="module" src="{address(file.path)}"></script>'
        for file in scripts.list_scripts("javascript", ".mjs")
    )
    css = "".join(
        f'<link rel="stylesheet" href="{address(path)}">' for path in scripts.list_files_with_name("style.css")
    )

    def respond(*args, **kwargs):
        answer = original(*args, **kwargs)
        answer.body = answer.body.replace(b"</head>", f"{head}</head>".encode()).replace(
            b"</body>", f"{css}</body>".encode()
        )
        answer.init_headers()
        return answer

    original = getattr(shared, "GradioTemplateResponseOriginal", None) or gr.routes.templates.TemplateResponse
    shared.GradioTemplateResponseOriginal = original
    gr.routes.templates.TemplateResponse = respond


def setup_ui_api(app):
    app.add_api_route("/internal/ping", lambda: {}, methods=["GET"])


ALLOWED = [data_path, HERE]
restore_progress = progress.restore_progress
