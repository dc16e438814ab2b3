"""Values of a mapped column: text parsed, sentinels and NaN made NULL and counted, units and types converted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skydb.schema.model import ARROW_TYPES

from .numerals import decimal

_SEXAGESIMAL = (
    r"^(?P<sign>[+-]?)(?P<whole>\d+)[:hd°\s]\s*"
    r"(?P<minutes>\d+)[:m'′\s]\s*(?P<seconds>\d+(?:\.\d*)?)\s*[s\"″]?$"
)
_INTEGERS: dict[str, type[np.signedinteger[Any] | np.unsignedinteger[Any]]] = {
    "int16": np.int16, "int32": np.int32, "int64": np.int64, "uint16": np.uint16, "uint32": np.uint32,
}  # fmt: skip


@dataclass(frozen=True)
class Values:
    """A converted column.

    `array` (N,) has the declared type, NULL where the file has no value; `unreadable` (N,) marks what is no value of
    that type; `n_nulled` counts the sentinels, NaN and infinities that became NULL.
    """

    array: pa.Array
    unreadable: np.ndarray
    n_nulled: int


def converted(source: pa.Array, wanted: str, *, nulls: Sequence[Any], sexagesimal: bool, factor: float) -> Values:
    """Return a column of a file as an array of a declared type.

    Parameters
    ----------
    source : (N,)
        As the file has it: numbers, text, or lists.
    wanted : a key of `ARROW_TYPES`
    nulls : sentinels
        Texts are compared with text, numbers with numbers (in the file's own precision).
    sexagesimal : whether text holds whole, minutes and seconds
    factor : file's unit in the declared unit
    """
    source = plain(source)
    if wanted == "list<float64>":
        return _lists(source, nulls, factor)
    source, n_text = _without_texts(source, nulls)
    if wanted == "string":
        return Values(_as_text(source), np.zeros(len(source), dtype=bool), n_text)
    if wanted in _INTEGERS and factor == 1.0:
        values = _integers(source, wanted, nulls)
    else:
        values = _floats(source, nulls, factor, sexagesimal=sexagesimal)
        values = _typed(values, wanted)
    return Values(values.array, values.unreadable, values.n_nulled + n_text)


def plain(source: Any) -> pa.Array:
    """Return an array in one piece, of one of the types that columns are converted from."""
    if isinstance(source, pa.ChunkedArray):
        source = source.combine_chunks()
    if pa.types.is_dictionary(source.type):
        source = source.dictionary_decode()
    if pa.types.is_decimal(source.type) or pa.types.is_float16(source.type) or pa.types.is_null(source.type):
        source = source.cast(pa.float64())
    if pa.types.is_large_string(source.type) or pa.types.is_binary(source.type):
        source = source.cast(pa.string())
    return source


def _without_texts(source: pa.Array, nulls: Sequence[Any]) -> tuple[pa.Array, int]:
    """Trim text; an empty field is NULL as it stands, a sentinel becomes NULL and is counted."""
    if not pa.types.is_string(source.type):
        return source, 0
    source = pc.utf8_trim_whitespace(source)
    source = pc.if_else(pc.equal(source, ""), None, source)
    words = [n for n in nulls if isinstance(n, str) and n]
    is_null = pc.is_in(source, pa.array(words, pa.string()))
    return pc.if_else(is_null, None, source), int(pc.sum(is_null).as_py() or 0)


def _as_text(source: pa.Array) -> pa.Array:
    return source if pa.types.is_string(source.type) else source.cast(pa.string())


def _numbers(nulls: Sequence[Any]) -> list[float]:
    return [float(n) for n in nulls if not isinstance(n, str)]


def _floats(source: pa.Array, nulls: Sequence[Any], factor: float, *, sexagesimal: bool) -> Values:
    missing = np.asarray(source.is_null())
    unreadable = np.zeros(len(source), dtype=bool)
    if pa.types.is_string(source.type):
        parse = _sexagesimal if sexagesimal else _parsed_floats
        source, unreadable = parse(source)
    values = np.array(source.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=float)
    single = pa.types.is_float32(source.type)
    for sentinel in _numbers(nulls):
        values[values == (np.float32(sentinel) if single else sentinel)] = np.nan
    with np.errstate(over="ignore"):
        values = values * factor
    absent = ~np.isfinite(values)
    nulled = absent & ~missing & ~unreadable
    return Values(pa.array(values, mask=absent), unreadable, int(nulled.sum()))


def _parsed_floats(source: pa.Array) -> tuple[pa.Array, np.ndarray]:
    return _parsed(source, pa.float64(), lambda word: decimal(word.replace("D", "E").replace("d", "e")))


def _parsed(source: pa.Array, wanted: pa.DataType, parse: Callable[[str], Any]) -> tuple[pa.Array, np.ndarray]:
    """Parse text at once, or, if a value fails, one by one, marking those that cannot be read."""
    try:
        return source.cast(wanted), np.zeros(len(source), dtype=bool)
    except pa.ArrowInvalid:
        pass
    values, unreadable = [], np.zeros(len(source), dtype=bool)
    for i, word in enumerate(source.to_pylist()):
        try:
            values.append(None if word is None else parse(word))
        except ValueError:
            values.append(None)
            unreadable[i] = True
    return pa.array(values, wanted), unreadable


def _sexagesimal(source: pa.Array) -> tuple[pa.Array, np.ndarray]:
    parts = pc.extract_regex(source, _SEXAGESIMAL)
    bad = np.asarray(parts.is_null()) & np.asarray(source.is_valid())
    whole, minutes, seconds = (
        pc.struct_field(parts, name).cast(pa.float64()).to_numpy(zero_copy_only=False)
        for name in ("whole", "minutes", "seconds")
    )
    sign = np.where(np.asarray(pc.equal(pc.struct_field(parts, "sign"), "-").fill_null(False)), -1.0, 1.0)
    bad |= (minutes > 60) | (seconds > 60)
    values = sign * (whole + minutes / 60 + seconds / 3600)
    return pa.array(values, mask=bad | np.isnan(values)), bad


def _integers(source: pa.Array, wanted: str, nulls: Sequence[Any]) -> Values:
    """Whole numbers keep all their bits: identifiers go beyond what a float can tell apart."""
    if pa.types.is_floating(source.type):
        return _typed(_floats(source, nulls, 1.0, sexagesimal=False), wanted)
    unreadable = np.zeros(len(source), dtype=bool)
    if pa.types.is_string(source.type):
        source, unreadable = _parsed(source, pa.int64(), _whole)
    elif pa.types.is_boolean(source.type):
        source = source.cast(pa.int64())
    is_null = pc.is_in(source, pa.array([int(n) for n in _numbers(nulls)], pa.int64()).cast(source.type, safe=False))
    nulled = np.asarray(is_null)
    limits = np.iinfo(_INTEGERS[wanted])
    low = pc.greater_equal(source, pa.scalar(max(limits.min, _least(source.type)), source.type))
    high = pc.less_equal(source, pa.scalar(min(limits.max, _most(source.type)), source.type))
    fits = np.asarray(pc.and_(low, high).fill_null(True))
    unreadable |= ~fits & ~nulled
    absent = np.asarray(source.is_null()) | nulled | unreadable
    cleared = pc.if_else(pa.array(absent), pa.scalar(None, source.type), source)
    return Values(cleared.cast(ARROW_TYPES[wanted]), unreadable, int(nulled.sum()))


def _whole(word: str) -> int:
    """Read a whole number below 2**63, also written as 12.0."""
    value = int(word) if word.isascii() and word.lstrip("+-").isdigit() else decimal(word)
    if value != int(value) or not -(2**63) <= value < 2**63:
        raise ValueError(word)
    return int(value)


def _least(kind: pa.DataType) -> int:
    return int(np.iinfo(kind.to_pandas_dtype()).min)


def _most(kind: pa.DataType) -> int:
    return int(np.iinfo(kind.to_pandas_dtype()).max)


def _typed(values: Values, wanted: str) -> Values:
    """Return float64 values in the declared type; what overflows float32 is no number, a fraction no integer."""
    if wanted == "float64":
        return values
    given = values.array.to_numpy(zero_copy_only=False)
    finite = np.isfinite(given)
    if wanted == "float32":
        with np.errstate(over="ignore"):
            single = given.astype(np.float32)
        lost = finite & ~np.isfinite(single)
        return Values(pa.array(single, mask=~np.isfinite(single)), values.unreadable, values.n_nulled + int(lost.sum()))
    limits = np.iinfo(_INTEGERS[wanted])
    whole = finite & (given == np.rint(given)) & (given >= limits.min) & (given < float(limits.max) + 1)
    unreadable = values.unreadable | (finite & ~whole)
    array = pa.array(np.where(whole, given, 0).astype(_INTEGERS[wanted]), mask=~whole)
    return Values(array, unreadable, values.n_nulled)


def _lists(source: pa.Array, nulls: Sequence[Any], factor: float) -> Values:
    none = np.zeros(len(source), dtype=bool)
    if not pa.types.is_nested(source.type):
        return Values(pa.nulls(len(source), ARROW_TYPES["list<float64>"]), ~np.asarray(source.is_null()), 0)
    source = source.cast(pa.list_(source.type.value_type))
    lengths = pc.list_value_length(source).fill_null(0).to_numpy(zero_copy_only=False)
    inner = _floats(source.flatten(), nulls, factor, sexagesimal=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), inner.array, mask=source.is_null())
    return Values(lists, none, inner.n_nulled)
