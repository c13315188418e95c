"""csv.DictReader and pydantic by thousands, with the checks our lists have, as far as pydantic words them."""

import csv
import sys
from itertools import islice
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, StringConstraints, TypeAdapter
from words import Timed

CHUNK = 1000
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"


def constrained(pattern=None, longest=1000):
    """Return a string that is stripped, not too long, and fits a pattern."""
    return Annotated[str, StringConstraints(strip_whitespace=True, max_length=longest, pattern=pattern)]


class Recipient(BaseModel):
    email: constrained(rf"^{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LABEL}$", 254)
    phone: constrained(r"^\+[1-9][0-9]{6,14}$", 16)
    name: constrained(r"^[^\x00-\x1f\x7f-\x9f]*$", 200)
    locale: constrained(r"^[a-z]{2}(?:-[A-Z]{2})?$", 5)
    link: constrained(r"^[^\x00-\x1f\x7f-\x9f]*$")
    plan: constrained(r"^[^\x00-\x1f\x7f-\x9f]*$")


def main(path, expected):
    checker = TypeAdapter(list[Recipient])
    count = 0
    with Timed(), Path(path).open(newline="") as file:
        rows = csv.DictReader(file)
        while chunk := list(islice(rows, CHUNK)):
            count += len(checker.validate_python(chunk))
    if count != int(expected):
        sys.exit(f"{count} rows were good, not {expected}")


if __name__ == "__main__":
    main(*sys.argv[1:])
