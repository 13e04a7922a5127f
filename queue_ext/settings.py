"""Every setting: name, type, default and meaning, each written once.

Values come from the environment (``QUEUE_EXT_<NAME>``), from a command line (``--queue-<name>`` in the WebUI,
``--<name>`` of ``python -m queue_ext serve``) and from the WebUI's settings page. The command line wins over the
environment, and both over the page.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .addresses import target
from .errors import InvalidSetting

QUEUE_NAME = re.compile(r"[a-z0-9_-]{1,32}")
OFF = ("", "off", "none", "0", "false", "no")
ON = ("on", "true", "1", "yes")


@dataclass(frozen=True)
class Kind:
    """How a setting is written: ``parse`` turns text into a value or raises ValueError, ``allowed`` says what fits."""

    parse: Callable[[str], Any]
    allowed: str


def _between(convert: Callable[[str], Any], low: float, high: float, allowed: str) -> Kind:
    def parse(text: str) -> Any:
        value = convert(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    return Kind(parse, allowed.rstrip())


def number(low: float, high: float, unit: str = "s") -> Kind:
    """A number between ``low`` and ``high``, both allowed."""
    return _between(float, low, high, f"allowed is a number from {low:.12g} to {high:.12g} {unit}")


def whole(low: int, high: int, unit: str = "") -> Kind:
    """A whole number between ``low`` and ``high``, both allowed."""
    return _between(int, low, high, f"allowed is a whole number from {low} to {high} {unit}")


def or_off(kind: Kind) -> Kind:
    """The same, or ``off`` (None)."""
    return Kind(lambda text: None if text.lower() in OFF else kind.parse(text), f"{kind.allowed}, or off")


def one_of(*names: str) -> Kind:
    """One word out of a few."""

    def parse(text: str) -> str:
        if text.lower() not in names:
            raise ValueError(text)
        return text.lower()

    return Kind(parse, "allowed is " + " or ".join(names))


def matching(pattern: str, allowed: str) -> Kind:
    """Text that a regular expression matches as a whole."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(text)
        return text

    return Kind(parse, f"allowed is {allowed}")


def names(pattern: str = r"[^,\s]+", allowed: str = "a list of names separated by commas") -> Kind:
    """Several names, separated by commas; none for an empty text."""

    def parse(text: str) -> tuple[str, ...]:
        parts = tuple(part.strip() for part in text.split(",") if part.strip())
        if not all(re.fullmatch(pattern, part) for part in parts):
            raise ValueError(text)
        return parts

    return Kind(parse, f"allowed is {allowed}")


def _switch(text: str) -> bool:
    if text.lower() in ON:
        return True
    if text.lower() in OFF:
        return False
    raise ValueError(text)


SWITCH = Kind(_switch, "allowed is on or off")
FOLDER = Kind(lambda text: Path(text).expanduser(), "allowed is a path to a folder")


def _setting(default: Any, kind: Kind, meaning: str) -> Any:
    return field(default=default, metadata={"kind": kind, "meaning": meaning})


@dataclass(frozen=True)
class Settings:
    """All settings of contract, section 8. Times are in seconds."""

    database_url: str | None = _setting(
        None,
        or_off(
            matching(
                r"(sqlite|postgresql|mysql|mariadb)(\+\w+)?://.*",
                "an SQLAlchemy URL of SQLite, PostgreSQL, MariaDB or MySQL",
            )
        ),
        "Where the queue is stored; without one, queue.sqlite3 in data_dir.",
    )
    table_prefix: str = _setting(
        "queue_",
        matching(r"[a-z_][a-z0-9_]{0,19}|", "up to 20 of a-z, 0-9 and _"),
        "What the names of all tables begin with.",
    )
    prepare_schema: bool = _setting(True, SWITCH, "Create and update the tables at start.")
    redis_url: str | None = _setting(
        None,
        or_off(matching(r"(rediss?|unix)://.*", "a redis:// URL")),
        "Redis that carries pushes between processes; needed only when several processes serve browsers.",
    )
    data_dir: Path = _setting(Path("queue-data"), FOLDER, "Folder for the database file, pictures and uploads.")
    queues: tuple[str, ...] = _setting(
        (),
        names(r"[a-z0-9_-]{1,32}", "queue names of 1 to 32 characters a-z, 0-9, _ and -, separated by commas"),
        "The queues this process's worker serves, in this order; empty for all of them, default first.",
    )
    worker: bool = _setting(
        True, SWITCH, "Whether this process runs jobs; off for one that only accepts and shows them."
    )
    poll_interval_s: float = _setting(
        1.0, number(0.05, 60), "How often an idle worker looks for jobs that other processes added."
    )
    schedule_poll_interval_s: float = _setting(
        15.0, number(0.1, 3600), "Backstop for due jobs and schedules, should a wake-up get lost."
    )
    lease_s: float = _setting(
        60.0, number(1, 86400), "How long a running job stays with a worker that gives no sign of life."
    )
    heartbeat_s: float = _setting(10.0, number(0.1, 3600), "How often a worker shows that it lives; below lease_s.")
    shutdown_timeout_s: float = _setting(15.0, number(0, 600), "How long stopping waits for the running job to let go.")
    retry_attempts: int = _setting(3, whole(0, 100), "How often a failed job is tried again.")
    retry_delay_s: float = _setting(10.0, number(0, 86400), "Wait before the first retry; doubles with each one.")
    retry_delay_max_s: float = _setting(600.0, number(0, 86400), "Longest wait between two retries.")
    max_crashes: int = _setting(2, whole(1, 1000), "A job during which the process died this often fails.")
    timeout_s: float | None = _setting(None, or_off(number(1, 604800)), "Longest an attempt may run.")
    retention_days: float = _setting(
        30.0, number(0.001, 36500, "days"), "How long succeeded and deleted jobs are kept."
    )
    history_size: int | None = _setting(
        None, or_off(whole(0, 10_000_000)), "Most succeeded and deleted jobs that are kept; the oldest go first."
    )
    expiration_check_interval_s: float = _setting(
        3600.0, number(1, 86400), "How often expired jobs and files are removed."
    )
    visibility: str | None = _setting(
        None,
        or_off(one_of("private", "shared")),
        "private: everyone sees only their own jobs; shared: everyone sees and manages all. "
        "Without it: private with a login, else shared.",
    )
    admins: tuple[str, ...] = _setting((), names(), "Users who may manage everybody's jobs, queues and settings.")
    max_waiting: int = _setting(10_000, whole(1, 10_000_000), "Most jobs that may wait at once.")
    max_waiting_per_owner: int | None = _setting(
        None, or_off(whole(1, 10_000_000)), "Most jobs of one owner that may wait."
    )
    quota_per_day: int | None = _setting(
        None, or_off(whole(1, 10_000_000)), "Most jobs an owner may submit in a day (UTC)."
    )
    rate_per_minute: int | None = _setting(
        None, or_off(whole(1, 10_000_000)), "Most jobs an owner may submit in a minute."
    )
    job_ttl_s: float | None = _setting(
        None, or_off(number(1, 31_622_400)), "How long a job may wait for its first attempt before it is given up."
    )
    max_payload_mb: float = _setting(32.0, number(0.01, 2048, "MB"), "Largest body of a request.")
    fair_share: bool = _setting(True, SWITCH, "Owners take turns; off is first come, first served.")
    preview_fps: float = _setting(
        2.0, number(0, 10, "a second"), "Most previews of the forming picture a second; 0 for none."
    )
    cors_allowed_origins: tuple[str, ...] = _setting(
        (),
        names(allowed="origins such as https://shop.example, separated by commas, or *"),
        "Other sites whose pages may use the queue.",
    )
    token_ttl_s: float = _setting(
        43200.0, number(1, 31622400), "How long a token of POST /v1/tokens stands for its owner."
    )
    ping_interval_s: float = _setting(25.0, number(0.1, 3600), "How often a browser's connection is checked.")
    ping_timeout_s: float = _setting(20.0, number(0.1, 3600), "How long a browser may take to answer that check.")
    webhook_hosts: tuple[str, ...] = _setting(
        (),
        names(allowed="host names separated by commas: name (ports 80 and 443), name:port or *.name"),
        "Hosts that webhooks may be sent to.",
    )
    webhook_private: bool = _setting(
        False, SWITCH, "Whether these hosts may have private addresses, such as 127.0.0.1 and 192.168.0.0/16."
    )
    webhook_retry_delay_s: float = _setting(
        10.0, number(0.01, 3600), "Wait before a webhook that did not arrive is sent again; doubles up to an hour."
    )
    when_empty_notify: bool = _setting(
        False, SWITCH, "Tell browsers when the queue has run empty; the page shows a notification."
    )
    when_empty_webhook: str | None = _setting(
        None,
        or_off(matching("https?://.*", "an http(s) address on a host of webhook_hosts")),
        "Where to tell by webhook that the queue has run empty.",
    )
    when_empty_secret: str | None = _setting(
        None, or_off(matching(".{8,200}", "text of 8 to 200 characters")), "Signs that webhook."
    )
    when_empty_command: str | None = _setting(
        None,
        or_off(matching("(?s).+", "a command line")),
        "Run in the server's shell when the queue has run empty. Only the environment and the command line can set it.",
    )
    pause_on_oom: bool = _setting(
        True,
        SWITCH,
        "Pause a queue when a job ran out of memory twice in a row, instead of letting all others fail as well.",
    )
    demo_step_s: float = _setting(0.05, number(0, 60), "How long a step of the demo pipeline takes.")

    def __post_init__(self) -> None:
        if self.heartbeat_s >= self.lease_s:
            raise InvalidSetting(
                name="heartbeat_s", value=self.heartbeat_s, allowed=f"allowed is less than lease_s ({self.lease_s:g})"
            )

        if self.when_empty_webhook:
            self._check_when_empty(self.when_empty_webhook)

    def _check_when_empty(self, url: str) -> None:
        if not self.when_empty_secret:
            raise InvalidSetting(
                name="when_empty_secret", value="off", allowed="when_empty_webhook needs one to sign with"
            )
        try:
            target(url, self.webhook_hosts, self.webhook_private)
        except ValueError as error:
            raise InvalidSetting(name="when_empty_webhook", value=url, allowed=f"it {error}") from None

    def change(self, **values: Any) -> None:
        """Give settings other values for everybody who holds this object; for a settings page. Raises InvalidSetting."""
        replace(self, **values)  # checks them together
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def url(self) -> str:
        """The database's URL, the default one included."""
        return self.database_url or f"sqlite:///{self.database_file.as_posix()}"

    @property
    def database_file(self) -> Path:
        """The SQLite file where no ``database_url`` is set."""
        return Path(self.data_dir).absolute() / "queue.sqlite3"

    @property
    def media_dir(self) -> Path:
        return Path(self.data_dir).absolute() / "media"


def parse(name: str, text: str) -> Any:
    """The value of setting ``name`` written as ``text``. Raises InvalidSetting for one that does not fit."""
    kind: Kind = _FIELDS[name].metadata["kind"]
    try:
        return kind.parse(text.strip())
    except ValueError:
        shown = re.sub(r"://[^@]*@", "://***@", text)  # what is refused goes to the screen, passwords do not
        raise InvalidSetting(name=name, value=shown, allowed=kind.allowed) from None


def from_environment(environ: Mapping[str, str] = os.environ, base: Settings | None = None) -> Settings:
    """Settings from ``QUEUE_EXT_*`` over ``base``. An unknown name is an error: it is most likely a typing mistake."""
    found = {key[len(PREFIX) :].lower(): text for key, text in environ.items() if key.startswith(PREFIX)}
    for name, text in found.items():
        if name not in _FIELDS:
            raise InvalidSetting(
                name=PREFIX + name.upper(), value=text, allowed=f"allowed names are {', '.join(_FIELDS)}"
            )
    return with_texts(base or Settings(), found)


def with_texts(base: Settings, texts: Mapping[str, str | None]) -> Settings:
    """``base`` with some settings replaced, given as text; None leaves one as it is."""
    return replace(base, **{name: parse(name, text) for name, text in texts.items() if text is not None})


def add_arguments(parser: Any, prefix: str = "queue-") -> None:
    """Add an option for every setting to an ``argparse`` parser, ``--<prefix><name>``."""
    for name, item in _FIELDS.items():
        kind: Kind = item.metadata["kind"]
        parser.add_argument(
            f"--{prefix}{name.replace('_', '-')}",
            dest=f"queue_{name}",
            metavar="VALUE",
            default=None,
            help=f"{item.metadata['meaning']} ({kind.allowed}; default: {_shown(item.default)})".replace("%", "%%"),
        )


def from_arguments(arguments: Any, base: Settings) -> Settings:
    """``base`` with what was given on a command line made by ``add_arguments``."""
    return with_texts(base, {name: getattr(arguments, f"queue_{name}", None) for name in _FIELDS})


def describe() -> list[dict[str, str]]:
    """Name, default, allowed values and meaning of every setting, for the docs and the settings page."""
    return [
        {
            "name": name,
            "default": _shown(item.default),
            "allowed": item.metadata["kind"].allowed,
            "meaning": item.metadata["meaning"],
        }
        for name, item in _FIELDS.items()
    ]


def _shown(default: Any) -> str:
    if default is None or default is False:
        return "off"
    if default is True:
        return "on"
    if isinstance(default, tuple):
        return ",".join(default) or "none"
    return f"{default:.12g}" if isinstance(default, float) else str(default)


PREFIX = "QUEUE_EXT_"
_FIELDS = {item.name: item for item in fields(Settings)}
