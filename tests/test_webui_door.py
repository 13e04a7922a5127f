"""What a host is asked at the door: its lists, its users, its settings; and coming and going with its page."""

import base64
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from queue_ext.errors import InvalidRequest, InvalidSetting, NotAuthenticated
from queue_ext.identity import Visitor
from queue_ext.settings import Settings

from .support import until
from .webui_standin import StandIn, installed


@pytest.fixture
def host(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    yield from installed(False, tmp_path, monkeypatch)


# --- checks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loc", "change", "said"),
    [
        (["sampler_name"], {"sampler_name": "Eular a"}, "nearest: Euler a, Euler"),
        (["sampler_index"], {"sampler_index": "euler"}, "nearest: Euler"),
        (["scheduler"], {"scheduler": "Karas"}, "nearest: karras"),
        (
            ["override_settings", "sd_model_checkpoint"],
            {"override_settings": {"sd_model_checkpoint": "tiny-c"}},
            "nearest: tiny-",
        ),
        (["override_settings", "sd_vae"], {"override_settings": {"sd_vae": "bad"}}, "is not a setting"),
        (
            ["override_settings", "clip_stop"],
            {"override_settings": {"clip_stop": 2}},
            "nearest: CLIP_stop_at_last_layers",
        ),
        (
            ["override_settings", "CLIP_stop_at_last_layers"],
            {"override_settings": {"CLIP_stop_at_last_layers": "two"}},
            "type",
        ),
        (["refiner_checkpoint"], {"refiner_checkpoint": "nope"}, "there are tiny-a, tiny-b"),
        (["hr_upscaler"], {"enable_hr": True, "hr_upscaler": "Latnt"}, "nearest: Latent"),
        (["hr_sampler_name"], {"enable_hr": True, "hr_sampler_name": "Use same sampler"}, "sampler"),
        (["script_name"], {"script_name": "xyz plot"}, "nearest: x/y/z plot"),
        (["script_args"], {"script_name": "x/y/z plot", "script_args": [1]}, "the 3 values of x/y/z plot, not 1"),
        (["script_args"], {"script_args": [1]}, "no script_name"),
        (["alwayson_scripts", "contrlnet"], {"alwayson_scripts": {"contrlnet": {}}}, "nearest: controlnet"),
        (
            ["alwayson_scripts", "controlnet", "args"],
            {"alwayson_scripts": {"controlnet": {"args": [1] * 5}}},
            "at most the 4",
        ),
        (["styles", 0], {"styles": ["scetch"]}, "nearest: sketch"),
        (["cfg_scale"], {"cfg_scale": "much"}, ""),
    ],
)
def test_what_the_host_does_not_have_is_refused_with_the_nearest_names(
    host: StandIn, loc: list[Any], change: Any, said: str
) -> None:
    from queue_ext.webui import checks

    with pytest.raises(InvalidRequest) as refused:
        checks.check("txt2img", change)
    fault = next(fault for fault in refused.value.errors if fault["loc"] == ["payload", *loc])
    assert said in fault["msg"]


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"sampler_name": "DPM++ 2M Karras", "scheduler": None},
        {"sampler_name": "", "sampler_index": "Euler", "scheduler": "Karras"},
        {"override_settings": {"sd_model_checkpoint": "tiny-b", "CLIP_stop_at_last_layers": 2}},
        {"script_name": "X/Y/Z plot", "script_args": [1, 2, 3], "alwayson_scripts": {"ControlNet": {"args": [1]}}},
        {"hr_upscaler": "whatever, hires fix is off", "refiner_checkpoint": "None", "styles": ["sketch"]},
    ],
)
def test_what_the_host_runs_is_accepted(host: StandIn, payload: dict[str, Any]) -> None:
    from queue_ext.webui import checks

    checks.check("txt2img", payload)


def test_frozen_settings_are_said(host: StandIn) -> None:
    from queue_ext.webui import checks

    host.command_line.freeze_settings = True
    with pytest.raises(InvalidRequest, match="freeze-settings"):
        checks.check("txt2img", {"override_settings": {"CLIP_stop_at_last_layers": 2}})


def test_an_upscaler_is_looked_up(host: StandIn) -> None:
    from queue_ext.webui import checks

    checks.check("extras", {"image": "x", "upscaler_1": "Lanczos", "upscaler_2": "None"})
    with pytest.raises(InvalidRequest, match="nearest: Lanczos"):
        checks.check("extras", {"image": "x", "upscaler_1": "Lanzos"})


# --- login -----------------------------------------------------------------------------------------------------------


def visitor(cookies: Any = None, basic: "str | None" = None) -> Visitor:
    headers = {} if basic is None else {"authorization": "Basic " + base64.b64encode(basic.encode()).decode()}
    return Visitor(headers, cookies or {})


def test_without_a_login_nobody_is_asked(host: StandIn) -> None:
    from queue_ext.webui.login import Login

    login = Login(host.app)
    assert not login.required() and login.user(visitor()) is None
    assert login.user(visitor(basic="somebody:else")) is None


@pytest.mark.parametrize("cookie", ["access-token", "access-token-unsecure"])
@pytest.mark.parametrize("suffix", [None, "abc"])
def test_the_pages_login_is_known_by_its_cookie(host: StandIn, cookie: str, suffix: "str | None") -> None:
    from queue_ext.webui.login import Login

    host.app.auth, host.app.tokens = {"ann": "secret"}, {"token": "ann"}
    if suffix:
        host.app.cookie_id = suffix
    login = Login(host.app)
    name = f"{cookie}-{suffix}" if suffix else cookie
    assert login.required() and login.user(visitor({name: "token"})) == "ann"
    for wrong in (
        visitor(),
        visitor({name: "other"}),
        visitor({"access-token-old": "token"}),
        visitor(basic="ann:secret"),
    ):
        with pytest.raises(NotAuthenticated):
            login.user(wrong)


def test_the_apis_login_is_known_by_its_password(host: StandIn) -> None:
    from queue_ext.webui.login import Login

    host.command_line.api_auth = "bob:pass:word,carol:x"
    login = Login(host.app)
    assert login.user(visitor(basic="bob:pass:word")) == "bob" and login.user(visitor(basic="carol:x")) == "carol"
    for wrong in ("bob:x", "carol:", "dave:x", "bob", ""):
        with pytest.raises(NotAuthenticated):
            login.user(visitor(basic=wrong))
    with pytest.raises(NotAuthenticated, match="api-auth"):
        login.user(visitor())
    with pytest.raises(NotAuthenticated):
        login.user(Visitor({"authorization": "Basic %%%"}, {}))


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.fixture
def page(host: StandIn, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The settings page, with the values of a running queue behind it."""
    from queue_ext.webui import settings_page

    monkeypatch.setattr(settings_page, "_component", lambda name: (None, {}))
    running = Settings()
    settings_page.add_options(lambda name: settings_page.apply(name, running))
    return running


def test_a_saved_setting_is_applied_at_once(host: StandIn, page: Settings) -> None:
    assert host.options.set("queue_ext_retry_attempts", "7") and page.retry_attempts == 7
    assert host.options.set("queue_ext_visibility", "private") and page.visibility == "private"
    assert host.options.set("queue_ext_visibility", "automatic") and page.visibility is None
    assert host.options.set("queue_ext_timeout_s", "off") and page.timeout_s is None
    assert host.options.set("queue_ext_fair_share", False) and page.fair_share is False
    assert host.options.set("queue_ext_admins", "ann, bob") and page.admins == ("ann", "bob")


def test_a_bad_value_is_put_back(host: StandIn, page: Settings) -> None:
    assert not host.options.set("queue_ext_retry_attempts", "many")
    assert page.retry_attempts == 3 and host.options.queue_ext_retry_attempts == "3"


def test_the_command_line_wins_over_the_environment_and_both_over_the_page(
    host: StandIn, page: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from queue_ext.webui import settings_page

    for name, text in (("retry_attempts", "1"), ("max_waiting", "11"), ("preview_fps", "1")):
        host.options.set(f"queue_ext_{name}", text)
    monkeypatch.setenv("QUEUE_EXT_MAX_WAITING", "22")
    monkeypatch.setenv("QUEUE_EXT_PREVIEW_FPS", "2")
    host.command_line.queue_preview_fps = "3"
    chosen = settings_page.read(Settings())
    assert (chosen.retry_attempts, chosen.max_waiting, chosen.preview_fps) == (1, 22, 3.0)
    monkeypatch.setenv("QUEUE_EXT_MAX_WAITING", "none at all")
    with pytest.raises(InvalidSetting, match="max_waiting"):
        settings_page.read(Settings())


def test_a_setting_that_needs_a_restart_says_so_and_one_with_a_login_is_not_shown(host: StandIn) -> None:
    from queue_ext.webui import settings_page

    assert {"admins", "visibility"} <= set(settings_page.offered())
    host.command_line.gradio_auth = "ann:secret"
    assert not {"admins", "visibility", "data_dir"} & set(settings_page.offered())
    assert not any("url" in name for name in settings_page.offered())


def test_what_the_page_says_of_a_setting_is_not_what_its_label_and_control_say(host: StandIn) -> None:
    from queue_ext import settings
    from queue_ext.webui import settings_page

    hints = {
        fact["name"]: settings_page._hint(fact) for fact in settings.describe() if fact["name"] in settings_page.LABELS
    }
    assert not [name for name, hint in hints.items() if hint.startswith(settings_page.LABELS[name])]
    assert not [name for name in (*settings_page.SWITCHES, *settings_page.CHOICES) if "on or off" in hints[name]]
    assert hints["max_waiting_per_owner"] and "queue" in hints["data_dir"].rsplit("Empty: ")[1]


# --- coming and going ------------------------------------------------------------------------------------------------


def test_the_queue_comes_with_the_page_and_goes_with_it(host: StandIn) -> None:
    from queue_ext import webui

    webui.register()
    for _ in range(3):
        host.callbacks["on_app_started"](None, host.app)
        client = TestClient(host.app)
        assert client.get("/queue-ext/v1/health").json()["worker"] == "running"
        job = client.post(
            "/queue-ext/v1/jobs", json={"task": "txt2img", "payload": {"prompt": "a", "steps": 900}}
        ).json()
        until(lambda: host.state.sampling_step > 0)
        began = time.monotonic()
        host.state.request_restart()
        host.callbacks["on_before_reload"]()
        host.callbacks["on_script_unloaded"]()
        assert time.monotonic() - began < 5
        assert client.get("/queue-ext/v1/health").status_code == 404
        webui.register()
    host.callbacks["on_app_started"](None, host.app)
    jobs = TestClient(host.app).get("/queue-ext/v1/jobs").json()["jobs"]
    assert len(jobs) == 3 and all(job["attempt"] <= 1 and job["state"] in ("enqueued", "processing") for job in jobs)
    host.callbacks["on_script_unloaded"]()
    assert host.state.restarts == 3 and job["state"] == "enqueued"


def test_what_the_host_looks_through_at_each_callback_is_short(host: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks ``inspect.stack``: a frame of a file that is no module costs a search of all there are."""
    from queue_ext import webui

    stacks: list[list[str]] = []

    def registered(_callback: Any) -> None:
        stacks.append([frame.f_code.co_filename for frame, _line in traceback.walk_stack(None)])

    monkeypatch.setattr(sys.modules["modules.script_callbacks"], "on_app_started", registered)
    exec(compile("register()", "scripts/queue_extension.py", "exec"), {"register": webui.register})
    modules = {getattr(module, "__file__", None) for module in [*sys.modules.values()]}
    assert len(stacks) == 1 and set(stacks[0]) <= modules


def test_a_setting_that_is_wrong_is_told_at_the_door_and_the_page_goes_on(
    host: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from queue_ext import webui

    monkeypatch.setenv("QUEUE_EXT_RETRY_ATTEMPTS", "many")
    webui.register()
    host.callbacks["on_app_started"](None, host.app)
    answer = TestClient(host.app).get("/queue-ext/v1/health")
    host.callbacks["on_script_unloaded"]()
    assert answer.status_code == 503 and "retry_attempts" in answer.json()["detail"]
    assert "retry_attempts" in capsys.readouterr().out
