"""3,000 texts around the borders of a segment, and the sizes that Twilio's own calculator gives them.

The sizes are in `tests/data/segments.txt`, one per text: G or U (GSM-7 or UCS-2), units, a slash, segments.
To write it again: `npm install sms-segments-calculator@1.3.0` in any folder, then, with that folder,
`python -m tests.support.segments FOLDER`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

SIZES = Path(__file__).parents[1] / "data" / "segments.txt"
COUNT = 3000
_BORDERS = (1, 35, 67, 70, 134, 140, 153, 160, 201, 268, 306, 459)
_POOLS = (
    list("Card payments fail in the EU. Next update by 10:25 CET"),
    ["€", "[", "]", "{", "}", "~", "^", "|", "\\", "\f"],
    ["é", "ü", "ß", "Ç", "Δ", "\n", "\r\n", "@", "$"],
    ["ж", "ő", "ç", "’", "–", "…", "中", "か", "ש", "ع", "\t", "\u00a0"],
    [
        "e\u0301",
        "o\u0308\u0323",
        "x\u20d7",
        "नि",
        "க்ஷி",
        "ကို",
        "กำ",
        "שָׁ",
        "عَ",
        "か\u3099",
        "a\u200d",
        "a\u200cb",
    ],
    ["😀", "🔥", "💳", "🎉", "𝔸", "🫠", "🪙"],
    ["👍🏽", "☝🏿", "🧑🏻", "👩🏽", "🎅🏼", "☝️🏽", "🫱🏽", "🔥🏽", "a🏽"],
    ["❤️", "☎️", "1️⃣", "#️⃣", "✔️", "⚠️", "ℹ️"],
    ["🇩🇪", "🇫🇷", "🇪🇺", "🇩🇪🇫", "🇩", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🇩🇪️"],
    ["👨‍👩‍👧‍👦", "👩‍❤️‍💋‍👨", "👩🏽‍🚒", "🧑‍🚀", "👩🏽‍❤️‍👨🏽", "👩‍👩🏽", "👨🏿‍✈️", "🤦🏼‍♀️"],
    ["🏳️‍🌈", "🏳️‍⚧️", "🐻‍❄️", "❤️‍🔥", "🧑‍🤝‍🧑", "🧑🏽‍🦽", "👁️‍🗨️", "😮‍💨", "🏴‍☠️"],
)


def texts() -> list[str]:
    """Return the texts, always the same, each from one to three pools and about as long as some segments."""
    random = Random(11)

    def one(items: list[str]) -> str:
        return items[int(random.random() * len(items))]

    found = []
    for number in range(COUNT):
        pools = [_POOLS[number % len(_POOLS)]]
        pools += [_POOLS[int(random.random() * len(_POOLS))] for _ in range(number % 3)]
        length = _BORDERS[int(random.random() * len(_BORDERS))] + int(random.random() * 7) - 3
        text = ""
        while True:
            item = one(pools[int(random.random() * len(pools))])
            if _units(text + item) > length:
                break
            text += item
        found.append(text + "." * (length - _units(text)))
    return found


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


_COUNT_THEM = """
const {SegmentedMessage} = require("sms-segments-calculator");
const sizes = JSON.parse(require("fs").readFileSync(0)).map((text) => {
  const sms = new SegmentedMessage(text), bits = sms.encodingName === "GSM-7" ? 7 : 16;
  return `${bits === 7 ? "G" : "U"}${sms.messageSize / bits}/${sms.segmentsCount}`;
});
for (let start = 0; start < sizes.length; start += 15) console.log(sizes.slice(start, start + 15).join(" "));
"""


if __name__ == "__main__":
    command = ["node", "-e", _COUNT_THEM]
    SIZES.write_bytes(subprocess.check_output(command, input=json.dumps(texts()).encode(), cwd=sys.argv[1]))
