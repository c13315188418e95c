"""commcast.toml: what it means, and every fault at once with its key path and place."""

from __future__ import annotations

import re
from datetime import time, timedelta
from pathlib import Path

import pytest

from commcast.config.load import Places, config_schema, load_config
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
SENDGRID = 'provider = "sendgrid"\n'  # below LEAST: of [channels.email]
TWILIO = '[channels.sms]\nprovider = "twilio"\n'


def loaded(folder: Path, text: str) -> Config:
    (folder / "commcast.toml").write_text(text)
    return load_config(folder)


def faults(folder: Path, text: str) -> list[str]:
    """Return what is said of a configuration."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    return [str(fault) for fault in caught.value.faults]


# --- what it means ------------------------------------------------------------------------------------------


def test_the_least_that_works(tmp_path: Path) -> None:
    config = loaded(tmp_path, LEAST)
    assert config.organisation.zone == "UTC"
    assert config.cadence_of(1).every == timedelta(minutes=20)
    assert config.audiences_for(4) == ("customers",)


def test_a_cadence_slows_with_age_and_may_differ_by_audience(tmp_path: Path) -> None:
    own = '[cadence.1]\nfirst = "5m"\nevery = "10m"\nafter_1d = "4h"\nafter_2h = "30m"\ncustomers = "15m"\n'
    cadence = loaded(tmp_path, LEAST + own).cadence_of(1)
    hour = timedelta(hours=1)
    assert cadence.later == ((2 * hour, hour / 2), (24 * hour, 4 * hour))
    assert cadence.audiences == {"customers": hour / 4}


def test_quiet_hours_and_shares_are_read(tmp_path: Path) -> None:
    config = loaded(tmp_path, LEAST + '[channels.sms]\nquiet = "21:00-08:00"\n[send]\ntolerate = "2.5%"\n')
    assert config.channels.sms is not None
    assert config.channels.sms.quiet == (time(21), time(8))
    assert config.send.tolerate == 0.025


def test_what_is_not_served_yet_is_said(tmp_path: Path) -> None:
    text = LEAST + '[silence]\ncustomers = "hold"\n[tick]\nrelease = "committed"\n'
    assert loaded(tmp_path, text).not_served == ("tick.release",)


def test_providers_need_no_table_where_the_defaults_do(tmp_path: Path) -> None:
    providers = loaded(tmp_path, LEAST + SENDGRID + TWILIO + 'from = "Acme"\n').providers
    assert (providers.sendgrid.base_url, providers.sendgrid.batch) == ("https://api.sendgrid.com", 250)
    assert providers.twilio.base_url == "https://api.twilio.com"


@pytest.mark.parametrize(
    "url", ["https://api.eu.sendgrid.com", "http://127.0.0.1:8025", "http://[::1]:8025/"]
)
def test_other_servers_of_a_provider_and_stand_ins_are_allowed(tmp_path: Path, url: str) -> None:
    config = loaded(tmp_path, LEAST + SENDGRID + f'[providers.sendgrid]\nbase_url = "{url}"\n')
    assert config.providers.sendgrid.base_url == url.rstrip("/")


def test_a_limit_is_that_of_the_provider_in_use(tmp_path: Path) -> None:
    limit = "[providers.sendgrid]\nper_second = 12.5\n"
    config = loaded(tmp_path, LEAST + SENDGRID + limit)
    assert (config.per_second(Channel.EMAIL), config.per_second(Channel.SMS)) == (12.5, 0)
    assert loaded(tmp_path, LEAST + limit).per_second(Channel.EMAIL) == 0


def test_the_schema_describes_what_is_written() -> None:
    schema = config_schema()
    assert "folder" not in schema["properties"]
    cadence = schema["$defs"]["Cadence"]
    assert set(cadence["properties"]) == {"first", "every"}
    assert cadence["additionalProperties"]["type"] == "string"
    silence = schema["$defs"]["Silence"]
    assert set(silence["properties"]) == {"severities", "steps", "then"}
    assert "PT" not in str(schema)


# --- what is refused ----------------------------------------------------------------------------------------

# Text below LEAST, and what is said of it.
REFUSED_BELOW = [
    ("folder = '/etc'\n", "unknown key"),
    ("[organisatoin]\n", "organisatoin: unknown key; did you mean organisation?"),
    ("[people.dana]\nemial = 'd@x.org'\n", "people.dana.emial: unknown key; did you mean email"),
    ("[channels.sms]\nform = 'Acme'\n", "channels.sms.form: unknown key; did you mean from?"),
    ("[providers.smtp]\nhost = 'x'\nport = 25\nsecurty = 'tls'\n", "did you mean security?"),
    ("[cadence.1]\nevry = '10m'\n", "cadence.1.evry: is neither a known key nor an audience; did you"),
    ("[cadence.1]\ncustomer = '10m'\n", "did you mean customers?"),
    ("[cadence.1]\nzzz = '10m'\n", "audiences are: customers"),
    ("[silence]\nstep = 'hold'\n", "did you mean steps?"),
    ("[send]\nzzz = 1\n", "send.zzz: unknown key; check its spelling: commcast schema config lists all"),
    ("[channels.sms]\nquiet = '9pm-8am'\n", "21:00-08:00"),
    ("[channels.sms]\nevents = ['first']\n", "channels.sms.events: leaves out 'resolved'"),
    ("[channels.sms]\nevents = 'first'\n", "channels.sms.events: is not a list; write one"),
    ("[channels.sms]\nregion = 'Germany'\n", "region: is not a region; write a country in two"),
    ("[providers.smtp]\nhost = 'x'\ntimeout = '3h'\n", "between 1s and 2m"),
    ("[providers]\nsendgrid = 5\n", "is not a table; write it as [providers.sendgrid]"),
    ("[providers.sendgrid]\nbatch = 1001\n", "providers.sendgrid.batch: is too large; write 1000 or less"),
    ("[providers.sendgrid]\nconnections = 65\n", "connections: is too large; write 64 or less"),
    ("[providers.sendgrid]\nper_second = -1\n", "providers.sendgrid.per_second: is too small; write 0"),
    ("[providers.sendgrid]\nper_second = nan\n", "per_second: is not a finite number"),
    ("[providers.sendgrid]\nper_second = inf\n", "per_second: is not a finite number"),
    ("[providers.sendgrid]\ncategory = ''\n", "category: is empty; fill it in"),
    (f"[providers.sendgrid]\ncategory = '{'x' * 256}'\n", "category: is too long; write at most 255"),
    ("[providers.sendgrid]\ncategory = 5\n", "category: is not text; write it in quotes"),
    ("[send]\nunsubscribe = 'javascript:alert(1)'\n", "web address"),
    ("[send]\nconfirm_above = -1\n", "send.confirm_above: is too small; write 0 or more"),
    ("[send]\nconfirm_above = 'many'\n", "send.confirm_above: is not a whole number; write one"),
    ("[send]\nconfirm_above = 1.5\n", "send.confirm_above: is not a whole number; write one"),
    ("[send]\nconfirm_above = []\n", "send.confirm_above: is not a whole number; write one"),
    ("[send]\nsms_price = 'x'\n", "send.sms_price: is not a number; write one"),
    ("[send]\nsms_price = []\n", "send.sms_price: is not a number; write one"),
    ("[send]\nbad_rows = 'keep'\n", "send.bad_rows: is not known; write 'skip' or"),
    ("provider = 'pigeon'", "unknown email provider 'pigeon'; use outbox, smtp or sendgrid"),
    ("provider = 'smtp'", "channels.email.provider: smtp has no settings; add [providers.smtp]"),
    (SENDGRID + "fallback = 'sendgrid'\n", "channels.email.fallback: is the provider itself"),
    (SENDGRID + "fallback = 'outbox'\n", "channels.email.fallback: outbox sends nothing"),
    (SENDGRID + "fallback = 'smtp'\n", "channels.email.fallback: smtp has no settings"),
    (SENDGRID + "fallback = 'twilio'\n", "channels.email.fallback: unknown email provider 'twilio'"),
    (TWILIO, "channels.sms.provider: twilio has no sender"),
    ("[providers.twilio]\nmessaging_service = 'MG123'\n", "is not a messaging service SID; copy it"),
    ("[providers.twilio]\nstatus_callback = 'https://my_host.example/x'\n", "status_callback: 'https://my_host"),
    ("[providers.twilio]\nstatus_callback = 'https://my_host.example/x'\n", "underscore"),
]  # fmt: skip
# What of LEAST is written otherwise, and what is said of it.
REFUSED_INSTEAD = [
    ("[organisation]", "[organisation", "commcast.toml:1:"),
    ("[organisation]", "folder = '/etc'\n[organisation]", "folder: unknown key"),
    ("[organisation]", "desk = 'mine'\n[organisation]", "desk: is not a desk's id; write 16 to 64"),
    ("Acme Pay", "x" * 61, "is too long; write at most 60"),
    ("[audiences.customers]", "[audiences.Cust_omers]", "[key]: is not a name; use up to"),
    ("[channels.email]", "veiw = 'internal'\n[channels.email]", "veiw: unknown key; did you mean view?"),
    ("[channels.email]", "channels = ['sms']\n[channels.email]", "add [channels.sms]"),
    ("[channels.email]", "channels = []\n[channels.email]", "audiences.customers.channels: is empty"),
    ("[channels.email]", "[channels.email]\nprovidr = 'x'", "unknown key"),
    (" <status@acme.example>", "", "is not a sender"),
    ("Acme Pay <status@acme.example>", "a@b\\r\\nBcc: x@y.example", "control character"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *((LEAST + more, said) for more, said in REFUSED_BELOW),
        *((LEAST.replace(old, new), said) for old, new, said in REFUSED_INSTEAD),
    ],
    ids=[row[-1] for row in (*REFUSED_BELOW, *REFUSED_INSTEAD)],
)
def test_a_fault_says_what_to_write_and_never_in_the_words_of_a_library(
    tmp_path: Path, text: str, said: str
) -> None:
    lines = faults(tmp_path, text)
    assert said in "\n".join(lines)
    for line in lines:
        assert re.match(r"commcast\.toml(:\d+:\d+)?: ", line)
        assert not any(
            foreign in line for foreign in ("Input should", "String should", "Value error", "pattern")
        )


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
    (line,) = faults(tmp_path, LEAST + SENDGRID + f'[providers.sendgrid]\nbase_url = "{url}"\n')
    assert re.match(r"commcast\.toml:\d+:\d+: providers\.sendgrid\.base_url: ", line)
    assert said in line


def test_all_faults_are_named_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = LEAST.replace('name = "Acme Pay"', 'name = "Acme\\u001b[31m"\nzone = "Europe/Berln"')
    said = faults(tmp_path, text + '[cadence.1]\nevery = "20"\n[send]\ntolerate = 2\nconfirm = 5\n')
    paths = ["organisation.name", "organisation.zone", "cadence.1.every", "send.tolerate", "send.confirm"]
    assert [line.split(": ")[1] for line in said] == paths
    assert "write 20m" in said[2]
    assert "unknown key" in said[4]


def test_the_key_that_was_meant_is_not_said_to_be_missing_as_well(tmp_path: Path) -> None:
    said = faults(tmp_path, LEAST.replace("recipients =", "recipents ="))
    assert said == ["commcast.toml:4:1: audiences.customers.recipents: unknown key; did you mean recipients?"]


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="commcast init"):
        load_config(tmp_path)
    (tmp_path / "commcast.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(tmp_path)
    assert "1 MiB" in faults(tmp_path, "#" * (1 << 20) + "\n" + LEAST)[0]
    assert "nested" in faults(tmp_path, "a = " + "[" * 20_000)[0]


# --- where keys stand, in every way in which TOML may write them --------------------------------------------

TEXT = """\
# most_an_hour = 1
desk = "a"          # desk

[send]
confirm_above = 1
most_an_hour = 0

[audiences.support]
view = "internal" # rank
channels = [
  "email",
  "pigeon",
]
rank = 1
[audiences."big one"]
note = '''
[channels.sms]
quiet = "x"
'''
[channels]
email = {provider = "outbox", from = "a"}
sms.provider = "twilio"
"""


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("desk", (2, 1)),
        ("send", (4, 2)),
        ("send.most_an_hour", (6, 1)),
        ("audiences.support", (8, 12)),
        ("audiences.support.view", (9, 1)),
        ("audiences.support.channels", (10, 1)),
        ("audiences.support.channels.1", (10, 1)),
        ("audiences.support.rank", (14, 1)),
        ("audiences.big one.note", (16, 1)),
        ("channels.sms.provider", (22, 5)),
        ("channels.sms.quiet", (22, 1)),
        ("channels.email.from", (21, 31)),
        ("audiences.support.recipients", (8, 12)),
        ("providers.smtp", (0, 0)),
    ],
)
def test_a_key_is_found_where_it_begins(path: str, place: tuple[int, int]) -> None:
    """One in a comment or in a text is none; one that is missing is missing in its table."""
    assert Places(TEXT).of(path) == place


def test_a_key_of_another_table_is_not_the_one() -> None:
    """Written with an escape it is not found at all, rather than in another table."""
    assert Places("[a]\nkey = 1\n[c]\nkey = 2\n").of("c.key") == (4, 1)
    assert Places('"k\\u0065y" = 1\n[c]\nkey = 2\n').of("key") == (0, 0)


def test_a_text_of_many_lines_is_not_searched_for_ever() -> None:
    """Each look costs a parse of all before it."""
    text = "[a]\n" + "".join(f'k{number} = "last"\n' for number in range(3_000)) + "last = 1\n"
    assert Places(text).of("a.last") == (0, 0)
