"""A persistent queue for the Stable Diffusion WebUI."""

__version__ = "0.1.0"
