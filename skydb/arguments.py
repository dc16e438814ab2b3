"""Checks of what a caller gives."""

from __future__ import annotations

import operator

from .errors import UsageError


def as_text(name: str) -> str:
    r"""Return a name as text in UTF-8, which a catalog, its reports and JSON can hold: what is none, as escapes.

    >>> as_text("caf\udce9.cmf")
    'caf\\xe9.cmf'
    """
    shown = name.encode(errors="backslashreplace").decode().replace("\0", r"\0")
    return name if shown == name else shown.replace(r"\udc", r"\x")  # how Python keeps a byte that is no text


def at_least_one(value: object, name: str) -> int:
    """Return an argument that counts something; whole numbers of NumPy are numbers.

    Raises
    ------
    UsageError
        No whole number, or one below 1.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # what it refuses is the question
    except TypeError:
        raise UsageError(f"{name} must be a whole number, not {value!r}") from None
    if number < 1 or isinstance(value, bool):
        raise UsageError(f"{name} must be at least 1, not {value}")
    return number
