"""Redis between processes: a commit in one of them wakes the tails of the others at once."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from .errors import InvalidSetting
from .events import Bus, Event
from .ids import new_id

log = logging.getLogger(__name__)

WAIT = 1.0  # seconds between two looks at whether we are to stop
PATIENCE = 5.0  # seconds until a Redis that does not answer is tried again


class Backplane:
    """Says "the log has grown" to the other processes of a database and hears it from them. Without Redis, or while it
    is down, they notice within ``poll_interval_s`` all the same.

    It speaks and listens in threads of its own: whoever reads the log must not wait for a Redis that hangs.
    """

    def __init__(self, url: str, prefix: str, wake: Callable[[], None], bus: Bus) -> None:
        try:
            import redis
        except ModuleNotFoundError as error:
            raise InvalidSetting(
                name="redis_url", value=url.split("@")[-1], allowed="install it with pip install 'queue-ext[redis]'"
            ) from error
        self._redis = redis
        self._url = url
        self._channel = f"{prefix}wake"
        self._name = new_id().encode()
        self._wake = wake
        self._bus = bus
        self._stopped = threading.Event()
        self._grown = threading.Event()
        self._threads: list[threading.Thread] = []
        self._trouble = False
        self._client: Any = None
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._stopped.clear()
        self._client = self._redis.Redis.from_url(self._url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
        self._unsubscribe = self._bus.subscribe(self._tell)
        self._threads = [
            threading.Thread(
                target=self._again_and_again, args=[action], name=f"queue-ext backplane {name}", daemon=True
            )
            for name, action in (("listening", self._hear), ("speaking", self._speak))
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._unsubscribe()
        self._stopped.set()
        self._grown.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def _tell(self, _events: list[Event]) -> None:
        self._grown.set()

    def _again_and_again(self, action: Callable[[], None]) -> None:
        while not self._stopped.is_set():
            try:
                action()
            except self._redis.RedisError as error:
                if not self._trouble:
                    log.warning("Redis does not answer; other processes are heard of by polling: %s", error)
                self._trouble = True
                self._stopped.wait(PATIENCE)

    def _speak(self) -> None:
        while not self._stopped.is_set():
            self._grown.wait()
            self._grown.clear()
            self._client.publish(self._channel, self._name)

    def _hear(self) -> None:
        with self._client.pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(self._channel)
            self._trouble = False
            self._wake()
            while not self._stopped.is_set():
                message = subscription.get_message(timeout=WAIT)
                if message and message["data"] != self._name:
                    self._wake()
