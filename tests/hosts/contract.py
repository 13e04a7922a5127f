"""What the extension relies on in a host, as data: the probe describes it inside the host, ``test_host.py`` compares.

Nothing here imports anything, since the probe executes this file in the host's own Python.
"""

CALLABLES = {  # names, each with its first parameters
    "modules.api.api.Api": ["app", "queue_lock"],
    "modules.api.api.Api.extras_single_image_api": ["self", "req"],
    "modules.api.api.Api.img2imgapi": ["self", "img2imgreq"],
    "modules.api.api.Api.text2imgapi": ["self", "txt2imgreq"],
    "modules.api.models.ExtrasSingleImageRequest": [],
    "modules.api.models.StableDiffusionImg2ImgProcessingAPI": [],
    "modules.api.models.StableDiffusionTxt2ImgProcessingAPI": [],
    "modules.call_queue.queue_lock.acquire": ["blocking"],
    "modules.call_queue.queue_lock.release": [],
    "modules.call_queue.wrap_gradio_gpu_call": ["func", "extra_outputs"],
    "modules.devices.torch_gc": [],
    "modules.img2img.img2img": ["id_task", "request", "mode", "prompt", "negative_prompt", "prompt_styles", "init_img", "sketch"],
    "modules.infotext_utils.ParamBinding": ["paste_button", "tabname", "source_text_component", "source_image_component"],
    "modules.infotext_utils.register_paste_params_button": ["binding"],
    "modules.options.OptionInfo": ["default", "label", "component", "component_args", "onchange", "section"],
    "modules.options.OptionInfo.html": ["self"],
    "modules.options.OptionInfo.info": ["self"],
    "modules.options.OptionInfo.needs_reload_ui": ["self"],
    "modules.postprocessing.run_postprocessing_webui": ["id_task", "args", "kwargs"],
    "modules.progress.add_task_to_queue": ["id_job"],
    "modules.progress.finish_task": ["id_task"],
    "modules.progress.start_task": ["id_task"],
    "modules.script_callbacks.on_after_component": ["callback"],
    "modules.script_callbacks.on_app_started": ["callback"],
    "modules.script_callbacks.on_before_reload": ["callback"],
    "modules.script_callbacks.on_before_ui": ["callback"],
    "modules.script_callbacks.on_script_unloaded": ["callback"],
    "modules.script_callbacks.on_ui_settings": ["callback"],
    "modules.script_callbacks.on_ui_tabs": ["callback"],
    "modules.scripts.Script.elem_id": ["self", "item_id"],
    "modules.scripts.basedir": [],
    "modules.sd_models.get_closet_checkpoint_match": ["search_string"],
    "modules.sd_models.reload_model_weights": ["sd_model", "info", "forced_reload"],
    "modules.sd_samplers.get_sampler_and_scheduler": ["sampler_name", "scheduler_name"],
    "modules.shared.opts.add_option": ["key", "info"],
    "modules.shared.opts.get_default": ["key"],
    "modules.shared.opts.save": ["filename"],
    "modules.shared.opts.set": ["key", "value", "is_api", "run_callbacks"],
    "modules.shared.state.begin": ["job"],
    "modules.shared.state.end": [],
    "modules.shared.state.interrupt": [],
    "modules.shared.state.request_restart": [],
    "modules.shared.state.set_current_image": [],
    "modules.shared.state.skip": [],
    "modules.shared.state.stop_generating": [],
    "modules.txt2img.txt2img": ["id_task", "request", "args"],
    "modules.txt2img.txt2img_create_processing": ["id_task", "request", "prompt", "negative_prompt", "prompt_styles"],
}  # fmt: skip

VALUES = {  # names, each with the type of its value; None where any will do
    "modules.call_queue.queue_lock._lock": "lock",
    "modules.call_queue.queue_lock._pending_threads": "deque",
    "modules.paths.data_path": "str",
    "modules.progress.current_task": None,
    "modules.progress.pending_tasks": "OrderedDict",
    "modules.scripts.scripts_img2img": "ScriptRunner",
    "modules.scripts.scripts_postproc": "ScriptPostprocessingRunner",
    "modules.scripts.scripts_txt2img": "ScriptRunner",
    "modules.scripts.scripts_txt2img.alwayson_scripts": "list",
    "modules.scripts.scripts_txt2img.selectable_scripts": "list",
    "modules.sd_models.checkpoint_aliases": "dict",
    "modules.sd_models.checkpoints_list": "dict",
    "modules.sd_samplers.all_samplers_map": "dict",
    "modules.sd_schedulers.schedulers": "list",
    "modules.sd_schedulers.schedulers_map": "dict",
    "modules.sd_vae.vae_dict": "dict",
    "modules.shared.cmd_opts": "Namespace",
    "modules.shared.config_filename": "str",
    "modules.shared.latent_upscale_modes": "dict",
    "modules.shared.opts.data": "dict",
    "modules.shared.opts.data_labels": "dict",
    "modules.shared.prompt_styles.styles": "dict",
    "modules.shared.sd_model": None,
    "modules.shared.sd_upscalers": "list",
    "modules.shared.state.current_image": None,
    "modules.shared.state.interrupted": "bool",
    "modules.shared.state.job": "str",
    "modules.shared.state.job_count": "int",
    "modules.shared.state.job_no": "int",
    "modules.shared.state.sampling_step": "int",
    "modules.shared.state.sampling_steps": "int",
    "modules.shared.state.skipped": "bool",
    "modules.shared.state.stopping_generation": "bool",
}

ONLY_FORGE_CALLABLES = {
    "backend.memory_management.unload_all_models": [],
    "modules.sysinfo.set_config": ["req", "is_api", "run_callbacks", "save_config"],
    "modules_forge.main_thread.async_run": ["func", "args", "kwargs"],
    "modules_forge.main_thread.run_and_wait_result": ["func", "args", "kwargs"],
}
ONLY_FORGE_VALUES = {
    "modules_forge.main_entry.module_list": "dict",
    "modules_forge.main_thread.finished_list": "list",
    "modules_forge.main_thread.last_exception": None,
    "modules_forge.main_thread.lock": "lock",
    "modules_forge.main_thread.waiting_list": "list",
}

NAMES = [*CALLABLES, *VALUES, *ONLY_FORGE_CALLABLES, *ONLY_FORGE_VALUES]

BUTTONS = {"txt2img": "txt2img", "img2img": "img2img", "extras": "run_postprocessing_webui"}
"""Tabs, each with the name of the function behind its Generate button."""

ELEM_IDS = (
    *(f"{tab}_{part}" for tab in BUTTONS for part in ("generate", "interrupt", "skip", "gallery", "gallery_container", "results")),
    *(f"{tab}_{part}" for tab in ("txt2img", "img2img") for part in ("prompt", "neg_prompt", "toprow", "actions_column", "generate_box")),
    *("tabs", "tab_txt2img", "tab_img2img", "tab_extras", "tab_settings", "mode_img2img", "script_list", "paste"),
    *("settings_submit", "settings_restart_gradio", "html_log_txt2img", "html_log_img2img", "generation_info_txt2img"),
)  # fmt: skip

OWN_CONTROLS = {  # a function's parameters and the elem_ids of the controls that fill them
    "txt2img": {
        "prompt": "txt2img_prompt", "negative_prompt": "txt2img_neg_prompt", "prompt_styles": "txt2img_styles",
        "n_iter": "txt2img_batch_count", "batch_size": "txt2img_batch_size", "cfg_scale": "txt2img_cfg_scale",
        "width": "txt2img_width", "height": "txt2img_height", "enable_hr": "txt2img_hr-checkbox",
        "denoising_strength": "txt2img_denoising_strength", "hr_scale": "txt2img_hr_scale", "hr_upscaler": "txt2img_hr_upscaler",
        "override_settings_texts": "txt2img_override_settings",
    },
    "img2img": {
        "prompt": "img2img_prompt", "negative_prompt": "img2img_neg_prompt", "n_iter": "img2img_batch_count",
        "batch_size": "img2img_batch_size", "cfg_scale": "img2img_cfg_scale", "width": "img2img_width",
        "height": "img2img_height", "denoising_strength": "img2img_denoising_strength", "resize_mode": "resize_mode",
        "init_img_inpaint": "img_inpaint_base", "init_mask_inpaint": "img_inpaint_mask", "mask_blur": "img2img_mask_blur",
        "img2img_batch_upload": "img2img_batch_upload", "override_settings_texts": "img2img_override_settings",
    },
}  # fmt: skip

SCRIPT_CONTROLS = {"Sampler": ["steps", "sampling", "scheduler"], "Seed": ["seed", "subseed_show", "subseed"]}
"""Built-in scripts that hold what a person takes for settings of the tab, with the ends of their first elem_ids."""
