"""The section *Queue* of the WebUI's settings page, made of what ``queue_ext.settings`` says about each setting."""

import logging
import os
from collections.abc import Callable
from typing import Any

from .. import settings
from ..errors import InvalidSetting
from ..settings import Settings
from . import host

log = logging.getLogger(__name__)

SECTION = ("queue", "Queue")
KEY = "queue_ext_"  # what the WebUI calls our settings in its config.json: queue_ext_<name>
LIVE = (
    "visibility", "admins", "fair_share", "max_waiting", "max_waiting_per_owner", "quota_per_day", "retry_attempts",
    "retry_delay_s", "retry_delay_max_s", "timeout_s", "pause_on_oom", "preview_fps", "shutdown_timeout_s",
)  # fmt: skip
"""Applied as soon as they are saved."""
AT_START = (
    "queues",
    "retention_days",
    "history_size",
    "max_payload_mb",
    "data_dir",
    "cors_allowed_origins",
    "webhook_hosts",
    "worker",
)
"""Read when the queue starts. Addresses of databases hold passwords, which this page would show to everybody."""
WITH_LOGIN = (
    "visibility",
    "admins",
    "max_waiting",
    "max_waiting_per_owner",
    "quota_per_day",
    "data_dir",
    "cors_allowed_origins",
    "webhook_hosts",
)
"""With a login these are left to the command line: the host's settings page is everybody's, admin or not."""
AUTOMATIC = "automatic"
CHOICES = {"visibility": [AUTOMATIC, "private", "shared"]}
SWITCHES = ("fair_share", "pause_on_oom", "worker")
LABELS = {
    "visibility": "Who sees and manages which jobs", "admins": "Admins", "fair_share": "Owners take turns",
    "max_waiting": "Most jobs that may wait", "max_waiting_per_owner": "Most jobs of one owner that may wait",
    "quota_per_day": "Most jobs of one owner in a day", "retry_attempts": "Retries of a failed job",
    "retry_delay_s": "Wait before the first retry (s)", "retry_delay_max_s": "Longest wait before a retry (s)",
    "timeout_s": "Longest a job may run (s)", "pause_on_oom": "Pause a queue that runs out of memory",
    "preview_fps": "Live previews a second", "shutdown_timeout_s": "Wait for the running job when stopping (s)",
    "queues": "Queues that are run here", "retention_days": "Days that finished jobs are kept",
    "history_size": "Most finished jobs that are kept",
    "max_payload_mb": "Largest request (MB)", "data_dir": "Folder for the queue's data",
    "cors_allowed_origins": "Other sites that may use the queue", "webhook_hosts": "Hosts that webhooks may be sent to",
    "worker": "Run jobs in this WebUI",
}  # fmt: skip


def add_options(apply: Callable[[str], None]) -> None:
    """Show the settings on the page; called inside ``on_ui_settings``. ``apply(name)`` hears of each change."""
    facts = {fact["name"]: fact for fact in settings.describe()}
    for name in offered():
        host.options().add_option(KEY + name, _option(facts[name], apply))


def offered() -> list[str]:
    """The settings that the page shows."""
    return [name for name in (*LIVE, *AT_START) if not (host.login_expected() and name in WITH_LOGIN)]


def _option(fact: dict[str, str], apply: Callable[[str], None]) -> Any:
    name = fact["name"]
    component, arguments = _component(name)
    option = host.module("options").OptionInfo(
        _default(fact), LABELS[name], component, arguments, onchange=lambda: apply(name), section=SECTION
    )
    if hint := _hint(fact):
        option.info(hint)
    if name in AT_START:
        option.html(" <span class='info'>(takes effect at “Reload UI”)</span>")
    return option


def _hint(fact: dict[str, str]) -> str:
    """What the label and the control do not say already."""
    name, fixed = fact["name"], fixed_by(fact["name"])
    told = [fact["meaning"].removeprefix(LABELS[name]).lstrip(".; ")]
    if name not in CHOICES and name not in SWITCHES:
        told.append(fact["allowed"] + ".")
    if name == "data_dir":
        told.append(f"empty: {host.data_path() / 'queue'}.")
    if fixed:
        told.append(f"fixed by {fixed}.")
    return " ".join(text[0].upper() + text[1:] for text in told if text)


def _component(name: str) -> tuple[Any, dict[str, Any]]:
    import gradio as gr

    if name in CHOICES:
        return gr.Radio, {"choices": CHOICES[name]}
    return (gr.Checkbox if name in SWITCHES else gr.Textbox), {}


def _default(fact: dict[str, str]) -> "str | bool":
    name, default = fact["name"], fact["default"]
    if name in SWITCHES:
        return default == "on"
    if name in CHOICES:
        return AUTOMATIC
    if name == "data_dir":
        return ""
    return "" if default == "none" else default


def text_of(name: str) -> str | None:
    """What the page says of a setting, written as the command line would; None where it says nothing."""
    value = getattr(host.options(), KEY + name, None)
    if isinstance(value, bool):
        return "on" if value else "off"
    text = "" if value is None else str(value).strip()
    if name in CHOICES and text == AUTOMATIC:
        return "off"
    return text or None


def fixed_by(name: str) -> str | None:
    """Where else a setting is given, so that the page has no say in it."""
    if getattr(host.command_line(), f"queue_{name}", None) is not None:
        return f"--queue-{name.replace('_', '-')} on the command line"
    variable = settings.PREFIX + name.upper()
    return f"the environment variable {variable}" if variable in os.environ else None


def read(base: Settings) -> Settings:
    """``base`` under what the page, the environment and the command line say, each winning over the one before.

    A bad value on the page is reported and left out, since it must not keep the page from coming up; one in the
    environment or on the command line raises InvalidSetting.
    """
    chosen = base
    for name in offered():
        text = text_of(name)
        if text is None or fixed_by(name):
            continue
        try:
            chosen = settings.with_texts(chosen, {name: text})
        except InvalidSetting as error:
            log.warning("the settings page's section Queue: %s", error.detail)
    return settings.from_arguments(host.command_line(), settings.from_environment(base=chosen))


def apply(name: str, running: Settings) -> None:
    """Bring a setting saved on the page into effect. Raises InvalidSetting, and the WebUI keeps the old one."""
    text = text_of(name)
    value = getattr(Settings(), name) if text is None else settings.parse(name, text)
    if name in LIVE and not fixed_by(name):
        running.change(**{name: value})
