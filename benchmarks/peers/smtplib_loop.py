"""smtplib as the standard library's documentation shows it: one connection, an EmailMessage per reader."""

import smtplib
import sys
from email.message import EmailMessage

from words import SENDER, SUBJECT, Timed, people, templates


def main(folder, port):
    text, html = templates(folder)
    with Timed(), smtplib.SMTP("127.0.0.1", int(port)) as smtp:
        for reader in people(folder):
            message = EmailMessage()
            message["Subject"] = SUBJECT
            message["From"] = SENDER
            message["To"] = reader["email"]
            message.set_content(text.render(reader))
            message.add_alternative(html.render(reader), subtype="html")
            smtp.send_message(message)


if __name__ == "__main__":
    main(*sys.argv[1:])
