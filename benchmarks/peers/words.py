"""The same words and readers for every peer: templates compiled once, the list read as it is used."""

import csv
import json
import time
from pathlib import Path

import jinja2

SENDER = "Acme Pay <status@acme.example>"
SUBJECT = "[Identified] Card payments fail in the EU (pay7)"


def templates(folder):
    """Return the text and the HTML template of a folder, compiled."""
    autoescape = jinja2.select_autoescape(["html.j2"])
    env = jinja2.Environment(loader=jinja2.FileSystemLoader(folder), autoescape=autoescape)
    return env.get_template("text.j2"), env.get_template("html.j2")


def people(folder):
    """Yield each reader as a dict."""
    with (Path(folder) / "people.csv").open(newline="") as file:
        yield from csv.DictReader(file)


class Timed:
    """Prints as JSON how long its block took."""

    def __enter__(self):
        self._start = time.perf_counter()

    def __exit__(self, *error):
        print(json.dumps({"seconds": time.perf_counter() - self._start}))
