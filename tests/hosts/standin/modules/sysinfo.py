"""Forge changes settings for a request through this."""

from modules.flavour import FORGE

if FORGE:

    def set_config(req, is_api=False, run_callbacks=True, save_config=True):
        from modules import sd_models, shared

        for key, value in req.items():
            if key == "sd_model_checkpoint":
                if value is not None and value not in sd_models.checkpoint_aliases:
                    raise RuntimeError(f"model {value!r} not found")
                shared.opts.data[key] = sd_models.checkpoint_aliases[value].title if value else value
            else:
                shared.opts.set(key, value, is_api=is_api, run_callbacks=run_callbacks)
        if save_config:
            shared.opts.save(shared.config_filename)
