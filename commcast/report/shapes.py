"""Shapes to draw: plain values, in pixels of their drawing."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle; `what` is its class in the page's style, `title` what it tells when pointed at."""

    x: float
    y: float
    width: float
    height: float
    what: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line."""

    x1: float
    y1: float
    x2: float
    y2: float
    what: str


@dataclass(frozen=True, slots=True)
class Label:
    """A word; `anchor` is start, middle or end; `turned` words run upwards."""

    x: float
    y: float
    text: str
    what: str
    anchor: str = "start"
    turned: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A message: its shape by `what`, with a letter or number in it."""

    x: float
    y: float
    what: str
    text: str
    title: str


@dataclass(slots=True)
class Drawing:
    """All shapes of one timeline, in the order in which they are drawn within their kind."""

    width: float
    height: float = 0.0
    bars: list[Bar] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    spans: list[Bar] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
