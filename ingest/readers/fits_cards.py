"""Header cards of FITS: text in cards of 80 characters → values.

A parser of its own because a survey exposure has 33 headers of up to 170 cards: see docs/decisions/reading-fits.md.
It never fails on a value: one that FITS does not allow is kept as text, for whoever needs the keyword to refuse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

CARD = 80
Value = str | int | float | bool | None

_QUOTED = re.compile(r"\s*'((?:[^']|'')*)'?")


@dataclass(frozen=True)
class Header:
    """One header: its text, up to the END card, and the values of its keywords."""

    text: str

    @cached_property
    def values(self) -> dict[str, Value]:
        """Keyword → value; of a keyword that is there twice, the first."""
        return parse_cards(self.text)

    @classmethod
    def of_values(cls, values: Mapping[str, Value]) -> Header:
        """Return a header that has these values, and neither text nor comments: of a format that keeps no header."""
        header = cls("")
        header.__dict__["values"] = dict(values)
        return header

    @classmethod
    def of_text(cls, text: str) -> Header:
        """Return the header of cards one after the other, up to END; the last one may be short."""
        cards = [text[start:start + CARD].ljust(CARD) for start in range(0, len(text), CARD)]
        end = next((place for place, card in enumerate(cards) if card.rstrip() == "END"), len(cards))
        return cls("".join(cards[:end]))

    def comment(self, key: str) -> str:
        """Return the comment of a keyword; empty where there is none."""
        place = find_card(self.text, key)
        return "" if place < 0 else _split(self.text[place + 10:place + CARD])[1]


def parse_cards(text: str) -> dict[str, Value]:
    """Return the values of all keywords; long strings are joined, HIERARCH keywords lose that word."""
    values: dict[str, Value] = {}
    long_key = ""
    for start in range(0, len(text), CARD):
        card = text[start:start + CARD]
        key = card[:8].rstrip()
        if card[8:10] == "= ":
            field = card[10:]
        elif key == "HIERARCH" and "=" in card:
            key, field = card[8:].split("=", 1)
            key = key.strip().upper()
        else:
            if key == "CONTINUE" and long_key:
                long_key = _append(values, long_key, card[8:])
            continue
        value = _value(field)
        is_long = isinstance(value, str) and value.endswith("&")
        long_key = key if is_long and key not in values else ""
        values.setdefault(key, value)
    return values


def find_card(text: str, key: str) -> int:
    """Return where the card of a keyword of at most 8 characters begins, or -1."""
    wanted = f"{key:<8}="
    place = text.find(wanted)
    while place >= 0 and place % CARD:
        place = text.find(wanted, place + 1)
    return place


def card_value(text: str, key: str) -> Value:
    """Return one keyword's value without parsing the other cards; None where it is absent."""
    place = find_card(text, key)
    return None if place < 0 else _value(text[place + 10:place + CARD])


def _append(values: dict[str, Value], key: str, field: str) -> str:
    """Add a CONTINUE card to a long string; return the key while the string goes on."""
    before, more = str(values[key]), _value(field)
    if not isinstance(more, str):
        return ""
    values[key] = before[:-1] + more
    return key if more.endswith("&") else ""


@lru_cache(maxsize=8192)  # the chips of an exposure, and its exposures, share most cards: reading is 1.5 times faster
def _value(field: str) -> Value:
    if field[0] == "'" and "''" not in field:  # the usual case, without the cost of the pattern
        return field[1:].partition("'")[0].rstrip()
    if field.lstrip().startswith("'"):
        return _split(field)[0].replace("''", "'").rstrip()
    token = field.split("/", 1)[0].strip()
    if not token:
        return None
    if token in ("T", "F"):
        return token == "T"
    if "_" in token:  # which Python takes for a number
        return token
    try:
        return int(token)
    except ValueError:
        pass
    try:
        return float(token.replace("D", "E").replace("d", "e"))
    except ValueError:
        return token


def _split(field: str) -> tuple[str, str]:
    """The raw value (of a string: what the quotes hold) and the comment."""
    quoted = _QUOTED.match(field)
    if quoted:
        return quoted.group(1), field[quoted.end():].partition("/")[2].strip()
    raw, _, comment = field.partition("/")
    return raw.strip(), comment.strip()
