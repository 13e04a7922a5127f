"""Infotext into controls: the "send to" buttons, and settings that a request overrides."""

import json
import re
from dataclasses import dataclass, field

import gradio as gr
from PIL import Image

from modules.flavour import JS

SETTINGS = {
    "Clip skip": ("CLIP_stop_at_last_layers", int),
    "Model hash": ("sd_model_checkpoint", str),
    "VAE": ("sd_vae", str),
}
PARAMETER = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
SIZE = re.compile(r"^(\d+)x(\d+)$")

paste_fields = {}
registered_param_bindings = []


class PasteField(tuple):
    def __new__(cls, component, target, *, api=None):
        return super().__new__(cls, (component, target))

    def __init__(self, component, target, *, api=None):
        super().__init__()
        self.component, self.api = component, api
        self.label = target if isinstance(target, str) else None
        self.function = target if callable(target) else None


@dataclass
class ParamBinding:
    paste_button: gr.Button
    tabname: str
    source_text_component: object = None
    source_image_component: object = None
    source_tabname: str = None
    override_settings_component: object = None
    paste_field_names: list = field(default_factory=list)


def reset():
    paste_fields.clear()
    registered_param_bindings.clear()


def add_paste_fields(tabname, init_img, fields, override_settings_component=None):
    fields = fields and [item if isinstance(item, PasteField) else PasteField(*item) for item in fields]
    paste_fields[tabname] = {
        "init_img": init_img,
        "fields": fields,
        "override_settings_component": override_settings_component,
    }


def create_buttons(tabs_list):
    return {tab: gr.Button(f"Send to {tab}", elem_id=f"{tab}_tab") for tab in tabs_list}


def register_paste_params_button(binding):
    registered_param_bindings.append(binding)


def connect_paste_params_buttons():
    """Once, when all tabs are complete; who registers later is never connected."""
    for binding in registered_param_bindings:
        target = paste_fields[binding.tabname]
        if binding.source_image_component is not None and target["init_img"] is not None:
            binding.paste_button.click(
                lambda image: image, [binding.source_image_component], [target["init_img"]], show_progress=False
            )
        if binding.source_text_component is not None and target["fields"]:
            _connect_text(binding.paste_button, target["fields"], binding.source_text_component)
        binding.paste_button.click(None, None, None, show_progress=False, **{JS: f"switch_to_{binding.tabname}"})


def _connect_text(button, fields, source):
    def paste_func(text):
        found = parse_generation_parameters(text)
        values = [item.function(found) if item.function else found.get(item.label) for item in fields]
        return [
            gr.update() if value is None else gr.update(value=_as(item.component.value, value))
            for item, value in zip(fields, values, strict=True)
        ]

    button.click(paste_func, [source], [item.component for item in fields], show_progress=False)


def _as(model, value):
    return type(model)(float(value)) if isinstance(model, (int, float)) and not isinstance(model, bool) else value


def parse_generation_parameters(x, skip_fields=None):
    *lines, last = x.strip().split("\n")
    found = {}
    for name, value in PARAMETER.findall(last) if len(PARAMETER.findall(last)) >= 3 else ():
        value = json.loads(value) if value.startswith('"') else value.strip()
        size = SIZE.match(value)
        found.update({f"{name}-1": size[1], f"{name}-2": size[2]} if size else {name: value})
    text = "\n".join(lines if found else [*lines, last])
    prompt, _, negative = text.partition("\nNegative prompt: ")
    return {"Prompt": prompt, "Negative prompt": negative, "Clip skip": "1", **found}


def create_override_settings_dict(text_pairs):
    found = {}
    for pair in text_pairs or ():
        name, _, value = pair.partition(":")
        if name.strip() in SETTINGS:
            key, kind = SETTINGS[name.strip()]
            found[key] = kind(value.strip())
    return found


def image_from_url_text(filedata):
    return filedata if isinstance(filedata, Image.Image) else None
