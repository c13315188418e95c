"""What a screen shows after a program wrote to it: enough of a terminal for what commcast writes."""

from __future__ import annotations

import re

_PIECES = re.compile(r"\x1b\[(\d*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


def screen(written: str, columns: int = 80) -> list[str]:
    """Return the lines that stand on the screen in the end, without the empty ones below.

    A line that reaches beyond the last column goes on in the next one, as in a terminal.
    """
    lines, row, column = [""], 0, 0
    for count, verb, turn, text in _PIECES.findall(written):
        if verb == "A":
            row = max(0, row - int(count or 1))
        elif verb == "J":
            lines[row] = lines[row][:column]
            del lines[row + 1 :]
        elif verb == "K":
            lines[row] = lines[row][:column]
        elif turn == "\r":
            column = 0
        elif turn == "\n":
            row, column = row + 1, 0
        for character in text:
            if column == columns:
                row, column = row + 1, 0
            while len(lines) <= row:
                lines.append("")
            lines[row] = lines[row][:column].ljust(column) + character + lines[row][column + 1 :]
            column += 1
        while len(lines) <= row:
            lines.append("")
    while lines and not lines[-1].strip():
        lines.pop()
    return [line.rstrip() for line in lines]
