"""The command line: what concerns extensions is kept, what concerns a graphics card is let pass."""

import argparse
import importlib.util
import os
import sys

parser = argparse.ArgumentParser(allow_abbrev=False)
for name in (
    "--data-dir",
    "--ckpt-dir",
    "--api-auth",
    "--gradio-auth",
    "--gradio-auth-path",
    "--subpath",
    "--server-name",
    "--tls-keyfile",
    "--tls-certfile",
    "--freeze-settings-in-sections",
    "--freeze-specific-settings",
    "--cors-allow-origins",
):
    parser.add_argument(name)
for name in (
    "--api",
    "--nowebui",
    "--listen",
    "--freeze-settings",
    "--no-gradio-queue",
    "--skip-prepare-environment",
    "--skip-install",
    "--hide-ui-dir-config",
    "--api-log",
):
    parser.add_argument(name, action="store_true")
parser.add_argument("--port", type=int, default=7860)


def _preload(folder):
    """Let each extension add its own options."""
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name, "preload.py")
        if os.path.isfile(path):
            spec = importlib.util.spec_from_file_location(f"preload_{name}", path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            if hasattr(module, "preload"):
                module.preload(parser)


_known, _ = parser.parse_known_args()
_preload(os.path.join(_known.data_dir or os.path.dirname(os.path.abspath(sys.argv[0])), "extensions"))
cmd_opts, _ = parser.parse_known_args()
