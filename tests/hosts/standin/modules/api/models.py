"""What the API takes and gives; runs on pydantic 1 and 2."""

from typing import Any, Dict, List, Optional  # noqa: UP035 (pydantic 1)

from pydantic import BaseModel

# ruff: noqa: UP006, UP045


class Processing(BaseModel):
    prompt: Optional[str] = ""
    negative_prompt: Optional[str] = ""
    styles: Optional[List[str]] = None
    seed: Optional[int] = -1
    subseed: Optional[int] = -1
    subseed_strength: Optional[float] = 0
    sampler_name: Optional[str] = None
    sampler_index: Optional[str] = "Euler"
    scheduler: Optional[str] = None
    batch_size: Optional[int] = 1
    n_iter: Optional[int] = 1
    steps: Optional[int] = 50
    cfg_scale: Optional[float] = 7.0
    width: Optional[int] = 512
    height: Optional[int] = 512
    denoising_strength: Optional[float] = None
    override_settings: Optional[Dict[str, Any]] = None
    override_settings_restore_afterwards: Optional[bool] = True
    script_name: Optional[str] = None
    script_args: Optional[List[Any]] = []
    alwayson_scripts: Optional[Dict[str, Any]] = {}
    force_task_id: Optional[str] = None
    infotext: Optional[str] = None
    send_images: Optional[bool] = True
    save_images: Optional[bool] = False


class StableDiffusionTxt2ImgProcessingAPI(Processing):
    enable_hr: Optional[bool] = False
    hr_upscaler: Optional[str] = None
    hr_scale: Optional[float] = 2.0


class StableDiffusionImg2ImgProcessingAPI(Processing):
    init_images: Optional[List[Any]] = None
    mask: Optional[str] = None
    mask_blur: Optional[int] = None
    resize_mode: Optional[int] = 0
    include_init_images: Optional[bool] = False
    denoising_strength: Optional[float] = 0.75


class TextToImageResponse(BaseModel):
    images: Optional[List[str]] = None
    parameters: Dict[str, Any]
    info: str


class ImageToImageResponse(TextToImageResponse):
    pass


class ExtrasSingleImageRequest(BaseModel):
    image: Optional[str] = ""
    resize_mode: int = 0
    show_extras_results: bool = True
    upscaling_resize: float = 2
    upscaler_1: str = "None"
    upscaler_2: str = "None"


class ExtrasSingleImageResponse(BaseModel):
    html_info: str
    image: Optional[str] = None


class ScriptArg(BaseModel):
    label: Optional[str] = None
    value: Optional[Any] = None


class ScriptInfo(BaseModel):
    name: Optional[str] = None
    is_alwayson: Optional[bool] = None
    is_img2img: Optional[bool] = None
    args: List[ScriptArg]
