"""Forge's list of VAEs and text encoders."""

module_list = {"standin-vae.safetensors": "standin-vae.safetensors"}
