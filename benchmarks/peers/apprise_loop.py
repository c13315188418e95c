"""Apprise through its API as its documentation shows it: one service with many targets, one text for all."""

import sys

import apprise
from words import SUBJECT, Timed, people, templates


def main(folder, port):
    text, _ = templates(folder)
    readers = list(people(folder))
    body = text.render(readers[0])
    targets = ",".join(reader["email"] for reader in readers)
    with Timed():
        sender = apprise.Apprise()
        sender.add(f"mailto://127.0.0.1:{port}/?from=status@acme.example&format=text&to={targets}")
        if not sender.notify(body=body, title=SUBJECT):
            sys.exit("apprise says that it could not notify everybody")


if __name__ == "__main__":
    main(*sys.argv[1:])
