"""Conditions on columns of text: a word for the row, or flags with a character for each band."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .mapping_rules import TextRule
from .table_values import plain


def is_text(source: pa.Array) -> bool:
    """Say whether an array holds text, or nothing at all."""
    return bool(pa.types.is_null(source.type) or pa.types.is_string(plain(source).type))


def not_good(source: pa.Array, rule: TextRule, nulls: Sequence[Any]) -> np.ndarray:
    """Say in which rows (N,) a text is not what a rule asks for.

    Parameters
    ----------
    source : (N,) text
        Blanks at its end do not count; those before a character do, since its place says which band it is of.
    nulls : sentinels
        Texts that stand for a missing one.
    """
    words = source.cast(pa.string()) if pa.types.is_null(source.type) else plain(source)
    words = pc.utf8_rtrim_whitespace(words)
    encoded = words.dictionary_encode()
    missing = {"", *(n for n in nulls if isinstance(n, str))}
    known = [_is_good("" if word.strip() in missing else word, rule) for word in encoded.dictionary.to_pylist()]
    good = np.array([*known, _is_good("", rule)], dtype=bool)
    wrong: np.ndarray = ~good[encoded.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)]
    return wrong


def _is_good(word: str, rule: TextRule) -> bool:
    """Judge one text; "" is a missing one."""
    if rule.among:
        return word.strip() in rule.among
    letters = word if rule.place is None else word[rule.place : rule.place + 1]
    if rule.good:
        return bool(letters) and set(letters) <= set(rule.good)
    return set(letters).isdisjoint(rule.bad)
