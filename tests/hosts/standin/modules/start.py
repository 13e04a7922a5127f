"""Starting, "Reload UI" and stopping, in the order and in the threads of the hosts."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from modules import gradio_extensions, paths, progress, script_callbacks, scripts, sd_models, sd_samplers, shared, ui
from modules.call_queue import queue_lock
from modules.flavour import FORGE
from modules.shared_cmd_options import cmd_opts

HOST = "0.0.0.0" if cmd_opts.listen else cmd_opts.server_name or "127.0.0.1"
ROOT = f"/{cmd_opts.subpath}" if cmd_opts.subpath else ""


class AnyThread(asyncio.DefaultEventLoopPolicy):
    """Both hosts give every thread an event loop; gradio 4.40 builds its queue on the one of Forge's worker thread."""

    def get_event_loop(self):
        try:
            return super().get_event_loop()
        except (RuntimeError, AssertionError):
            self.set_event_loop(self.new_event_loop())
            return super().get_event_loop()


def prepare():
    """All that happens before the page is built: installers, then scripts."""
    if not FORGE:  # Ctrl+C ends everything at once
        signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    if not (cmd_opts.skip_prepare_environment or cmd_opts.skip_install):
        install_extensions()
    asyncio.set_event_loop_policy(AnyThread())
    gradio_extensions.install()
    initialize()
    sd_models.reload_model_weights() if sd_models.checkpoints_list and not FORGE else None


def install_extensions():
    for folder in scripts.active_extensions():
        installer = os.path.join(folder, "install.py")
        if os.path.isfile(installer):
            done = subprocess.run(
                [sys.executable, installer],
                cwd=paths.script_path,
                env={**os.environ, "PYTHONPATH": paths.script_path},
                capture_output=True,
                text=True,
                check=False,
            )
            print(done.stdout, done.stderr, end="")


def initialize():
    """Also at each "Reload UI"."""
    sd_samplers.set_samplers()
    sd_models.list_models()
    scripts.load_scripts()


def run():
    api_only() if cmd_opts.nowebui else webui()


def create_api(app):
    from modules.api.api import Api

    return Api(app, queue_lock)


def setup_middleware(app):
    if FORGE:  # the stack exists already: gradio 4 has asked itself
        app.user_middleware.insert(0, Middleware(GZipMiddleware, minimum_size=1000))
        app.build_middleware_stack()
    else:
        app.middleware_stack = None
        app.add_middleware(GZipMiddleware, minimum_size=1000)
        app.build_middleware_stack()


def api_only():
    from fastapi import FastAPI

    app = FastAPI()
    setup_middleware(app)
    api = create_api(app)
    script_callbacks.call("before_ui")
    script_callbacks.call("app_started", None, app)
    print("Startup time: 0.0s.", flush=True)
    api.launch(HOST, cmd_opts.port, ROOT)


def webui():
    while True:
        script_callbacks.call("before_ui")
        shared.demo = ui.create_ui()
        if not cmd_opts.no_gradio_queue:
            shared.demo.queue(64)
        users = [tuple(pair.split(":", 1)) for pair in (cmd_opts.gradio_auth or "").split(",") if pair]
        app, _, _ = shared.demo.launch(
            server_name=HOST,
            server_port=cmd_opts.port,
            ssl_keyfile=cmd_opts.tls_keyfile,
            ssl_certfile=cmd_opts.tls_certfile,
            ssl_verify=False,
            auth=users or None,
            prevent_thread_lock=True,
            allowed_paths=ui.ALLOWED,
            root_path=ROOT,
            quiet=True,
            app_kwargs={"docs_url": "/docs", "redoc_url": "/redoc"},
        )
        # it listens, and may be asked from here on
        app.user_middleware = [item for item in app.user_middleware if item.cls.__name__ != "CORSMiddleware"]
        setup_middleware(app)
        progress.setup_progress_api(app)
        ui.setup_ui_api(app)
        if cmd_opts.api:
            create_api(app)
        script_callbacks.call("app_started", shared.demo, app)
        print("Startup time: 0.0s.", flush=True)
        if wait_for_command() == "stop":
            shared.demo.close()
            break
        print("Restarting UI...", flush=True)
        shared.demo.close()
        time.sleep(0.5)
        script_callbacks.call("before_reload")
        script_callbacks.call("script_unloaded")
        initialize()


def wait_for_command():
    while True:
        try:
            command = shared.state.wait_for_server_command(timeout=5)
        except KeyboardInterrupt:
            return "stop"
        if command in ("stop", "restart"):
            return command


assert gr.__version__.startswith("4." if FORGE else "3."), f"this stand-in wants another gradio than {gr.__version__}"
