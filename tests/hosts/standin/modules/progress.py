"""Tasks by their ids, and the route that the page's progress bar asks."""

import base64
import io
import random
import string
import time
from collections import OrderedDict
from typing import List, Optional  # noqa: UP035 (pydantic 1)

import gradio as gr
from pydantic import BaseModel

from modules import shared

current_task = None
pending_tasks = OrderedDict()
finished_tasks = []
recorded_results = []
recorded_results_limit = 2
FINISHED = 16  # tasks that are remembered


def create_task_id(task_type):
    return f"task({task_type}-{''.join(random.choices(string.ascii_uppercase + string.digits, k=7))})"


def add_task_to_queue(id_job):
    pending_tasks[id_job] = time.time()


def start_task(id_task):
    global current_task
    current_task = id_task
    pending_tasks.pop(id_task, None)


def finish_task(id_task):
    global current_task
    if current_task == id_task:
        current_task = None
    finished_tasks.append(id_task)
    del finished_tasks[:-FINISHED]


def record_results(id_task, res):
    recorded_results.append((id_task, res))
    del recorded_results[:-recorded_results_limit]


class ProgressRequest(BaseModel):
    id_task: Optional[str] = None  # noqa: UP045
    id_live_preview: int = -1
    live_preview: bool = True


class ProgressResponse(BaseModel):
    active: bool
    queued: bool
    completed: bool
    progress: Optional[float] = None  # noqa: UP045
    eta: Optional[float] = None  # noqa: UP045
    live_preview: Optional[str] = None  # noqa: UP045
    id_live_preview: Optional[int] = None  # noqa: UP045
    textinfo: Optional[str] = None  # noqa: UP045


class PendingTasksResponse(BaseModel):
    size: int
    tasks: List[str]  # noqa: UP006


def setup_progress_api(app):
    app.add_api_route("/internal/pending-tasks", get_pending_tasks, methods=["GET"])
    return app.add_api_route("/internal/progress", progressapi, methods=["POST"], response_model=ProgressResponse)


def get_pending_tasks():
    tasks = list(pending_tasks)
    return PendingTasksResponse(size=len(tasks), tasks=tasks)


def fraction():
    state = shared.state
    if state.job_count <= 0:
        return 0.0
    step = state.sampling_step / state.sampling_steps if state.sampling_steps > 0 else 0.0
    return min(1.0, (state.job_no + step) / state.job_count)


def progressapi(req: ProgressRequest):
    known = {
        "active": req.id_task == current_task,
        "queued": req.id_task in pending_tasks,
        "completed": req.id_task in finished_tasks,
    }
    if not known["active"]:
        return ProgressResponse(**known, id_live_preview=-1, textinfo="Waiting...")
    preview, number = None, req.id_live_preview
    if req.live_preview:
        shared.state.set_current_image()
        image = shared.state.current_image
        if image is not None and shared.state.id_live_preview != number:
            buffer = io.BytesIO()
            image.save(buffer, "PNG")
            preview, number = (
                f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}",
                shared.state.id_live_preview,
            )
    return ProgressResponse(
        **known, progress=fraction(), live_preview=preview, id_live_preview=number, textinfo=shared.state.textinfo
    )


def restore_progress(id_task):
    while id_task == current_task or id_task in pending_tasks:
        time.sleep(0.1)
    found = next((made for task, made in recorded_results if task == id_task), None)
    return found or (gr.update(), gr.update(), gr.update(), f"Couldn't restore progress for {id_task}")
