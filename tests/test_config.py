"""commcast.toml: what it means, and every fault at once with its key path."""

from __future__ import annotations

import re
from datetime import time, timedelta
from pathlib import Path

import pytest

from commcast.config.load import config_schema, load_config
from commcast.config.settings import Config
from commcast.errors import ConfigError
from commcast.model.incident import Channel

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


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('veiw = "internal"\n', "audiences.customers.veiw: unknown key; did you mean view?"),
        ("[organisatoin]\n", "organisatoin: unknown key; did you mean organisation?"),
        ("[people.dana]\nemial = 'd@x.org'\n", "people.dana.emial: unknown key; did you mean email"),
        ("[channels.sms]\nform = 'Acme'\n", "channels.sms.form: unknown key; did you mean from?"),
        ("[providers.smtp]\nhost = 'x'\nport = 25\nsecurty = 'tls'\n", "did you mean security?"),
        ("[cadence.1]\nevry = '10m'\n", "cadence.1.evry: is neither a known key nor an audience; did you"),
        ("[cadence.1]\ncustomer = '10m'\n", "did you mean customers?"),
        ("[silence]\nstep = 'hold'\n", "did you mean steps?"),
        ("[send]\nzzz = 1\n", "send.zzz: unknown key; check its spelling: commcast schema config lists all"),
    ],
)
def test_a_key_that_is_nearly_known_is_told_which_was_meant(tmp_path: Path, more: str, said: str) -> None:
    text = LEAST.replace("[channels.email]", f"{more}[channels.email]") if "veiw" in more else LEAST + more
    assert said in "\n".join(faults(tmp_path, text))


def test_the_key_that_was_meant_is_not_said_to_be_missing_as_well(tmp_path: Path) -> None:
    said = faults(tmp_path, LEAST.replace("recipients =", "recipents ="))
    assert said == ["commcast.toml:4:1: audiences.customers.recipents: unknown key; did you mean recipients?"]


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
    assert load_config(tmp_path).not_served == ("tick.release",)


def test_the_schema_describes_what_is_written() -> None:
    schema = config_schema()
    assert "folder" not in schema["properties"]
    cadence = schema["$defs"]["Cadence"]
    assert set(cadence["properties"]) == {"first", "every"}
    assert cadence["additionalProperties"]["type"] == "string"
    silence = schema["$defs"]["Silence"]
    assert set(silence["properties"]) == {"severities", "steps", "then"}
    assert "PT" not in str(schema)


SENDGRID = LEAST + 'provider = "sendgrid"\n'
TWILIO = LEAST + '[channels.sms]\nprovider = "twilio"\nfrom = "Acme"\n'


def loaded(folder: Path, text: str) -> Config:
    (folder / "commcast.toml").write_text(text)
    return load_config(folder)


def test_providers_need_no_table_where_the_defaults_do(tmp_path: Path) -> None:
    config = loaded(tmp_path, SENDGRID)
    assert config.providers.sendgrid.base_url == "https://api.sendgrid.com"
    assert config.providers.sendgrid.batch == 250
    assert loaded(tmp_path, TWILIO).providers.twilio.base_url == "https://api.twilio.com"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://api.sendgrid.com", "in the clear"),
        ("https://user:secret@api.sendgrid.com", "more than a server"),
        ("https://api.sendgrid.com/v3", "more than a server"),
        ("https://api.sendgrid.com?x=1", "more than a server"),
        ("ftp://api.sendgrid.com", "not a web address"),
        ("", "in the clear"),
    ],
)
def test_a_key_is_sent_to_a_server_only_and_never_in_the_clear(tmp_path: Path, url: str, said: str) -> None:
    (line,) = faults(tmp_path, SENDGRID + f'[providers.sendgrid]\nbase_url = "{url}"\n')
    assert re.match(r"commcast\.toml:\d+:\d+: providers\.sendgrid\.base_url: ", line)
    assert said in line
    assert "user:secret" not in line or "https://user" in line  # what was written is shown, nothing else


@pytest.mark.parametrize(
    "url", ["https://api.eu.sendgrid.com", "http://127.0.0.1:8025", "http://[::1]:8025/"]
)
def test_other_servers_of_a_provider_and_stand_ins_are_allowed(tmp_path: Path, url: str) -> None:
    config = loaded(tmp_path, SENDGRID + f'[providers.sendgrid]\nbase_url = "{url}"\n')
    assert config.providers.sendgrid.base_url == url.rstrip("/")


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        (
            SENDGRID + "[providers.sendgrid]\nbatch = 1001\n",
            "providers.sendgrid.batch",
            "is too large; write 1000 or less",
        ),
        (SENDGRID + "[providers.sendgrid]\nper_second = -1\n", "providers.sendgrid.per_second", "0"),
        (SENDGRID + "[providers.sendgrid]\nper_second = nan\n", "providers.sendgrid.per_second", "number"),
        (SENDGRID + 'fallback = "sendgrid"\n', "channels.email.fallback", "the provider itself"),
        (SENDGRID + 'fallback = "outbox"\n', "channels.email.fallback", "tells nobody"),
        (SENDGRID + 'fallback = "smtp"\n', "channels.email.fallback", "no settings"),
        (SENDGRID + 'fallback = "twilio"\n', "channels.email.fallback", "not a provider of email"),
        (TWILIO.replace('from = "Acme"\n', ""), "channels.sms.provider", "no sender"),
        (
            TWILIO + '[providers.twilio]\nmessaging_service = "MG123"\n',
            "providers.twilio.messaging_service",
            "is no SID of a messaging service; write MG and its 32",
        ),
        (
            TWILIO + '[providers.twilio]\nstatus_callback = "https://my_host.example/x"\n',
            "providers.twilio.status_callback",
            "underscore",
        ),
    ],
)
def test_what_a_provider_cannot_work_with_is_refused(tmp_path: Path, text: str, path: str, said: str) -> None:
    if "channels.sms" in path or "[channels.sms]" in text:
        text = text.replace(
            '"audiences/customers.csv"\n', '"audiences/customers.csv"\nchannels = ["email", "sms"]\n'
        )
    (line,) = faults(tmp_path, text)
    assert re.match(rf"commcast\.toml(:\d+:\d+)?: {re.escape(path)}: ", line)
    assert said in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LEAST + "[send]\nconfirm_above = -1\n", "send.confirm_above: is too small; write 0 or more"),
        (LEAST + '[send]\nconfirm_above = "many"\n', "send.confirm_above: is no whole number; write one"),
        (LEAST + "[send]\nconfirm_above = 1.5\n", "send.confirm_above: is no whole number; write one"),
        (LEAST + "[send]\nconfirm_above = []\n", "send.confirm_above: is no whole number; write one"),
        (LEAST + "[send]\nsms_price = 'x'\n", "send.sms_price: is no number; write one"),
        (LEAST + "[send]\nsms_price = []\n", "send.sms_price: is no number; write one"),
        (LEAST + "[send]\nbad_rows = 'keep'\n", "send.bad_rows: is none that is known; write 'skip' or"),
        (LEAST + "[providers]\nsendgrid = 5\n", "is no table; write it as [providers.sendgrid]"),
        (LEAST + "[providers.sendgrid]\nper_second = inf\n", "per_second: is no number to count with"),
        (LEAST + "[providers.sendgrid]\nconnections = 65\n", "connections: is too large; write 64 or less"),
        (LEAST + "[providers.sendgrid]\ncategory = ''\n", "category: is empty; fill it in"),
        (
            LEAST + f"[providers.sendgrid]\ncategory = '{'x' * 256}'\n",
            "category: is too long; write at most 255",
        ),
        (LEAST + "[providers.sendgrid]\ncategory = 5\n", "category: is no text; write it in quotes"),
        (LEAST + "[channels.sms]\nregion = 'Germany'\n", "region: is no region; write a country in two"),
        (LEAST + "[channels.sms]\nevents = 'first'\n", "channels.sms.events: is no list; write one"),
        ("desk = 'mine'\n" + LEAST, "desk: is no desk's name; write 16 to 64"),
        (LEAST.replace("[audiences.customers]", "[audiences.Cust_omers]"), "[key]: is no name; write up to"),
        (LEAST.replace('name = "Acme Pay"', f'name = "{"x" * 61}"'), "is too long; write at most 60"),
    ],
)
def test_no_fault_is_told_in_the_words_of_a_library(tmp_path: Path, text: str, said: str) -> None:
    lines = "\n".join(faults(tmp_path, text))
    assert said in lines
    for foreign in ("Input should", "String should", "Value error", "pattern"):
        assert foreign not in lines


def test_a_limit_is_that_of_the_provider_in_use(tmp_path: Path) -> None:
    config = loaded(tmp_path, SENDGRID + "[providers.sendgrid]\nper_second = 12.5\n")
    assert config.per_second(Channel.EMAIL) == 12.5
    assert config.per_second(Channel.SMS) == 0
    assert loaded(tmp_path, LEAST).per_second(Channel.EMAIL) == 0
