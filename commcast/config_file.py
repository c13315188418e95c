"""Reads commcast.toml into a Config: every fault at once, with its key path."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from commcast.config import CONFIG_NAME, Config
from commcast.errors import ConfigError, Fault
from commcast.model import Channel

PROVIDERS = {Channel.EMAIL: ("outbox", "smtp", "sendgrid"), Channel.SMS: ("outbox", "twilio")}
_LARGEST_CONFIG = 1 << 20  # bytes


def load_config(folder: Path) -> Config:
    """Read and check `folder`/commcast.toml.

    Raises ConfigError with every fault found. TOML keeps no line numbers: a fault names file and key path.
    """
    path = folder / CONFIG_NAME
    data = _read_toml(path)
    if "folder" in data:
        raise ConfigError(Fault(CONFIG_NAME, 0, 0, "folder: unknown key", "take it out"))
    try:
        config = Config.model_validate({**data, "folder": folder})
    except ValidationError as error:
        raise ConfigError(_faults(error)) from None
    faults = list(_cross_faults(config))
    if faults:
        raise ConfigError(faults)
    return config


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of commcast.toml."""
    schema = Config.model_json_schema(by_alias=True)
    del schema["properties"]["folder"]  # where the file stands, not what stands in it
    # Besides its own keys a cadence takes after_2h, after_1d … and the names of audiences.
    cadence = schema["$defs"]["Cadence"]
    length = cadence["properties"]["every"]
    cadence["properties"] = {key: cadence["properties"][key] for key in ("first", "every")}
    cadence["additionalProperties"] = {key: length[key] for key in ("type", "description", "examples")}
    _drop_iso_defaults(schema)
    return schema


def _drop_iso_defaults(node: Any) -> None:
    """Take out defaults such as PT20M: nobody may write a length of time so, nor a table that holds one."""
    if isinstance(node, dict):
        default = node.get("default", "")
        if isinstance(default, dict) or (str(default).startswith("P") and node.get("type") == "string"):
            del node["default"]
        for value in node.values():
            _drop_iso_defaults(value)
    elif isinstance(node, list):
        for value in node:
            _drop_iso_defaults(value)


def _read_toml(path: Path) -> dict[str, Any]:
    name = path.name
    try:
        if not path.is_file():
            raise ConfigError(
                Fault(name, 0, 0, f"no {name} here or above", "go to the folder, or make one: commcast init")
            )
        raw = path.read_bytes()[: _LARGEST_CONFIG + 1]
    except OSError as error:
        remedy = f"look at: ls -l {path}"
        raise ConfigError(Fault(name, 0, 0, f"cannot be read: {error.strerror}", remedy)) from None
    if len(raw) > _LARGEST_CONFIG:
        raise ConfigError(Fault(name, 0, 0, "is larger than 1 MiB", "keep recipients in audiences/*.csv"))
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigError(Fault(name, 0, 0, "is not UTF-8 text", "save it as UTF-8")) from None
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line, column = (int(found[1]), int(found[2])) if found else (0, 0)
        what = re.sub(r"\s*\(at .*\)$", "", str(error))
        raise ConfigError(Fault(name, line, column, f"is not TOML: {what}", "mend the line")) from None
    except RecursionError:
        raise ConfigError(Fault(name, 0, 0, "is nested too deeply", "mend the brackets")) from None


def _faults(error: ValidationError) -> list[Fault]:
    faults = []
    for problem in error.errors(include_url=False, include_input=False):
        path = ".".join(
            str(part) for part in problem["loc"] if part not in {"function-before", "function-after"}
        )
        what, _, remedy = problem["msg"].removeprefix("Value error, ").partition("; ")
        if problem["type"] == "extra_forbidden":
            what, remedy = "unknown key", "check its spelling: commcast schema config lists all"
        elif problem["type"] == "missing":
            what, remedy = "is missing", "add it: commcast schema config tells what it holds"
        faults.append(Fault(CONFIG_NAME, 0, 0, f"{path}: {what}", remedy))
    return faults


def _cross_faults(config: Config) -> list[Fault]:
    found: list[tuple[str, str, str]] = []
    known = ", ".join(config.audiences)
    for name, audience in config.audiences.items():
        found.extend(
            (f"audiences.{name}.channels", f"uses {channel}, which has no table", f"add [channels.{channel}]")
            for channel in audience.channels
            if getattr(config.channels, channel) is None
        )
        if not audience.channels:
            found.append((f"audiences.{name}.channels", "is empty", 'write ["email"], ["sms"] or both'))
    for severity, cadence in config.cadence.items():
        found.extend(
            (
                f"cadence.{severity}.{name}",
                "is neither a known key nor an audience",
                f"audiences are: {known}",
            )
            for name in cadence.audiences
            if name not in config.audiences
        )
    if config.channels.sms is not None:
        found.extend(
            (
                "channels.sms.events",
                f"leaves out {event!r}",
                "add it: who is texted that it began is texted its end",
            )
            for event in ("resolved", "retracted")
            if event not in config.channels.sms.events
        )
    for channel in Channel:
        used = getattr(config.channels, channel)
        if used is not None:
            found.extend(_provider_faults(config, channel, "provider", used.provider))
        if used is not None and used.fallback:
            found.extend(_fallback_faults(config, channel, used.provider, used.fallback))
    return [Fault(CONFIG_NAME, 0, 0, f"{path}: {what}", remedy) for path, what, remedy in found]


def _provider_faults(config: Config, channel: Channel, key: str, provider: str) -> list[tuple[str, str, str]]:
    path = f"channels.{channel}.{key}"
    if provider not in PROVIDERS[channel]:
        usable = " or ".join(PROVIDERS[channel])
        return [(path, f"{provider!r:.40} is not a provider of {channel}", f"write {usable}")]
    if provider == "smtp" and config.providers.smtp is None:
        return [(path, "smtp has no settings", "add [providers.smtp] with host and port")]
    sms = config.channels.sms
    if provider == "twilio" and not (config.providers.twilio.messaging_service or (sms and sms.sender)):
        remedy = "write from in [channels.sms], or messaging_service in [providers.twilio]"
        return [(path, "twilio has no sender", remedy)]
    return []


def _fallback_faults(
    config: Config, channel: Channel, provider: str, fallback: str
) -> list[tuple[str, str, str]]:
    path = f"channels.{channel}.fallback"
    if fallback == provider:
        return [(path, "is the provider itself", "name another, or leave it out")]
    if fallback == "outbox":
        # What went into a file counts as told, and nobody read it.
        return [(path, "outbox tells nobody", "name a provider that sends, or leave it out")]
    return _provider_faults(config, channel, "fallback", fallback)
