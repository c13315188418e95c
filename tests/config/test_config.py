"""commcast.toml: what it means, and every fault at once with its key path and place."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import time, timedelta
from pathlib import Path
from typing import Any

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


HOUR = timedelta(hours=1)
CADENCE = '[cadence.1]\nfirst = "5m"\nevery = "10m"\nafter_1d = "4h"\nafter_2h = "30m"\ncustomers = "15m"\n'
STAND_IN = SENDGRID + '[providers.sendgrid]\nbase_url = "{}"\n'
LIMIT = "[providers.sendgrid]\nper_second = 12.5\n"


@pytest.mark.parametrize(
    ("more", "ask", "meant"),
    [
        ("", lambda c: (c.organisation.zone, c.cadence_of(1).every), ("UTC", HOUR / 3)),
        ("", lambda c: c.audiences_for(4), ("customers",)),
        (CADENCE, lambda c: c.cadence_of(1).later, ((2 * HOUR, HOUR / 2), (24 * HOUR, 4 * HOUR))),
        (CADENCE, lambda c: c.cadence_of(1).audiences, {"customers": HOUR / 4}),
        ('[channels.sms]\nquiet = "21:00-08:00"\n', lambda c: c.channels.sms.quiet, (time(21), time(8))),
        ('[send]\ntolerate = "2.5%"\n', lambda c: c.send.tolerate, 0.025),
        (SENDGRID, lambda c: c.providers.sendgrid.base_url, "https://api.sendgrid.com"),
        (SENDGRID, lambda c: c.providers.sendgrid.batch, 250),
        (TWILIO + 'from = "A"\n', lambda c: c.providers.twilio.base_url, "https://api.twilio.com"),
        (STAND_IN.format("http://[::1]:8025/"), lambda c: c.providers.sendgrid.base_url, "http://[::1]:8025"),
        # A limit is that of the provider in use.
        (SENDGRID + LIMIT, lambda c: (c.per_second(Channel.EMAIL), c.per_second(Channel.SMS)), (12.5, 0)),
        (LIMIT, lambda c: c.per_second(Channel.EMAIL), 0),
        ("", lambda c: (c.organisation.language, c.brand.colour, c.offers), ("en", "", {})),
        ('[brand]\ncolour = "#0b4F8a"\n', lambda c: c.brand.colour, "#0b4F8a"),
        ('[offers]\nrefund = "A month."\n', lambda c: c.offers, {"refund": "A month."}),
        ('[contact.customers]\nphone = "1"\n', lambda c: c.contact.audiences["customers"].phone, "1"),
        ('[contact]\nhours = "24/7"\n', lambda c: (c.contact.hours, c.contact.audiences), ("24/7", {})),
        (LIMIT.replace("sendgrid", "outbox"), lambda c: c.per_second(Channel.EMAIL), 12.5),
    ],
)
def test_what_settings_mean(tmp_path: Path, more: str, ask: Callable[[Any], object], meant: object) -> None:
    assert ask(loaded(tmp_path, LEAST + more)) == meant


def test_the_schema_describes_what_is_written() -> None:
    schema = config_schema()
    assert "folder" not in schema["properties"]
    assert "release" not in schema["$defs"]["Tick"]["properties"]  # it does nothing
    assert set(schema["$defs"]["Cadence"]["properties"]) == {"first", "every"}
    assert schema["$defs"]["Contact"]["additionalProperties"] == {"$ref": "#/$defs/ContactOf"}
    assert set(schema["$defs"]["Silence"]["properties"]) == {"severities", "steps", "then"}
    assert "PT" not in str(schema)


# Text below LEAST, and what is said of it.
REFUSED_BELOW = [
    ("folder = '/etc'\n", "unknown key"),
    ("[organisatoin]\n", "organisatoin: unknown key; did you mean organisation?"),
    ("[people.dana]\nemial = 'd@x.org'\n", "people.dana.emial: unknown key; did you mean email"),
    ("[providers.smtp]\nhost = 'x'\nport = 25\nsecurty = 'tls'\n", "did you mean security?"),
    ("[cadence.1]\nevry = '10m'\n", "cadence.1.evry: is neither a known key nor an audience; did you"),
    ("[send]\nzzz = 1\n", "send.zzz: unknown key; check its spelling: commcast schema config lists all"),
    *((f"[providers.outbox]\nfolder = '{name}'\n", f"providers.outbox.folder: {name!r} is not a folder of")
      for name in (".git/hooks", ".commcast", "../x", "/tmp/x", "a/../../x", "Incidents", "templates/x", "")),
    ("[nudge]\nenv = ['TOKEN=x']\n", "nudge.env.0: is not the name of a variable; write one such as"),
    ("[channels.sms]\nquiet = '9pm-8am'\n", "21:00-08:00"),
    ("[brand]\ncolour = 'blue'\n", 'brand.colour: is not a colour; write six hexadecimal digits'),
    ("[offers]\nrefund = ''\n", "offers.refund: is empty; fill it in"),
    ("[offers]\n'Re fund' = 'x'\n", "[key]: is not a name; use up to 40"),
    ("[contact.board]\nphone = '1'\n", "contact.board: is neither a known key nor an audience; audiences"),
    ("[contact.customer]\nphone = '1'\n", "contact.customer: is neither a known key nor an audience; did"),
    ("[contact.customers]\nfone = '1'\n", "contact.customers.fone: unknown key; did you mean phone?"),
    ("[contact]\nhours = 'weekdays'\n", "contact.hours: 'weekdays' is not a day with its hours; write"),
    ("[contact.customers]\nhours = 'Mon 8-18'\n", "contact.customers.hours: 'Mon 8-18' is not a day with"),
    ("[channels.sms]\nevents = ['first']\n", "channels.sms.events: leaves out 'resolved'"),
    ("[channels.sms]\nevents = 'first'\n", "channels.sms.events: is not a list; write one"),
    ("[channels.sms]\nregion = 'Germany'\n", "region: is not a region; write a country in two"),
    ("[providers.smtp]\nhost = 'x'\ntimeout = '3h'\n", "between 1s and 2m"),
    ("[providers]\nsendgrid = 5\n", "is not a table; write it as [providers.sendgrid]"),
    ("[providers.sendgrid]\nbatch = 1001\n", "providers.sendgrid.batch: is too large; write 1000 or less"),
    ("[providers.sendgrid]\nper_second = -1\n", "providers.sendgrid.per_second: is too small; write 0"),
    ("[providers.sendgrid]\nper_second = nan\n", "per_second: is not a finite number"),
    ("[providers.sendgrid]\ncategory = ''\n", "category: is empty; fill it in"),
    (f"[providers.sendgrid]\ncategory = '{'x' * 256}'\n", "category: is too long; write at most 255"),
    ("[send]\nunsubscribe = 'javascript:alert(1)'\n", "web address"),
    ("[send]\nconfirm_above = 'many'\n", "send.confirm_above: is not a whole number; write one"),
    ("[send]\nsms_price = 'x'\n", "send.sms_price: is not a number; write one"),
    ("[tick]\nrelease = 'committed'\n", "tick.release: is not known; write 'never'"),
    ("[send]\nbad_rows = 'keep'\n", "send.bad_rows: is not known; write 'skip' or"),
    ("provider = 'pigeon'", "unknown email provider 'pigeon'; use outbox, smtp or sendgrid"),
    ("provider = 'smtp'", "channels.email.provider: smtp has no settings; add [providers.smtp]"),
    (SENDGRID + "fallback = 'sendgrid'\n", "channels.email.fallback: is the provider itself"),
    (SENDGRID + "fallback = 'outbox'\n", "channels.email.fallback: outbox sends nothing"),
    (SENDGRID + "fallback = 'smtp'\n", "channels.email.fallback: smtp has no settings"),
    (TWILIO, "channels.sms.provider: twilio has no sender"),
    ("[people.dana]\nname = 'D'\nemail = 'dana'\n", "people.dana.email: is not one address; write"),
    ("[people.dana]\nname = 'D'\nemail = 'a@b.example, c@b.example'\n", "people.dana.email: is not one"),
    ("[send]\nunsubscribe = 'mailto:a@b@c.example'\n", "send.unsubscribe: is not one address; write"),
    ("[silence]\ncustomers = 'fax'\n", "is not known; write 'hold' or 'nudge'"),
    ("[providers.twilio]\nmessaging_service = 'MG123'\n", "is not a messaging service SID; copy it"),
    ("[providers.twilio]\nstatus_callback = 'https://my_host.example/x'\n", "underscore"),
]  # fmt: skip
REFUSED_BELOW += [
    # A key is sent to a server only, and never in the clear.
    (STAND_IN.format(url), f"providers.sendgrid.base_url: {url!r} {said}")
    for said, urls in {
        "has more than a server": ["https://user:secret@api.sendgrid.com", "https://api.sendgrid.com?x=1"],
        "has more than a server; write https": ["https://api.sendgrid.com/v3"],
        "would send the key in the clear": ["http://api.sendgrid.com", ""],
        "is not a web address": ["ftp://api.sendgrid.com"],
    }.items()
    for url in urls
]
# What of LEAST is written otherwise, and what is said of it.
REFUSED_INSTEAD = [
    ("[organisation]", "[organisation", "commcast.toml:1:"),
    ("[organisation]", "[organisation]\nlanguage = 'English'", "language: is not a locale; write one"),
    ("[organisation]", "desk = 'mine'\n[organisation]", "desk: is not a desk's id; write 16 to 64"),
    ("Acme Pay", "x" * 61, "is too long; write at most 60"),
    ("[audiences.customers]", "[audiences.Cust_omers]", "[key]: is not a name; use up to"),
    ("[channels.email]", "veiw = 'internal'\n[channels.email]", "veiw: unknown key; did you mean view?"),
    ("[channels.email]", "channels = ['sms']\n[channels.email]", "add [channels.sms]"),
    ("[channels.email]", "channels = []\n[channels.email]", "audiences.customers.channels: is empty"),
    ("[channels.email]", "[channels.email]\nprovidr = 'x'", "unknown key"),
    (" <status@acme.example>", "", "channels.email.from: is not one address; write"),
    *(
        ("Acme Pay <status@acme.example>", two, "channels.email.from: is not one address; write")
        for two in (
            *("Acme Pay <status@acme.example>, b@acme.example", "b@acme.example, Acme <status@acme.example>"),
            *("b@acme.example; <status@acme.example>", "Acme <a@b@acme.example>", "Acme <status>"),
            *("Acme <a..b@acme.example>", "Acme <-a@acme.example>", "Acme <a@acme..example>"),
        )
    ),
    *(
        ("[channels.email]", f"[contact]\nreply_to = '{two}'\n[channels.email]", "contact.reply_to: is")
        for two in ("a@b.example, c@b.example", "dana")
    ),
    ("Acme Pay <status@acme.example>", "", "channels.email.from: is empty; fill it in"),
    ("Acme Pay <status@acme.example>", "Acme <stätus@acme.example>", "must be an ASCII address"),
    ("[channels.email]", "<<<<<<< HEAD\n[channels.email]\n=======\n>>>>>>> b\n", "toml:5:1: unresolved"),
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
def test_a_fault_says_what_to_write_in_our_own_words_always(tmp_path: Path, text: str, said: str) -> None:
    lines = faults(tmp_path, text)
    assert said in "\n".join(lines)
    for line in lines:
        assert re.match(r"commcast\.toml(:\d+:\d+)?: ", line)
        assert not re.search("Input should|String should|Value error|pattern", line)


def test_all_faults_are_named_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = LEAST.replace('name = "Acme Pay"', 'name = "Acme\\u001b[31m"\nzone = "Europe/Berln"')
    said = faults(tmp_path, text + '[cadence.1]\nevery = "20"\n[send]\ntolerate = 2\nconfirm = 5\n')
    paths = ["organisation.name", "organisation.zone", "cadence.1.every", "send.tolerate", "send.confirm"]
    assert [line.split(": ")[1] for line in said] == paths
    assert "write 20m" in said[2]
    assert "unknown key" in said[4]
    said = faults(tmp_path, LEAST.replace("recipients =", "recipents ="))  # it is not missing as well
    assert said == ["commcast.toml:4:1: audiences.customers.recipents: unknown key; did you mean recipients?"]


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"no desk here: no commcast\.toml in {tmp_path}; commcast init"):
        load_config(tmp_path)
    (tmp_path / "commcast.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(tmp_path)
    assert "1 MiB" in faults(tmp_path, "#" * (1 << 20) + "\n" + LEAST)[0]
    assert "nested" in faults(tmp_path, "a = " + "[" * 20_000)[0]


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


PLACES = [
    *(("desk", (2, 1)), ("send", (4, 2)), ("send.most_an_hour", (6, 1)), ("channels.email.from", (21, 31))),
    *(("audiences.support", (8, 12)), ("audiences.support.view", (9, 1)), ("providers.smtp", (0, 0))),
    *(("audiences.support.channels.1", (10, 1)), ("audiences.support.rank", (14, 1))),
    *(("audiences.support.recipients", (8, 12)), ("audiences.big one.note", (16, 1))),
    *(("channels.sms.provider", (22, 5)), ("channels.sms.quiet", (22, 1))),
]


def test_a_key_is_found_where_it_begins() -> None:
    assert [(path, Places(TEXT).of(path)) for path, _ in PLACES] == PLACES


def test_a_key_of_another_table_is_not_the_one_and_the_search_has_an_end() -> None:
    assert Places("[a]\nkey = 1\n[c]\nkey = 2\n").of("c.key") == (4, 1)
    assert Places('"k\\u0065y" = 1\n[c]\nkey = 2\n').of("key") == (0, 0)
    text = "[a]\n" + "".join(f'k{number} = "last"\n' for number in range(3_000)) + "last = 1\n"
    assert Places(text).of("a.last") == (0, 0)
