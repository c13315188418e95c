"""The command `python -m benchmarks`: measure, print, and on request write docs/performance.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import page, profiling, results
from benchmarks.model import Group, Measured, Row
from benchmarks.registry import GROUPS
from benchmarks.results import Kept
from benchmarks.rounds import measure, ratio_of

ROUNDS = 5


def main() -> int:
    """Do what the options say; return 1 where a run was void: that a row does not hold is no failure."""
    options = _options()
    groups = [g for g in GROUPS if g.name in (options.only or _names()) and g.name not in options.skip]
    if options.list:
        print("\n".join(_listed()))
        return 0
    if options.page:
        page.PAGE.write_text(page.render(results.read(), page.read_notes()))
        return 0
    if not options.no_install:
        from benchmarks.tools import install

        install(_tell)
    if options.profile:
        print(profiling.profile(*_row(options.profile), options.scale))
        return 0
    return _measure(groups, options)


def _measure(groups: Sequence[Group], options: argparse.Namespace) -> int:
    found: list[Measured] = []
    for group in groups:
        rounds = min(options.rounds, group.rounds or options.rounds)
        found.append(measure(group, rounds=rounds, scale=options.scale, tell=_tell))
    print(page.in_terminal(found))
    place = results.here()
    new = {each.group: Kept(each, place) for each in found}
    if options.json:
        results.write(new, options.json)
    if options.write:
        kept = results.read() | new
        results.write({g.name: kept[g.name] for g in GROUPS if g.name in kept})
        page.PAGE.write_text(page.render(results.read(), page.read_notes()))
        _tell(f"wrote {results.RESULTS.name} and {page.PAGE.name}")
    _tell_what_lacks_a_reason(groups, found)
    voids = [f"{each.group}: {name}" for each in found for name in each.failed]
    if voids:
        _tell("void: " + "; ".join(voids))
    return 1 if voids else 0


def _tell_what_lacks_a_reason(groups: Sequence[Group], found: Sequence[Measured]) -> None:
    notes = page.read_notes()
    for group, measured in zip(groups, found, strict=True):
        for row in group.rows:
            ratio = ratio_of(measured, row)
            if ratio and not row.holds(ratio.median) and row.key not in notes:
                _tell(f"{row.key} does not hold: say why in benchmarks/{page.NOTES.name}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measures commcast beside its peers."
    )
    names = _names()
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="only these groups")
    parser.add_argument(
        "--skip", nargs="+", choices=names, metavar="NAME", default=[], help="not these groups"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds of each group; default: {ROUNDS}")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="smaller numbers for a quick look, such as 0.05"
    )
    parser.add_argument("--list", action="store_true", help="name the groups and their rows, and end")
    parser.add_argument("--write", action="store_true", help="write results.json and docs/performance.md")
    parser.add_argument(
        "--page", action="store_true", help="write the page again from results.json and notes.toml"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results of this run to a file")
    keys = [row.key for group in GROUPS for row in group.rows]
    parser.add_argument("--profile", choices=keys, metavar="ROW", help="profile our side of a row instead")
    parser.add_argument(
        "--no-install", action="store_true", help="leave out the peers that are not installed"
    )
    return parser.parse_args()


def _names() -> list[str]:
    return [group.name for group in GROUPS]


def _row(key: str) -> tuple[Group, Row]:
    return next((group, row) for group in GROUPS for row in group.rows if row.key == key)


def _listed() -> list[str]:
    lines = []
    for group in GROUPS:
        lines.append(f"{group.name}: {group.title}")
        lines += [f"  {row.key}: {row.what}" for row in group.rows]
    return lines


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
