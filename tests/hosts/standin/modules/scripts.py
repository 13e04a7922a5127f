"""Finds and executes the scripts of extensions, and puts their controls among the inputs of a Generate button.

Input 0 is the index of the selected script; each script owns ``inputs[args_from:args_to]``.
"""

import importlib.util
import inspect
import os
import re
import sys
from collections import namedtuple

import gradio as gr

from modules import errors, paths, script_callbacks, scripts_postprocessing

AlwaysVisible = object()
OnComponent = namedtuple("OnComponent", "component")
ScriptFile = namedtuple("ScriptFile", "basedir filename path")
ScriptClassData = namedtuple("ScriptClassData", "script_class path basedir module")
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

scripts_data = []
postprocessing_scripts_data = []
scripts_txt2img = scripts_img2img = scripts_postproc = scripts_current = None
current_basedir = paths.script_path


class PostprocessImageArgs:
    def __init__(self, image, index=0):
        self.image, self.index = image, index


class Script:
    name = section = filename = group = controls = api_info = infotext_fields = paste_field_names = None
    args_from = args_to = 0
    alwayson = is_txt2img = is_img2img = False
    create_group = True
    setup_for_ui_only = False
    tabname = ""

    def title(self):
        raise NotImplementedError

    def show(self, is_img2img):
        return True

    def ui(self, is_img2img):
        pass

    def run(self, p, *args):
        pass

    def setup(self, p, *args):
        pass

    def elem_id(self, item_id):
        title = re.sub(r"[^a-z_0-9]", "", re.sub(r"\s", "_", self.title().lower()))
        return f"script_{self._tab()}{title}_{item_id}"

    def _tab(self):
        """Only what is on both tabs needs to say on which it is."""
        return f"{'img2img' if self.is_img2img else 'txt2img'}_" if self.show(True) == self.show(False) else ""

    def on_after_component(self, callback, *, elem_id):
        self.__dict__.setdefault("_after", []).append((elem_id, callback))

    def before_component(self, component, **kwargs):
        pass

    def after_component(self, component, **kwargs):
        for elem_id, callback in self.__dict__.get("_after", ()):
            if elem_id == kwargs.get("elem_id"):
                callback(OnComponent(component))


class ScriptBuiltinUI(Script):
    setup_for_ui_only = True

    def elem_id(self, item_id):
        return f"{self._tab()}{item_id}"

    def show(self, is_img2img):
        return AlwaysVisible


def basedir():
    """The folder of the extension whose script is being executed."""
    return current_basedir


# --- finding and executing ---------------------------------------------------------------------------------------


def active_extensions():
    folder = paths.extensions_dir
    found = sorted(os.listdir(folder)) if os.path.isdir(folder) else ()
    return [os.path.join(folder, name) for name in found if os.path.isdir(os.path.join(folder, name))]


def list_scripts(scriptdirname, extension, *, include_extensions=True):
    places = [
        (paths.script_path, scriptdirname),
        (HERE, f"modules/{scriptdirname}" if scriptdirname == "processing_scripts" else scriptdirname),
    ]
    places += [(folder, scriptdirname) for folder in active_extensions()] if include_extensions else []
    found = []
    for base, name in places:
        folder = os.path.join(base, name)
        for file in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            if os.path.splitext(file)[1] == extension:
                found.append(ScriptFile(base, file, os.path.join(folder, file)))
    return found


def list_files_with_name(filename):
    return [path for folder in (HERE, *active_extensions()) if os.path.isfile(path := os.path.join(folder, filename))]


def load_scripts():
    """Executes every script anew; nothing of it is in ``sys.modules``."""
    global current_basedir, scripts_txt2img, scripts_img2img, scripts_postproc
    scripts_data.clear()
    postprocessing_scripts_data.clear()
    script_callbacks.clear_callbacks()
    path = sys.path
    for file in [*list_scripts("scripts", ".py"), *list_scripts("processing_scripts", ".py", include_extensions=False)]:
        try:
            sys.path = [file.basedir, *path]
            current_basedir = file.basedir
            _register(file, _execute(file.path))
        except Exception:
            errors.report(f"Error loading script: {file.filename}", exc_info=True)
        finally:
            sys.path = path
            current_basedir = paths.script_path
    scripts_txt2img, scripts_img2img = ScriptRunner(), ScriptRunner()
    scripts_postproc = scripts_postprocessing.ScriptPostprocessingRunner()


def _execute(path):
    spec = importlib.util.spec_from_file_location(os.path.basename(path), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _register(file, module):
    for found in vars(module).values():
        if inspect.isclass(found) and issubclass(found, Script):
            scripts_data.append(ScriptClassData(found, file.path, file.basedir, module))


# --- running -----------------------------------------------------------------------------------------------------


class ScriptRunner:
    def __init__(self):
        self.scripts, self.selectable_scripts, self.alwayson_scripts, self.titles = [], [], [], []
        self.infotext_fields, self.paste_field_names, self.inputs = [], [], [None]

    def initialize_scripts(self, is_img2img):
        for scripts in (self.scripts, self.selectable_scripts, self.alwayson_scripts):
            scripts.clear()
        for data in scripts_data:
            if data.script_class.title is Script.title:
                continue
            script = data.script_class()
            script.filename = data.path
            script.is_txt2img, script.is_img2img = not is_img2img, is_img2img
            script.tabname = "img2img" if is_img2img else "txt2img"
            visible = script.show(is_img2img)
            if visible:
                script.alwayson = visible is AlwaysVisible
                self.scripts.append(script)
                (self.alwayson_scripts if script.alwayson else self.selectable_scripts).append(script)

    def prepare_ui(self):
        self.inputs = [None]

    def setup_ui_for_section(self, section, scriptlist=None):
        for script in self.alwayson_scripts if scriptlist is None else scriptlist:
            if script.alwayson and script.section != section:
                continue
            if script.create_group:
                with gr.Group(visible=script.alwayson) as script.group:
                    self._build(script)
            else:
                self._build(script)

    def setup_ui(self):
        self.titles = [script.title() for script in self.selectable_scripts]
        self.setup_ui_for_section(None)
        self.inputs[0] = dropdown = gr.Dropdown(
            label="Script", elem_id="script_list", choices=["None", *self.titles], value="None", type="index"
        )
        self.setup_ui_for_section(None, self.selectable_scripts)

        def chosen(index):
            return [gr.update(visible=number == (index or 0)) for number in range(1, len(self.titles) + 1)]

        dropdown.change(chosen, [dropdown], [script.group for script in self.selectable_scripts])
        return self.inputs

    def _build(self, script):
        from modules.api import models

        script.args_from = script.args_to = len(self.inputs)
        controls = script.controls = script.ui(script.is_img2img)
        if controls is None:
            return
        script.name = script.title().lower()
        script.api_info = models.ScriptInfo(
            name=script.name,
            is_alwayson=script.alwayson,
            is_img2img=script.is_img2img,
            args=[models.ScriptArg(label=control.label or "") for control in controls],
        )
        self.infotext_fields += script.infotext_fields or []
        self.inputs += controls
        script.args_to = len(self.inputs)

    def run(self, p, *args):
        """None when no script is selected, or when it leaves the pictures to others."""
        if not args[0]:
            return None
        script = self.selectable_scripts[args[0] - 1]
        return script.run(p, *args[script.args_from : script.args_to])

    def call(self, hook, first, *args, **kwargs):
        """A hook of the always-on scripts with their own arguments, as ``process``; what one raises is only printed."""
        for script in self.scripts if hook.endswith("_component") else self.alwayson_scripts:
            method = getattr(script, hook, None)
            if method is None:
                continue
            own = () if hook.endswith("_component") else first.script_args[script.args_from : script.args_to]
            try:
                method(first, *args, *own, **kwargs)
            except Exception:
                errors.report(f"Error running {hook}: {script.filename}", exc_info=True)

    def setup(self, p):
        for script in self.alwayson_scripts:
            if not (p.is_api and script.setup_for_ui_only):
                script.setup(p, *p.script_args[script.args_from : script.args_to])
