"""Apprise through its API as its documentation shows it: targets are added, then all get one text."""

import sys

import apprise
from words import SUBJECT, Timed, people, templates


def main(folder, port):
    text, _ = templates(folder)
    readers = list(people(folder))
    body = text.render(readers[0])
    with Timed():
        sender = apprise.Apprise()
        for reader in readers:
            sender.add(
                f"mailto://127.0.0.1:{port}/?from=status@acme.example&to={reader['email']}&format=text"
            )
        if not sender.notify(body=body, title=SUBJECT):
            sys.exit("apprise says that it could not notify everybody")


if __name__ == "__main__":
    main(*sys.argv[1:])
