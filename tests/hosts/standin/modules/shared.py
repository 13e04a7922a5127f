"""What everybody shares: the command line, settings, state, and lists of names."""

import os
from types import SimpleNamespace

from modules.options import OptionInfo, Options, options_section  # noqa: F401
from modules.paths import data_path
from modules.shared_cmd_options import cmd_opts  # noqa: F401
from modules.shared_state import State

config_filename = os.path.join(data_path, "config.json")
demo = None
sd_model = None
sd_upscalers = [SimpleNamespace(name=name, model_name=None, data_path=None) for name in ("None", "Lanczos", "Nearest")]
latent_upscale_modes = {name: {} for name in ("Latent", "Latent (antialiased)", "Latent (nearest)")}
latent_upscale_default_mode = "Latent"


class Styles:
    def __init__(self):
        self.styles = {"Ink": ("ink drawing of {prompt}", "")}


prompt_styles = Styles()
total_tqdm = SimpleNamespace(clear=lambda: None)
OUTPUTS = os.path.join(data_path, "outputs")

opts = Options(
    {
        "outdir_samples": OptionInfo("", "Output directory", section=("saving-paths", "Paths for saving")),
        "outdir_txt2img_samples": OptionInfo(
            os.path.join(OUTPUTS, "txt2img-images"), section=("saving-paths", "Paths for saving")
        ),
        "outdir_img2img_samples": OptionInfo(
            os.path.join(OUTPUTS, "img2img-images"), section=("saving-paths", "Paths for saving")
        ),
        "outdir_extras_samples": OptionInfo(
            os.path.join(OUTPUTS, "extras-images"), section=("saving-paths", "Paths for saving")
        ),
        "outdir_txt2img_grids": OptionInfo(
            os.path.join(OUTPUTS, "txt2img-grids"), section=("saving-paths", "Paths for saving")
        ),
        "outdir_img2img_grids": OptionInfo(
            os.path.join(OUTPUTS, "img2img-grids"), section=("saving-paths", "Paths for saving")
        ),
        "samples_save": OptionInfo(
            True, "Always save all generated images", section=("saving-images", "Saving images/grids")
        ),
        "samples_format": OptionInfo("png", "File format for images", section=("saving-images", "Saving images/grids")),
        "return_grid": OptionInfo(True, "Show grid in results", section=("saving-images", "Saving images/grids")),
        "sd_model_checkpoint": OptionInfo(None, "Stable Diffusion checkpoint", section=("sd", "Stable Diffusion")),
        "sd_vae": OptionInfo("Automatic", "SD VAE", section=("sd", "Stable Diffusion")),
        "forge_additional_modules": OptionInfo([], "VAE / Text Encoder", section=("sd", "Stable Diffusion")),
        "CLIP_stop_at_last_layers": OptionInfo(1, "Clip skip", section=("sd", "Stable Diffusion")),
        "interrupt_after_current": OptionInfo(True, "Don't Interrupt in the middle", section=("ui", "User interface")),
        "compact_prompt_box": OptionInfo(False, "Compact prompt layout", section=("ui", "User interface")),
        "live_previews_enable": OptionInfo(True, "Show live previews", section=("ui", "Live previews")),
    }
)
opts.load(config_filename)
state = State()
