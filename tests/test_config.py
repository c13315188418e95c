"""commcast.toml: what it means, and every fault at once with its key path."""

from __future__ import annotations

from datetime import time, timedelta
from pathlib import Path

import pytest

from commcast.config_file import config_schema, load_config
from commcast.errors import ConfigError

LEAST = """\
[organisation]
name = "Acme Pay"
[audiences.customers]
recipients = "audiences/customers.csv"
[channels.email]
from = "Acme Pay <status@acme.example>"
"""


def faults(folder: Path, text: str) -> list[str]:
    """Return what is said of a configuration."""
    (folder / "commcast.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(folder)
    return [str(fault) for fault in caught.value.faults]


def test_the_least_that_works(tmp_path: Path) -> None:
    (tmp_path / "commcast.toml").write_text(LEAST)
    config = load_config(tmp_path)
    assert config.organisation.zone == "UTC"
    assert config.cadence_of(1).every == timedelta(minutes=20)
    assert config.audiences_for(4) == ("customers",)


def test_a_cadence_slows_with_age_and_may_differ_by_audience(tmp_path: Path) -> None:
    text = (
        LEAST
        + '[cadence.1]\nfirst = "5m"\nevery = "10m"\nafter_1d = "4h"\nafter_2h = "30m"\ncustomers = "15m"\n'
    )
    (tmp_path / "commcast.toml").write_text(text)
    cadence = load_config(tmp_path).cadence_of(1)
    assert cadence.later == (
        (timedelta(hours=2), timedelta(minutes=30)),
        (timedelta(days=1), timedelta(hours=4)),
    )
    assert cadence.audiences == {"customers": timedelta(minutes=15)}


def test_quiet_hours_and_shares_are_read(tmp_path: Path) -> None:
    text = LEAST + '[channels.sms]\nquiet = "21:00-08:00"\n[send]\ntolerate = "2.5%"\n'
    (tmp_path / "commcast.toml").write_text(text)
    config = load_config(tmp_path)
    assert config.channels.sms is not None
    assert config.channels.sms.quiet == (time(21), time(8))
    assert config.send.tolerate == 0.025


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    text = (
        LEAST.replace('name = "Acme Pay"', 'name = "Acme\\u001b[31m"\nzone = "Europe/Berln"')
        + '[cadence.1]\nevery = "20"\n[send]\ntolerate = 2\nconfirm = 5\n'
    )
    said = faults(tmp_path, text)
    assert [line.split(": ")[1] for line in said] == [
        "organisation.name",
        "organisation.zone",
        "cadence.1.every",
        "send.tolerate",
        "send.confirm",
    ]
    assert "write 20m" in said[2]
    assert "unknown key" in said[4]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[organisation\n", "commcast.toml:1:"),
        (LEAST + "folder = '/etc'\n", "unknown key"),
        ('folder = "/etc"\n' + LEAST, "folder: unknown key"),
        (LEAST.replace("[channels.email]", '[channels.email]\nprovider = "pigeon"'), "write outbox or smtp"),
        (LEAST.replace("[channels.email]", '[channels.email]\nprovider = "smtp"'), "add [providers.smtp]"),
        (LEAST.replace("Acme Pay <status@acme.example>", "Acme Pay"), "is not a sender"),
        (LEAST.replace("Acme Pay <status@acme.example>", "a@b\\r\\nBcc: x@y.example"), "control character"),
        (LEAST + '[cadence.1]\nevry = "20m"\n', "neither a known key"),
        (LEAST + '[cadence.1]\ncutomers = "20m"\n', "neither a known key"),
        (LEAST + '[channels.sms]\nquiet = "9pm-8am"\n', "21:00-08:00"),
        (LEAST + '[channels.sms]\nevents = ["first"]\n', "leaves out 'resolved'"),
        (LEAST.replace("[channels.email]", '[channels.sms]\n[channels.email]\nprovidr = "x"'), "unknown key"),
        (LEAST.replace('customers.csv"', 'customers.csv"\nchannels = ["sms"]'), "add [channels.sms]"),
        (LEAST.replace('customers.csv"', 'customers.csv"\nchannels = []'), "is empty"),
        (LEAST.replace("[audiences.customers]", "[audiences.Cust_omers]"), "audiences"),
        (LEAST + '[providers.smtp]\nhost = "x"\ntimeout = "3h"\n', "between 1s and 2m"),
        (LEAST + '[send]\nunsubscribe = "javascript:alert(1)"\n', "web address"),
    ],
)
def test_a_fault_says_what_to_write(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in line for line in faults(tmp_path, text))


def test_a_folder_without_a_configuration_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="commcast init"):
        load_config(tmp_path)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "commcast.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(tmp_path)


def test_a_huge_or_deep_file_is_refused(tmp_path: Path) -> None:
    assert "1 MiB" in faults(tmp_path, "#" * (1 << 20) + "\n" + LEAST)[0]
    assert faults(tmp_path, "a = " + "[" * 20_000)


def test_what_is_not_served_yet_is_said(tmp_path: Path) -> None:
    text = LEAST + '[silence]\ncustomers = "hold"\n[tick]\nrelease = "committed"\n'
    (tmp_path / "commcast.toml").write_text(text)
    assert load_config(tmp_path).not_served == ("silence", "tick.release")


def test_the_schema_describes_what_is_written() -> None:
    schema = config_schema()
    assert "folder" not in schema["properties"]
    cadence = schema["$defs"]["Cadence"]
    assert set(cadence["properties"]) == {"first", "every"}
    assert cadence["additionalProperties"]["type"] == "string"
    assert "PT" not in str(schema)
