"""Flags that no row of their column has: refused by name, because the answer would be 0 without a word."""

from __future__ import annotations

from collections.abc import Collection

from sqlglot import exp

from skydb.errors import UsageError
from skydb.flags import FLAGS_OF_COLUMN, Flags, Origin, flag_rows, origin_of

from .flag_functions import FLAG_FUNCTIONS

_COLUMNS = {flags: tuple(column.replace("_cal.", ".").split(".")) for column, flags in FLAGS_OF_COLUMN.items()}
"""The SQL table and column that hold the flags of each class."""

_WHY = {
    Origin.DERIVED: (
        "is stored in no row: it depends on the object's other measurements",
        "light curves have it: con.lightcurve(ids, derive_flags=True), skydb lightcurve --derive-flags; "
        "object_bands.n_used and objects.n_position count",
    ),
    Origin.UNSET: ("is never set yet: no row has it", "leave it out; the flags reference says which bits are set"),
}
"""What is wrong with looking for a bit, and what to do instead."""


def require_set_flags(query: exp.Expression, columns: Collection[tuple[str, str]]) -> None:
    """Refuse the names of flags that no row can have in the columns (table, column) that a query reads.

    Raises
    ------
    UsageError
        Says why the flag is not there, and where it is to be had; or a name is not written plainly.
    """
    for call in query.find_all(exp.Anonymous):
        flags = FLAG_FUNCTIONS.get(call.name.lower())
        if flags is None or _COLUMNS[flags] not in columns:
            continue
        wanted = _name(call, flags)
        for name, bit, _ in flag_rows(flags):
            origin = origin_of(flags, bit)
            if name == wanted and origin in _WHY:
                problem, todo = _WHY[origin]
                raise UsageError(f"the flag {name} {problem}", ".".join(_COLUMNS[flags]), todo)


def _name(call: exp.Anonymous, flags: type[Flags]) -> str:
    """Return the name that a function of flags is asked for, in upper case."""
    match call.expressions:
        case [exp.Literal(is_string=True) as name]:
            return str(name.this).upper()
    function = call.name.lower()
    example = next(name for name, bit, _ in flag_rows(flags) if origin_of(flags, bit) is Origin.STORED)
    raise UsageError(f"{function} takes one name in quotes", "SQL", f"write it as in {function}('{example}')")
