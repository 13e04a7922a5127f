"""Enqueue on small pages of the same shapes as the hosts': what a click takes, and what its job does later."""

import enum
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from queue_ext.app import QueueApp
from queue_ext.errors import InvalidRequest
from queue_ext.identity import Visitor
from queue_ext.pipelines import Cancellation, Request, Result
from queue_ext.settings import Settings
from queue_ext.shapes import Patch
from queue_ext.store import Filter

gr = pytest.importorskip("gradio")

from queue_ext.webui import capture as capture_module  # noqa: E402
from queue_ext.webui import captured, controls, host, model_options  # noqa: E402
from queue_ext.webui.buttons import JS, clicks, split  # noqa: E402
from queue_ext.webui.capture import Page, outputs_of, wanted  # noqa: E402
from queue_ext.webui.captured import CapturedButtons  # noqa: E402


class Kind(enum.Enum):
    SIMPLE = 1
    BATCH = 2


class Unit:
    """As Forge's ControlNetUnit: made at the click from controls, kept in a State."""

    def __init__(self, weight: float = 1.0, picture: Any = None, kind: Kind = Kind.SIMPLE) -> None:
        self.weight, self.picture, self.kind = weight, picture, kind


class Stranger:
    pass


class Site:
    """A page built like a host's, and the queue behind it."""

    def __init__(self, app: QueueApp) -> None:
        self.app = app
        self.page = Page()
        self.page.find_app = lambda: app
        self.calls: list[tuple[Any, ...]] = []
        self.buttons = CapturedButtons(self.page.find)

    def build(
        self,
        extra: Callable[["Site"], list[Any]] = lambda site: [],
        scripts: tuple[str, ...] = ("None", "X/Y/Z plot"),
        samplers: tuple[str, ...] = ("Euler", "DDIM"),
    ) -> None:
        def txt2img(id_task: str, request: gr.Request, *args: Any) -> Any:
            self.calls.append((id_task, request.username, *args))
            info = {"infotexts": [f"{args[0]}\nSteps: 4"], "all_seeds": [7], "index_of_first_image": 0}
            return [Image.new("RGB", (8, 8), "red")], json.dumps(info), "<p>info</p>", ""

        self.page.forget()
        with gr.Blocks() as self.root:
            task = gr.Textbox(visible=False)
            self.prompt = gr.Textbox("", label="Prompt", elem_id="txt2img_prompt")
            self.width = gr.Slider(64, 2048, 512, label="Width", elem_id="txt2img_width")
            self.script = gr.Dropdown(list(scripts), value="None", type="index", label="Script", elem_id="script_list")
            self.sampler = gr.Dropdown(list(samplers), value=samplers[0], label="Sampler", elem_id="txt2img_sampling")
            self.extra = extra(self)
            button = gr.Button("Generate", elem_id="txt2img_generate")
            self.page.on_component(button)
            outputs = [gr.Gallery(elem_id="txt2img_gallery"), gr.Textbox(), gr.HTML(), gr.HTML()]
            inputs = [task, self.prompt, self.width, self.script, self.sampler, *self.extra]
            for helper in getattr(self, "helpers", ()):
                button.click(*helper, queue=False)
            self.prompt.submit(txt2img, inputs, outputs)
            button.click(txt2img, inputs, outputs, **{JS: "submit"})
        self.page.on_tabs()

    def click(self, *values: Any, options: str = "{}", helper_values: tuple[Any, ...] = ()) -> dict[str, Any]:
        """What gradio would do when Enqueue is clicked with these values after the task's id."""
        request = SimpleNamespace(
            headers={"accept-language": "en", "cookie": "queue_client=0123456789abcdef0123"}, client=None
        )
        found = self.page.find("txt2img_generate")
        assert found is not None
        return json.loads(self.page._clicked(found)(options, request, "", *values, *helper_values))

    def run(self, job_id: str, owner: str = "alice") -> Result:
        """What the pipeline would do with the job, in a WebUI of now."""
        row = self.app.store.job(job_id)
        payload = self.app.queue.payload({"payload": self.app.store.body(job_id)["payload"]})
        run = SimpleNamespace(cancelled=Cancellation(), finished=None, images=1)
        run.call = lambda function, *args, task_id=None, hop=True: function(*args)
        return self.buttons.run(Request(job_id, row["task"], payload, 1, owner), run)


class Pipeline:
    name, tasks = "test", ("ui:",)
    check = run = lambda self, *args: None
    busy = lambda self: False  # noqa: E731
    close = lambda self: None  # noqa: E731


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    app = QueueApp(Settings(data_dir=tmp_path, worker=False), Pipeline())  # type: ignore[arg-type]
    app.start()
    monkeypatch.setattr(host, "options", lambda: SimpleNamespace(data={}, data_labels={}))
    monkeypatch.setattr(host, "optional", lambda name: None)
    monkeypatch.setattr(host, "is_checkpoint", lambda name: name == "tiny-a")
    monkeypatch.setattr(capture_module, "script_titles", lambda: {})
    monkeypatch.setattr(capture_module.send, "build", lambda find_app: None)
    monkeypatch.setattr(model_options, "current", lambda: {"checkpoint": "tiny-a", "clip_skip": 2})
    monkeypatch.setattr(model_options, "_changes", lambda payload: {})
    yield Site(app)
    app.stop()


def test_a_click_keeps_each_control_under_its_elem_id_and_the_job_calls_the_button_s_function(site: Site) -> None:
    site.build()
    said = site.click("a cat", 64, 0, "DDIM")
    assert said["ok"] and said["text"].startswith("Queued: No worker serves the queue default")
    job = site.app.queue.details(site.app.identity.owner(visitor()), said["ids"][0])
    assert job["task"] == "ui:txt2img_generate"
    assert job["payload"]["controls"]["txt2img_prompt"] == "a cat"
    assert job["payload"]["controls"]["script_list"] == {"$": "choice", "value": "None"}
    assert (job["prompt"], job["summary"]["width"], job["summary"]["checkpoint"]) == ("a cat", 64, "tiny-a")
    result = site.run(said["ids"][0])
    assert site.calls == [(f"task(queue-{said['ids'][0]})", "alice", "a cat", 64, 0, "DDIM")]
    (picture,) = result.pictures
    assert (picture.width, picture.seed, picture.infotext) == (8, 7, "a cat\nSteps: 4")
    assert picture.data.startswith(b"\x89PNG") and b"parameters" in picture.data


def visitor() -> Any:
    return Visitor({}, {"queue_client": "0123456789abcdef0123"})


def test_a_job_belongs_to_the_browser_that_clicked(site: Site) -> None:
    site.build()
    said = site.click("a cat", 64, 0, "DDIM")
    assert site.app.store.job(said["ids"][0])["owner"] == site.app.identity.owner(visitor()).id


def test_the_selected_script_is_found_by_its_name_when_others_came_before_it(site: Site) -> None:
    site.build()
    job_id = site.click("a cat", 64, 1, "Euler")["ids"][0]
    site.build(scripts=("None", "Another", "X/Y/Z plot"))
    site.run(job_id)
    assert site.calls[-1][4] == 2


def test_a_selected_script_and_a_sampler_that_were_removed_are_left_out_and_that_is_said(site: Site) -> None:
    site.build()
    job_id = site.click("a cat", 64, 1, "Euler")["ids"][0]
    site.build(scripts=("None",), samplers=("DDIM",))
    result = site.run(job_id)
    assert site.calls[-1][4:6] == (0, "DDIM")
    (note,) = result.info["captured"]["notes"]
    assert note == "ignored, not there any more: Script “X/Y/Z plot”, Sampler “Euler”"


def test_of_several_choices_those_that_are_left_are_kept(site: Site) -> None:
    def boxes(*names: str) -> Any:
        return lambda _site: [
            gr.CheckboxGroup(list(names), label=f"Boxes {kind}", type=kind) for kind in ("value", "index")
        ]

    site.build(boxes("a", "b", "c"))
    job_id = site.click("a cat", 64, 0, "Euler", ["a", "b"], [1, 2])["ids"][0]
    site.build(boxes("new", "b"))
    result = site.run(job_id)
    assert site.calls[-1][6:] == (["b"], [1])
    assert "Boxes value “a”, Boxes index “c”" in result.info["captured"]["notes"][0]


def test_a_sampler_that_was_edited_into_one_that_is_not_there_is_refused_at_the_door(site: Site) -> None:
    site.build()
    job_id = site.click("a cat", 64, 0, "Euler")["ids"][0]
    owner = site.app.identity.owner(visitor())
    payload = {**site.app.queue.details(owner, job_id)["payload"], "sampler_name": "Eular"}
    with pytest.raises(InvalidRequest) as refused:
        site.buttons.check("ui:txt2img_generate", payload)
    assert "nearest: Euler" in refused.value.errors[0]["msg"]


def test_what_has_gone_is_ignored_and_said_and_what_is_new_takes_its_default(site: Site) -> None:
    site.build(lambda _site: [gr.Slider(0, 1, 0.5, label="Old strength"), gr.Checkbox(label="Stays", elem_id="stays")])
    job_id = site.click("a cat", 64, 0, "Euler", 0.9, True)["ids"][0]
    site.build(
        lambda _site: [
            gr.Radio(["a", "b"], value="b", type="index", label="New"),
            gr.Checkbox(label="Stays", elem_id="stays"),
        ]
    )
    result = site.run(job_id)
    assert site.calls[-1][6:] == (1, True)
    assert result.info["captured"]["notes"] == [
        "ignored, not there any more: label:Old strength",
        "new, at its default: New",
    ]


def test_pictures_and_arrays_are_files_of_the_job_and_come_back(site: Site) -> None:
    site.build(
        lambda _site: [gr.Image(label="Picture", type="pil", elem_id="picture"), gr.Image(type="numpy", label="Array")]
    )
    picture, array = Image.new("RGBA", (5, 4), (1, 2, 3, 0)), np.full((3, 3, 3), 9, np.uint8)
    job_id = site.click("a cat", 64, 0, "Euler", picture, array)["ids"][0]
    assert len(site.app.store.files([job_id], "input")[job_id]) == 2
    site.run(job_id)
    assert site.calls[-1][6].tobytes() == picture.tobytes()
    assert np.array_equal(site.calls[-1][7], array)


def test_a_value_that_cannot_be_kept_is_refused_by_the_name_of_its_control(site: Site) -> None:
    site.build(lambda _site: [gr.Image(label="Strange one"), gr.State(None)])
    said = site.click("a cat", 64, 0, "Euler", Stranger(), Stranger())
    assert not said["ok"]
    first, second = said["text"].split("\n")
    assert first.startswith("Strange one: holds an object of") and "State" in second
    assert site.app.store.ids(Filter()) == []


def test_a_state_s_object_is_rebuilt_from_its_fields(site: Site) -> None:
    site.build(lambda _site: [gr.State(Unit())])
    job_id = site.click("a cat", 64, 0, "Euler", Unit(0.3, np.zeros((2, 2, 3), np.uint8), Kind.BATCH))["ids"][0]
    assert b"pickle" not in str(site.app.store.body(job_id)["payload"]).encode()
    site.run(job_id)
    unit = site.calls[-1][6]
    assert (type(unit), unit.weight, unit.kind, unit.picture.shape) == (Unit, 0.3, Kind.BATCH, (2, 2, 3))


def test_a_state_that_a_helper_fills_at_the_click_is_filled_from_the_controls_themselves(site: Site) -> None:
    def extra(site: Site) -> list[Any]:
        state, weight, picture = (
            gr.State(Unit()),
            gr.Slider(0, 1, 1.0, label="Weight"),
            gr.Image(label="Map", type="numpy"),
        )
        site.helpers = [(Unit, [weight, picture], [state])]  # type: ignore[attr-defined]
        return [state]

    site.build(extra)
    found = site.page.find("txt2img_generate")
    assert found is not None and len(found.helpers) == 1
    assert [control.key for control in found.helpers[0].controls] == ["argument:Unit1.weight", "argument:Unit1.picture"]
    stale = Unit(1.0)
    said = site.click("a cat", 64, 0, "Euler", stale, helper_values=(0.25, np.zeros((2, 2, 3), np.uint8)))
    site.run(said["ids"][0])
    assert site.calls[-1][6].weight == 0.25
    assert site.calls[-1][6].picture.shape == (2, 2, 3)


def test_a_field_that_was_edited_while_the_job_waited_wins_over_its_control(site: Site) -> None:
    site.build()
    job_id = site.click("a cat", 64, 0, "DDIM")["ids"][0]
    payload = json.loads(site.app.store.body(job_id)["payload"])
    site.app.queue.edit(site.app.identity.owner(visitor()), job_id, Patch(payload={**payload, "prompt": "a dog"}))
    site.run(job_id)
    assert site.calls[-1][2] == "a dog"


@pytest.mark.parametrize(
    ("field", "value"),
    [("width", 0), ("width", 10**9), ("steps", 0), ("steps", -5), ("batch_size", 0), ("n_iter", -1), ("prompt", None)],
)
def test_what_no_host_survives_is_refused_by_its_field(site: Site, field: str, value: Any) -> None:
    site.build()
    with pytest.raises(InvalidRequest, match=field):
        site.buttons.check("ui:txt2img_generate", {"controls": {}, field: value})


def test_an_unknown_button_and_a_body_without_controls_are_refused(site: Site) -> None:
    site.build()
    with pytest.raises(InvalidRequest, match="does not have"):
        site.buttons.check("ui:nope", {"controls": {}})
    with pytest.raises(InvalidRequest, match="controls"):
        site.buttons.check("ui:txt2img_generate", {})
    with pytest.raises(InvalidRequest, match="checkpoint"):
        site.buttons.check("ui:txt2img_generate", {"controls": {}, "checkpoint": "gone"})


def test_the_menu_s_wishes_become_jobs(site: Site) -> None:
    site.build()
    said = site.click("a cat", 64, 0, "DDIM", options='{"checkpoints": ["tiny-a", "tiny-a"]}')
    assert len(said["ids"]) == 2
    said = site.click("a cat", 64, 0, "DDIM", options='{"run_at": "2099-01-01T00:00:00Z"}')
    assert site.app.store.job(said["ids"][0])["state"] == "scheduled"
    for wrong in ('{"times": 0}', '{"times": 1000}', '{"checkpoints": []}', "[]", "{", '{"run_at": "tomorrow"}'):
        assert not site.click("a cat", 64, 0, "DDIM", options=wrong)["ok"]


def test_enqueue_at_the_front_goes_before_those_who_wait(site: Site) -> None:
    site.build()
    first = site.click("a cat", 64, 0, "DDIM")["ids"][0]
    front = site.click("a dog", 64, 0, "DDIM", options='{"front": true}')["ids"][0]
    rows = {row["id"]: row["order_key"] for row in site.app.store.jobs([first, front])}
    assert rows[front] < rows[first]


def test_enqueue_at_the_front_also_goes_well_when_the_job_starts_at_once(site: Site) -> None:
    """A worker that waits for work takes it in the moment it is stored: it is in its place by then."""
    site.build()
    store, taken = site.app.store, []

    def take(_events: Any) -> None:
        if not taken and store.counts().get(("default", "enqueued")):
            taken.append(store.claim("w", (), 60.0))

    store.on_commit = take
    said = site.click("a dog", 64, 0, "DDIM", options='{"front": true}')
    assert said["ok"] and [row["id"] for row in taken] == said["ids"]


def test_new_seeds_differ_from_job_to_job(site: Site) -> None:
    site.build(lambda _site: [gr.Number(7, label="Seed", elem_id="txt2img_seed")])
    ids = site.click("a cat", 64, 0, "DDIM", 7, options='{"times": 5}')["ids"]
    for job_id in ids:
        site.run(job_id)
    seeds = [call[6] for call in site.calls]
    assert len(set(seeds)) == 5 and all(0 <= seed < 2**32 for seed in seeds)


def test_an_error_that_the_function_answers_with_is_raised(site: Site) -> None:
    site.build()
    found = site.page.find("txt2img_generate")
    assert found is not None
    with pytest.raises(RuntimeError, match=r"ValueError: 1 < 2"):
        captured.answer(
            (None, "", "", "<div class='error'>ValueError: 1 &lt; 2</div><div class='performance'></div>"), found
        )


def test_the_outcome_is_shown_where_the_button_shows_it(site: Site) -> None:
    site.build()
    job_id = site.click("a cat", 64, 0, "DDIM")["ids"][0]
    found = site.page.find("txt2img_generate")
    assert found is not None
    claimed = site.app.queue.claim("w" * 26)
    assert claimed is not None and claimed["id"] == job_id
    site.app.queue.finish(claimed, site.run(job_id))
    request = SimpleNamespace(headers={"cookie": "queue_client=0123456789abcdef0123"}, client=None)
    pictures, info, text, log = outputs_of(site.app, found, job_id, request)
    assert pictures[0].size == (8, 8)
    assert (json.loads(info)["all_seeds"], text, log) == ([7], "<p>info</p>", "")


def test_the_click_is_found_by_the_function_s_name_among_helpers_and_listeners(site: Site) -> None:
    site.build()
    found = site.page.find("txt2img_generate")
    assert found is not None and found.call.function.__name__ == "txt2img" and found.call.js == "submit"
    with gr.Blocks() as root:
        button = gr.Button(elem_id="b")
        state, box, gallery = gr.State(0), gr.Textbox(), gr.Gallery()
        button.click(lambda text: len(text), box, state, queue=False)
        button.click(lambda: "log", None, box)
        button.click(lambda number: [], state, gallery)
    main, helpers = split(clicks(root, button), None)  # type: ignore[misc]
    assert main.outputs == (gallery,)
    assert [helper.outputs for helper in helpers] == [(state,)]
    assert split(clicks(root, button), "nope") is None


def test_two_arguments_of_one_dummy_control_are_two(site: Site) -> None:
    with gr.Blocks():
        dummy, text = gr.Label(visible=False), gr.Textbox(label="Same")
        other = gr.Textbox(label="Same")
    named = controls.name_controls([dummy, dummy, text, other, text], ["id_task", "mode"], lambda _component: None)
    assert [control.key for control in named] == [
        "argument:id_task",
        "argument:mode",
        "label:Same",
        "label:Same#2",
        "label:Same",
    ]


@pytest.mark.parametrize(
    "elem_id", ["input-accordion-3-checkbox", "uuid_14178fde94f2463d941b8279633d3d88", "component-12"]
)
def test_elem_ids_that_are_drawn_anew_at_each_start_are_not_used(elem_id: str) -> None:
    with gr.Blocks():
        component = gr.Checkbox(label="GFPGAN", elem_id=elem_id)
    (control,) = controls.name_controls([component], [], lambda _component: "Face")
    assert (control.key, control.title) == ("Face/GFPGAN", "Face: GFPGAN")


def test_the_setting_names_buttons_and_their_functions() -> None:
    assert wanted(" a_button, b_button:run\nc ") == {"a_button": None, "b_button": "run", "c": None}


def test_defaults_are_what_the_function_would_get_from_a_fresh_page() -> None:
    with gr.Blocks():
        state = gr.State([1])
        several = gr.Dropdown(["a", "b"], multiselect=True)
        second = gr.Radio(["a", "b"], value="b", type="index")
    assert controls.default(state) == [1] and controls.default(state) is not state.value
    assert controls.default(several) == []
    assert controls.default(second) == 1
