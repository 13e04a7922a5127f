"""The part of a WebUI that extensions see as ``modules.*``, small and without a model; see ../README.md."""
