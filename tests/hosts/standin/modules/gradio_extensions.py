"""Tells extensions of every component as it is made."""

import gradio as gr

from modules import script_callbacks, scripts


def _announced(original):
    def __init__(self, *args, **kwargs):
        kwargs.pop("tooltip", None)
        if scripts.scripts_current is not None:
            scripts.scripts_current.call("before_component", self, **kwargs)
        script_callbacks.call("before_component", self, **kwargs)
        original(self, *args, **kwargs)
        self.elem_classes = [f"gradio-{self.get_block_name()}", *(getattr(self, "elem_classes", None) or [])]
        script_callbacks.call("after_component", self, **kwargs)
        if scripts.scripts_current is not None:
            scripts.scripts_current.call("after_component", self, **kwargs)

    return __init__


if hasattr(gr, "component_meta"):  # gradio 4.40 would write a .pyi file beside every module that derives a component
    gr.component_meta.create_or_modify_pyi = lambda *_: None


def install():
    base = getattr(gr.components, "IOComponent", None) or gr.components.Component
    base.__init__ = _announced(base.__init__)
    gr.blocks.BlockContext.__init__ = _announced(gr.blocks.BlockContext.__init__)
