"""Brings the peers: their Python packages into benchmarks/.venv, Postfix's tools and wrk from Debian."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from benchmarks.children import PYTHON, ROOT, environment

_HERE = Path(__file__).resolve().parent
_VENV = _HERE / ".venv"
_PINS = _HERE / "peers.txt"
_STAMP = _VENV / "ready"
SCRIPTS = _HERE / "peers"
PEER_PYTHON = _VENV / "bin" / "python"
MAILMERGE = _VENV / "bin" / "mailmerge"
_OURS = ("pydantic", "sendgrid", "SQLAlchemy", "twilio", "typer", "uvloop")
_INSTALL_SECONDS = 900

Tell = Callable[[str], None]


def install(tell: Tell) -> None:
    """Install what is missing and may be installed; say what is missing still."""
    _compile()
    if not _is_ready():
        tell("installing the peers into benchmarks/.venv")
        said = _call(PYTHON, "-m", "venv", "--clear", _VENV)
        pip = (PEER_PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        said = said or _call(*pip, "--requirement", _PINS)
        if said:
            tell(f"the peers could not be installed: {said}")
        else:
            _STAMP.write_text(_pins())
    packages = {"smtp-source": "postfix", "wrk": "wrk"}
    missing = [package for tool, package in packages.items() if missing_tool(tool)]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        tell(f"installing {' and '.join(missing)}")
        _call("apt-get", "-qq", "update")
        # Without a configuration Postfix is not started, and nothing but its test tools is used.
        choice = "postfix postfix/main_mailer_type select No configuration\n"
        _call("debconf-set-selections", text=choice)
        _call("apt-get", "-qq", "install", "--yes", "--no-install-recommends", *missing)
    for tool in packages:
        if why := missing_tool(tool):
            tell(why)


def missing_tool(name: str) -> str:
    """Return why a program cannot be run, "" where it can."""
    if shutil.which(name, path=environment()["PATH"]):
        return ""
    package = "wrk" if name == "wrk" else "postfix"
    return f"{name} is not installed (Debian, Ubuntu: apt-get install {package})"


def missing_peers() -> str:
    """Return why the peers' packages cannot be run, "" where they can."""
    return "" if _is_ready() else "the peers are not installed: run without --no-install"


def versions() -> dict[str, str]:
    """Return the version of each program that is compared, where it is installed."""
    found = {name: importlib.metadata.version(name) for name in _OURS}
    if _is_ready():
        wanted = re.findall(r"^(\w+)==", _PINS.read_text(), re.MULTILINE)
        there = importlib.metadata.distributions(
            path=[str(each) for each in _VENV.glob("lib/python*/site-packages")]
        )
        found |= {each.name: each.version for each in there if each.name in wanted}
    for name, command, pattern in (
        ("Postfix", ("postconf", "-dh", "mail_version"), r"(\S+)"),
        ("wrk", ("wrk", "-v"), r"wrk \D*([\d.]+)"),
    ):
        if not missing_tool("wrk" if name == "wrk" else "smtp-source"):
            done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
            if match := re.search(pattern, done.stdout + done.stderr):
                found[name] = match[1]
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _compile() -> None:
    _call(PYTHON, "-m", "compileall", "-q", ROOT / "commcast", _HERE, "-x", r"[/\\]\.venv[/\\]")


def _is_ready() -> bool:
    return _STAMP.exists() and _STAMP.read_text() == _pins() and MAILMERGE.exists()


def _pins() -> str:
    return hashlib.sha256(_PINS.read_bytes()).hexdigest()


def _call(*command: str | Path, text: str | None = None) -> str:
    """Run an installer; return what it said where it failed."""
    env = environment({"DEBIAN_FRONTEND": "noninteractive"}, ours=False)
    try:
        done = subprocess.run(
            [str(word) for word in command],
            input=text if text is not None else "",
            capture_output=True,
            text=True,
            env=env,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr.strip()[-400:] or "it failed" if done.returncode else ""
