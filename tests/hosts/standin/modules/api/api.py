"""``/sdapi/v1``: as the hosts answer, the usual routes. It takes the lock itself."""

import base64
import io
from contextlib import closing
from secrets import compare_digest

import gradio as gr
from fastapi import Depends, HTTPException
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from PIL import Image, PngImagePlugin

from modules import (
    images,
    postprocessing,
    progress,
    scripts,
    sd_models,
    sd_samplers,
    sd_schedulers,
    sd_vae,
    shared,
    sysinfo,
)
from modules.api import models
from modules.flavour import FORGE
from modules.processing import StableDiffusionProcessingImg2Img, StableDiffusionProcessingTxt2Img, process_images

ONLY_API = (
    "script_name",
    "script_args",
    "alwayson_scripts",
    "infotext",
    "force_task_id",
    "send_images",
    "save_images",
    "include_init_images",
)


def encode_pil_to_base64(image):
    chunk, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    for name, value in image.info.items():
        if isinstance(value, str):
            chunk.add_text(name, value)
    image.save(buffer, "PNG", pnginfo=chunk)
    return base64.b64encode(buffer.getvalue())


def decode_base64_to_image(text):
    try:
        return Image.open(io.BytesIO(base64.b64decode(text.partition("base64,")[2] or text)))
    except Exception as error:
        raise HTTPException(status_code=500, detail="Invalid encoded image") from error


def script_name_to_index(name, known):
    try:
        return [script.title().lower() for script in known].index(name.lower())
    except ValueError as error:
        raise HTTPException(status_code=422, detail=f"Script '{name}' not found") from error


def api_middleware(app):
    """AUTOMATIC1111's; a request that came before this has built the stack, and start-up ends here."""

    @app.middleware("http")
    async def exception_handling(request, call_next):
        try:
            return await call_next(request)
        except Exception as error:
            body = {
                "error": type(error).__name__,
                "detail": getattr(error, "detail", ""),
                "body": "",
                "errors": str(error),
            }
            return JSONResponse(body, getattr(error, "status_code", 500))

    @app.exception_handler(HTTPException)
    async def http_exception(_request, error):
        body = {"error": type(error).__name__, "detail": error.detail, "body": "", "errors": str(error)}
        return JSONResponse(body, error.status_code)


class Api:
    def __init__(self, app, queue_lock):
        self.app, self.queue_lock = app, queue_lock
        pairs = (shared.cmd_opts.api_auth or "").split(",")
        self.credentials = dict(pair.split(":") for pair in pairs if pair)
        if not FORGE:
            api_middleware(app)
        for name, method, path, model in (
            (self.text2imgapi, "POST", "txt2img", models.TextToImageResponse),
            (self.img2imgapi, "POST", "img2img", models.ImageToImageResponse),
            (self.extras_single_image_api, "POST", "extra-single-image", models.ExtrasSingleImageResponse),
            (self.progressapi, "GET", "progress", None),
            (self.interruptapi, "POST", "interrupt", None),
            (self.skip, "POST", "skip", None),
            (self.get_config, "GET", "options", None),
            (self.set_config, "POST", "options", None),
            (self.get_cmd_flags, "GET", "cmd-flags", None),
            (self.get_samplers, "GET", "samplers", None),
            (self.get_schedulers, "GET", "schedulers", None),
            (self.get_upscalers, "GET", "upscalers", None),
            (self.get_latent_upscale_modes, "GET", "latent-upscale-modes", None),
            (self.get_sd_models, "GET", "sd-models", None),
            (self.get_sd_vaes, "GET", "sd-modules" if FORGE else "sd-vae", None),
            (self.get_prompt_styles, "GET", "prompt-styles", None),
            (self.get_scripts_list, "GET", "scripts", None),
            (self.get_script_info, "GET", "script-info", None),
            (self.pnginfoapi, "POST", "png-info", None),
            (self.refresh_checkpoints, "POST", "refresh-checkpoints", None),
        ):
            self.add_api_route(f"/sdapi/v1/{path}", name, methods=[method], response_model=model)
        for runner in (scripts.scripts_txt2img, scripts.scripts_img2img):
            if not runner.scripts:  # without a page nobody has made them yet
                from modules import ui

                ui.create_ui()
                break
        self.default_script_arg_txt2img = self.init_default_script_args(scripts.scripts_txt2img)
        self.default_script_arg_img2img = self.init_default_script_args(scripts.scripts_img2img)

    def add_api_route(self, path, endpoint, **kwargs):
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        if self.credentials:
            kwargs["dependencies"] = [Depends(self.auth)]
        return self.app.add_api_route(path, endpoint, **kwargs)

    def auth(self, credentials: HTTPBasicCredentials = Depends(HTTPBasic())):  # noqa: B008
        expected = self.credentials.get(credentials.username)
        if expected is not None and compare_digest(credentials.password, expected):
            return True
        raise HTTPException(401, "Incorrect username or password", {"WWW-Authenticate": "Basic"})

    # --- scripts -------------------------------------------------------------------------------------------------

    def get_selectable_script(self, script_name, script_runner):
        if not script_name:
            return None, None
        index = script_name_to_index(script_name, script_runner.selectable_scripts)
        return script_runner.selectable_scripts[index], index

    def init_default_script_args(self, script_runner):
        """Calls every script's ``ui`` once more."""
        args = [None] * max([1, *(script.args_to for script in script_runner.scripts)])
        args[0] = 0
        with gr.Blocks(analytics_enabled=False):
            for script in script_runner.scripts:
                controls = script.ui(script.is_img2img)
                if controls:
                    args[script.args_from : script.args_to] = [control.value for control in controls]
        return args

    def init_script_args(
        self, request, default_script_args, selectable_scripts, selectable_idx, script_runner, *, input_script_args=None
    ):
        args = default_script_args.copy()
        if selectable_scripts:
            args[selectable_scripts.args_from : selectable_scripts.args_to] = request.script_args
            args[0] = selectable_idx + 1
        for name, given in (request.alwayson_scripts or {}).items():
            script = script_runner.scripts[script_name_to_index(name, script_runner.scripts)]
            if not script.alwayson:
                raise HTTPException(422, "Cannot have a selectable script in the always on scripts params")
            values = given.get("args", [])[: script.args_to - script.args_from]
            args[script.args_from : script.args_from + len(values)] = values
        return args

    # --- pictures ------------------------------------------------------------------------------------------------

    def text2imgapi(self, txt2imgreq: models.StableDiffusionTxt2ImgProcessingAPI):
        answer = self._generate(txt2imgreq, "txt2img", StableDiffusionProcessingTxt2Img, {})
        return models.TextToImageResponse(**answer, parameters=vars(txt2imgreq))

    def img2imgapi(self, img2imgreq: models.StableDiffusionImg2ImgProcessingAPI):
        if img2imgreq.init_images is None:
            raise HTTPException(status_code=404, detail="Init image not found")
        pictures = {"init_images": [decode_base64_to_image(text) for text in img2imgreq.init_images]}
        answer = self._generate(img2imgreq, "img2img", StableDiffusionProcessingImg2Img, pictures)
        img2imgreq.init_images = img2imgreq.mask = None
        return models.ImageToImageResponse(**answer, parameters=vars(img2imgreq))

    def _generate(self, request, task, kind, pictures):
        task_id = request.force_task_id or progress.create_task_id(task)
        runner = getattr(scripts, f"scripts_{task}")
        selected, index = self.get_selectable_script(request.script_name, runner)
        sampler, scheduler = sd_samplers.get_sampler_and_scheduler(
            request.sampler_name or request.sampler_index, request.scheduler
        )
        script_args = self.init_script_args(
            request, getattr(self, f"default_script_arg_{task}"), selected, index, runner
        )
        given = {name: value for name, value in vars(request).items() if name not in ONLY_API}
        given.update(sampler_name=sampler, scheduler=scheduler, do_not_save_samples=not request.save_images, **pictures)
        progress.add_task_to_queue(task_id)
        with self.queue_lock, closing(kind(sd_model=shared.sd_model, **given)) as p:
            p.is_api, p.scripts, p.script_args = True, runner, tuple(script_args)
            p.outpath_samples = getattr(shared.opts, f"outdir_{task}_samples")
            try:
                shared.state.begin(job=f"scripts_{task}")
                progress.start_task(task_id)
                processed = runner.run(p, *script_args) if selected else process_images(p)
                progress.finish_task(task_id)  # not when it raised
            finally:
                shared.state.end()
        encoded = [encode_pil_to_base64(image) for image in processed.images] if request.send_images else []
        return {"images": encoded, "info": processed.js()}

    def extras_single_image_api(self, req: models.ExtrasSingleImageRequest):
        image = decode_base64_to_image(req.image)
        with self.queue_lock:
            made, info, _ = postprocessing.run_extras(0, image, req.upscaling_resize, req.upscaler_1, save_output=False)
        return models.ExtrasSingleImageResponse(image=encode_pil_to_base64(made[0]), html_info=info)

    # --- the rest ------------------------------------------------------------------------------------------------

    def progressapi(self, skip_current_image: bool = False):
        state, image = shared.state, None
        if state.job_count == 0:
            return {
                "progress": 0,
                "eta_relative": 0,
                "state": state.dict(),
                "current_image": None,
                "textinfo": state.textinfo,
            }
        shared.state.set_current_image()
        if state.current_image and not skip_current_image:
            image = encode_pil_to_base64(state.current_image)
        found = {
            "progress": max(0.01, progress.fraction()),
            "eta_relative": 0.0,
            "state": state.dict(),
            "current_image": image,
        }
        return {**found, "textinfo": state.textinfo, "current_task": progress.current_task}

    def interruptapi(self):
        shared.state.interrupt()
        return {}

    def skip(self):
        shared.state.skip()

    def get_config(self):
        return {name: shared.opts.data.get(name, info.default) for name, info in shared.opts.data_labels.items()}

    def set_config(self, req: dict):
        if hasattr(sysinfo, "set_config"):
            sysinfo.set_config(req)
            return
        checkpoint = req.get("sd_model_checkpoint")
        if checkpoint is not None and checkpoint not in sd_models.checkpoint_aliases:
            raise RuntimeError(f"model {checkpoint!r} not found")
        for name, value in req.items():
            shared.opts.set(name, value, is_api=True)
        shared.opts.save(shared.config_filename)

    def get_cmd_flags(self):
        return vars(shared.cmd_opts)

    def get_samplers(self):
        return [{"name": s.name, "aliases": s.aliases, "options": s.options} for s in sd_samplers.all_samplers]

    def get_schedulers(self):
        return [{"name": s.name, "label": s.label, "aliases": s.aliases} for s in sd_schedulers.schedulers]

    def get_upscalers(self):
        return [{"name": upscaler.name} for upscaler in shared.sd_upscalers]

    def get_latent_upscale_modes(self):
        return [{"name": name} for name in shared.latent_upscale_modes]

    def get_sd_models(self):
        found = sd_models.checkpoints_list.values()
        return [
            {
                "title": x.title,
                "model_name": x.model_name,
                "hash": x.shorthash,
                "sha256": x.sha256,
                "filename": x.filename,
            }
            for x in found
        ]

    def get_sd_vaes(self):
        return [{"model_name": name, "filename": path} for name, path in sd_vae.vae_dict.items()]

    def get_prompt_styles(self):
        return [
            {"name": name, "prompt": text[0], "negative_prompt": text[1]}
            for name, text in shared.prompt_styles.styles.items()
        ]

    def get_scripts_list(self):
        runners = {"txt2img": scripts.scripts_txt2img, "img2img": scripts.scripts_img2img}
        return {name: [script.name for script in runner.scripts if script.name] for name, runner in runners.items()}

    def get_script_info(self):
        every = [*scripts.scripts_txt2img.scripts, *scripts.scripts_img2img.scripts]
        return [script.api_info for script in every if script.api_info is not None]

    def pnginfoapi(self, req: dict):
        text, items = images.read_info_from_image(decode_base64_to_image(req["image"].strip()))
        return {"info": text or "", "items": {"parameters": text, **items}, "parameters": {}}

    def refresh_checkpoints(self):
        with self.queue_lock:
            sd_models.list_models()

    def launch(self, server_name, port, root_path):
        import uvicorn

        uvicorn.run(self.app, host=server_name, port=port, root_path=root_path, timeout_keep_alive=30)
