"""Settings: described by OptionInfo, kept in Options."""

import json
import os

from modules import errors
from modules.shared_cmd_options import cmd_opts


class OptionInfo:
    def __init__(
        self,
        default=None,
        label="",
        component=None,
        component_args=None,
        onchange=None,
        section=None,
        refresh=None,
        comment_before="",
        comment_after="",
        infotext=None,
        restrict_api=False,
        category_id=None,
    ):
        self.default, self.label = default, label
        self.component, self.component_args = component, component_args
        self.onchange, self.section, self.refresh = onchange, section, refresh
        self.comment_before, self.comment_after = comment_before, comment_after
        self.infotext, self.restrict_api, self.category_id = infotext, restrict_api, category_id
        self.do_not_save = False

    def link(self, label, url):
        return self._before(f"[<a href='{url}' target='_blank'>{label}</a>]")

    def info(self, text):
        return self.html(f"<span class='info'>({text})</span>")

    def html(self, text):
        self.comment_after += text
        return self

    def needs_restart(self):
        return self.html(" <span class='info'>(requires restart)</span>")

    def needs_reload_ui(self):
        return self.html(" <span class='info'>(requires Reload UI)</span>")

    def _before(self, text):
        self.comment_before += text
        return self


def options_section(section_identifier, options_dict):
    for option in options_dict.values():
        option.section = tuple(section_identifier[:2])
        option.category_id = section_identifier[2] if len(section_identifier) > 2 else None
    return options_dict


OWN = ("data", "data_labels", "restricted_opts")


class Options:
    def __init__(self, data_labels, restricted_opts=()):
        self.data_labels = data_labels
        self.data = {key: option.default for key, option in data_labels.items() if not option.do_not_save}
        self.restricted_opts = set(restricted_opts)

    def __setattr__(self, key, value):
        if key in OWN:
            return super().__setattr__(key, value)
        if key not in self.data and key not in self.data_labels:
            return super().__setattr__(key, value)
        assert not cmd_opts.freeze_settings, "changing settings is disabled"
        arguments = getattr(self.data_labels.get(key), "component_args", None)
        if isinstance(arguments, dict) and arguments.get("visible", True) is False:
            raise RuntimeError(f"not possible to set '{key}' because it is restricted")
        self.data[key] = value

    def __getattr__(self, key):
        if key not in OWN:
            if key in self.data:
                return self.data[key]
            if key in self.data_labels:
                return self.data_labels[key].default
        raise AttributeError(key)

    def set(self, key, value, is_api=False, run_callbacks=True):
        """Whether it was changed; when its onchange raises it is not."""
        before, option = self.data.get(key), self.data_labels[key]
        if before == value or option.do_not_save or (is_api and option.restrict_api):
            return False
        try:
            setattr(self, key, value)
        except RuntimeError:
            return False
        if run_callbacks and option.onchange is not None:
            try:
                option.onchange()
            except Exception as error:
                errors.display(error, f"changing setting {key} to {value}")
                setattr(self, key, before)
                return False
        return True

    def get_default(self, key):
        option = self.data_labels.get(key)
        return None if option is None else option.default

    def add_option(self, key, info):
        self.data_labels[key] = info
        if key not in self.data and not info.do_not_save:
            self.data[key] = info.default

    def onchange(self, key, func, call=True):
        self.data_labels[key].onchange = func
        if call:
            func()

    def save(self, filename):
        assert not cmd_opts.freeze_settings, "saving settings is disabled"
        with open(filename, "w", encoding="utf8") as file:
            json.dump(self.data, file, indent=4)

    def load(self, filename):
        if os.path.exists(filename):
            with open(filename, encoding="utf8") as file:
                self.data = json.load(file)

    def dumpjson(self):
        return json.dumps({key: self.data.get(key, option.default) for key, option in self.data_labels.items()})
