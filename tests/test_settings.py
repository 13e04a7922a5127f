"""Settings: each written once, read from three places, and refused by name, value and what is allowed."""

import argparse
from pathlib import Path

import pytest

from queue_ext import settings
from queue_ext.errors import InvalidSetting
from queue_ext.settings import Settings

CONTRACT = [
    "database_url",
    "table_prefix",
    "prepare_schema",
    "redis_url",
    "data_dir",
    "queues",
    "poll_interval_s",
    "schedule_poll_interval_s",
    "lease_s",
    "heartbeat_s",
    "shutdown_timeout_s",
    "retry_attempts",
    "retry_delay_s",
    "retry_delay_max_s",
    "max_crashes",
    "timeout_s",
    "retention_days",
    "expiration_check_interval_s",
    "visibility",
    "admins",
    "max_waiting",
    "max_waiting_per_owner",
    "quota_per_day",
    "max_payload_mb",
    "fair_share",
    "preview_fps",
    "cors_allowed_origins",
    "ping_interval_s",
    "ping_timeout_s",
    "webhook_hosts",
]


def test_every_setting_of_the_contract_exists_and_says_what_it_means() -> None:
    described = {item["name"]: item for item in settings.describe()}
    assert set(CONTRACT) <= set(described)
    assert all(
        item["meaning"].endswith(".") and item["allowed"].startswith("allowed is") for item in described.values()
    )


def test_the_defaults_are_those_of_the_contract() -> None:
    chosen = Settings()
    assert (chosen.poll_interval_s, chosen.lease_s, chosen.heartbeat_s, chosen.shutdown_timeout_s) == (1, 60, 10, 15)
    assert (chosen.retry_attempts, chosen.retry_delay_s, chosen.retry_delay_max_s, chosen.max_crashes) == (
        3,
        10,
        600,
        2,
    )
    assert (chosen.timeout_s, chosen.retention_days, chosen.expiration_check_interval_s) == (None, 30, 3600)
    assert (chosen.max_waiting, chosen.max_waiting_per_owner, chosen.quota_per_day, chosen.max_payload_mb) == (
        10_000,
        None,
        None,
        32,
    )
    assert (chosen.preview_fps, chosen.cors_allowed_origins, chosen.ping_interval_s, chosen.ping_timeout_s) == (
        2,
        (),
        25,
        20,
    )
    assert chosen.url == f"sqlite:///{Path('queue-data').absolute().as_posix()}/queue.sqlite3"


def test_the_environment_and_then_the_command_line_win() -> None:
    chosen = settings.from_environment({"QUEUE_EXT_LEASE_S": "90", "QUEUE_EXT_QUEUES": "fast, slow", "PATH": "/bin"})
    assert (chosen.lease_s, chosen.queues) == (90.0, ("fast", "slow"))
    parser = argparse.ArgumentParser()
    settings.add_arguments(parser)
    given = parser.parse_args(["--queue-lease-s", "120", "--queue-fair-share", "off", "--queue-timeout-s", "off"])
    chosen = settings.from_arguments(given, chosen)
    assert (chosen.lease_s, chosen.queues, chosen.fair_share, chosen.timeout_s) == (
        120.0,
        ("fast", "slow"),
        False,
        None,
    )


def test_help_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    settings.add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    shown = capsys.readouterr().out
    assert all(f"--queue-{name.replace('_', '-')}" in shown for name in CONTRACT)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lease_s", "soon"), ("lease_s", "0"), ("lease_s", "nan"), ("lease_s", "inf"), ("lease_s", ""), ("poll_interval_s", "-1"),
        ("retry_attempts", "1.5"), ("retry_attempts", "101"), ("max_waiting", "0"), ("fair_share", "maybe"),
        ("visibility", "secret"), ("queues", "Fast"), ("queues", "a b"), ("table_prefix", "drop table"), ("table_prefix", "x" * 30),
        ("database_url", "queue.sqlite3"), ("database_url", "oracle://x"), ("redis_url", "http://x"), ("max_payload_mb", "0"),
        ("preview_fps", "60"), ("timeout_s", "0.5"), ("retention_days", "-1"), ("prepare_schema", "2"),
    ],
)  # fmt: skip
def test_a_bad_value_stops_with_name_value_and_what_is_allowed(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        settings.from_environment({f"QUEUE_EXT_{name.upper()}": value})
    said = str(refused.value)
    assert name in said and repr(value) in said and "allowed is" in said


def test_an_unknown_name_is_a_typing_mistake() -> None:
    with pytest.raises(InvalidSetting, match="QUEUE_EXT_LEASES") as refused:
        settings.from_environment({"QUEUE_EXT_LEASES": "1"})
    assert "lease_s" in str(refused.value)


def test_a_heartbeat_must_be_quicker_than_the_lease() -> None:
    with pytest.raises(InvalidSetting, match="heartbeat_s"):
        settings.from_environment({"QUEUE_EXT_LEASE_S": "5", "QUEUE_EXT_HEARTBEAT_S": "5"})


@pytest.mark.parametrize("value", ["off", "OFF", "none", "", "0", "false"])
def test_off_can_be_said_in_many_ways(value: str) -> None:
    assert settings.parse("timeout_s", value) is None and settings.parse("fair_share", value) is False


def test_a_password_in_a_refused_address_is_not_repeated() -> None:
    with pytest.raises(InvalidSetting) as refused:
        settings.from_environment({"QUEUE_EXT_DATABASE_URL": "postgress://me:hush@db/queue"})
    assert "hush" not in str(refused.value)


def test_a_folder_may_begin_at_home() -> None:
    assert settings.parse("data_dir", "~/queue") == Path.home() / "queue"
