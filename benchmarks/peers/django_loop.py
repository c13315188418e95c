"""Django as its documentation shows it: EmailMultiAlternatives over one connection that is opened once."""

import sys

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from words import SENDER, SUBJECT, Timed, people, templates


def main(folder, port):
    settings.configure(EMAIL_HOST="127.0.0.1", EMAIL_PORT=int(port), DEFAULT_CHARSET="utf-8")
    text, html = templates(folder)
    with Timed(), get_connection() as connection:
        for reader in people(folder):
            message = EmailMultiAlternatives(
                SUBJECT, text.render(reader), SENDER, [reader["email"]], connection=connection
            )
            message.attach_alternative(html.render(reader), "text/html")
            message.send()


if __name__ == "__main__":
    main(*sys.argv[1:])
