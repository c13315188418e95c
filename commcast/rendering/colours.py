"""Colours that can be read on each other: the ink on your own colour, and the colour of links."""

from __future__ import annotations

READABLE = 4.5  # the contrast that WCAG 2 asks of words, 1 to 21
_PALEST = "#e9f1fb"  # the darkest light ground of the layout that links lie on: the promise's


def brand_facts(colour: str) -> dict[str, str]:
    """Return what a layout may use of a brand's colour (six hexadecimal digits after "#", "" for none).

    `ink` is black or white, whichever is read better on the colour. `link` is the colour, as much darker as
    words on a light ground need.
    """
    if not colour:
        return {"colour": "", "ink": "", "link": ""}
    ink = max("#ffffff", "#000000", key=lambda each: contrast(each, colour))
    steps = (_darker(colour, percent) for percent in range(100, -1, -1))
    link = next(each for each in steps if contrast(each, _PALEST) >= READABLE)
    return {"colour": colour, "ink": ink, "link": link}


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours by WCAG 2: 1 if they are the same, 21 for black on white."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    shares = (part / 255 for part in bytes.fromhex(colour[1:]))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _darker(colour: str, percent: int) -> str:
    """Return the colour with this share of its light; at 100, exactly as it was written."""
    parts = bytes.fromhex(colour[1:])
    return colour if percent == 100 else "#" + bytes(part * percent // 100 for part in parts).hex()
