"""What doctor says to a mail server: hello, the login, and good-bye; no mail."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commcast.cli.diagnosis import FAIL, OK, SMTP_PASSWORD, Check
from commcast.errors import ExitCode

if TYPE_CHECKING:
    import smtplib
    import ssl

    from commcast.config_providers import SmtpProvider

_SECONDS = 10.0  # for one answer


def hello(smtp: SmtpProvider, folder: Path) -> Check:
    """Say EHLO, STARTTLS and log in where that is asked for, and NOOP; no mail."""
    import smtplib
    import ssl

    where = f"{smtp.host}:{smtp.port}"
    try:
        context = ssl.create_default_context(cafile=str(folder / smtp.ca_file) if smtp.ca_file else None)
    except (OSError, ValueError):
        what = f"ca_file {smtp.ca_file!r} cannot be read as certificates"
        return Check(
            FAIL, "email", what, 'write ca_file = "…": a PEM file, or leave it out', ExitCode.REFUSED
        )
    try:
        with _dialled(smtp, context) as server:
            server.ehlo()
            if smtp.security == "starttls":
                server.starttls(context=context)
                server.ehlo()
            if smtp.user:
                _log_in(server, smtp.user)
            server.noop()
    except (OSError, smtplib.SMTPException, ValueError) as error:
        return _failed(smtp, where, error)
    return Check(OK, "email", f"{where} answers{' and takes the login' if smtp.user else ''}")


def _dialled(smtp: SmtpProvider, context: ssl.SSLContext) -> smtplib.SMTP:
    import smtplib

    if smtp.security == "tls":
        return smtplib.SMTP_SSL(smtp.host, smtp.port, timeout=_SECONDS, context=context)
    return smtplib.SMTP(smtp.host, smtp.port, timeout=_SECONDS)


def _log_in(server: smtplib.SMTP, user: str) -> None:
    """Log in by one method: the library's `login` tries all, which is several failed logins at once."""
    import smtplib

    server.user, server.password = user, os.environ.get(SMTP_PASSWORD, "")
    methods: dict[str, Any] = {
        "PLAIN": server.auth_plain,
        "LOGIN": server.auth_login,
        "CRAM-MD5": server.auth_cram_md5,
    }
    offered = server.esmtp_features.get("auth", "").upper().split()
    for name, method in methods.items():
        if name in offered:
            server.auth(name, method)
            return
    raise smtplib.SMTPAuthenticationError(504, "no login that we know is offered")


def _failed(smtp: SmtpProvider, where: str, error: Exception) -> Check:
    """Return what a failed hello means, and what to write; a login's answer is left out, it may hold it."""
    import smtplib
    import ssl

    if isinstance(error, smtplib.SMTPAuthenticationError) and error.smtp_code >= 500:
        remedy = f"check user and {SMTP_PASSWORD}"
        return Check(FAIL, "email", f"{where} refuses the login of {smtp.user}", remedy, ExitCode.REFUSED)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        remedy = 'write security = "tls" with port = 465, or name the port that offers it'
        return Check(FAIL, "email", f"{where} offers no STARTTLS", remedy, ExitCode.REFUSED)
    if isinstance(error, ssl.SSLCertVerificationError):
        what = f"the certificate of {where} is not trusted: {error.verify_message}"
        remedy = 'write ca_file = "…" with the certificates that vouch for it, or the host\'s right name'
        return Check(FAIL, "email", what[:200], remedy, ExitCode.REFUSED)
    what = f"{where} does not answer as it should: {_why(error)}"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        what = f"{where} takes no login now"
    remedy = 'check host, port, security ("tls" for port 465, "starttls" for 587), and the way there'
    return Check(FAIL, "email", what[:200], remedy, ExitCode.TRY_AGAIN)


def _why(error: Exception) -> str:
    """Return in plain words what a library says of a broken connection."""
    import ssl

    if isinstance(error, TimeoutError):
        return "no answer in time"
    return "no TLS connection" if isinstance(error, ssl.SSLError) else str(error)
