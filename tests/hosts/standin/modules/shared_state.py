"""What the WebUI is doing now, and the flags that stop it."""

import datetime
import threading
import time


class State:
    skipped = False
    interrupted = False
    stopping_generation = False
    job = ""
    job_no = 0
    job_count = 0
    job_timestamp = "0"
    sampling_step = 0
    sampling_steps = 0
    current_latent = None
    current_image = None
    current_image_sampling_step = 0
    id_live_preview = 0
    textinfo = None
    time_start = None
    server_start = None
    _server_command_signal = threading.Event()
    _server_command = None

    def __init__(self):
        self.server_start = time.time()

    # --- the server's own commands -------------------------------------------------------------------------------

    @property
    def server_command(self):
        return self._server_command

    @server_command.setter
    def server_command(self, value):
        self._server_command = value
        self._server_command_signal.set()

    def wait_for_server_command(self, timeout=None):
        """The command, which is forgotten with it; None when the time is over."""
        if not self._server_command_signal.wait(timeout):
            return None
        self._server_command_signal.clear()
        command, self._server_command = self._server_command, None
        return command

    def request_restart(self):
        self.interrupt()
        self.server_command = "restart"

    # --- stopping ------------------------------------------------------------------------------------------------

    def skip(self):
        self.skipped = True

    def interrupt(self):
        self.interrupted = True

    def stop_generating(self):
        self.stopping_generation = True

    # --- a run ---------------------------------------------------------------------------------------------------

    def begin(self, job="(unknown)"):
        """Forgets everything about the run before, also that it was to be stopped."""
        self.sampling_step = self.job_no = self.current_image_sampling_step = self.id_live_preview = 0
        self.time_start = time.time()
        self.job_count = -1
        self.job_timestamp = datetime.datetime.now().strftime("%Y%m%d%H%M%S")
        self.current_latent = self.current_image = self.textinfo = None
        self.skipped = self.interrupted = self.stopping_generation = False
        self.job = job

    def end(self):
        self.job = ""
        self.job_count = 0

    def nextjob(self):
        self.job_no += 1
        self.sampling_step = self.current_image_sampling_step = 0

    def dict(self):
        names = (
            "skipped",
            "interrupted",
            "stopping_generation",
            "job",
            "job_count",
            "job_timestamp",
            "job_no",
            "sampling_step",
            "sampling_steps",
        )
        return {name: getattr(self, name) for name in names}

    def set_current_image(self):
        """A preview, if the sampler has come further since the last one; the latent of a stand-in is a picture."""
        if self.current_latent is not None and self.sampling_step > self.current_image_sampling_step:
            self.current_image_sampling_step = self.sampling_step
            self.assign_current_image(self.current_latent)

    def assign_current_image(self, image):
        self.current_image = image
        self.id_live_preview += 1
