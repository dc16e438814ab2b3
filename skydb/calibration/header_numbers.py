"""Numbers of a header's keywords."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from skydb.errors import DataError


def number(header: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """Return a keyword's finite number.

    Raises
    ------
    DataError
        It is absent and has no default, or is no finite number.
    """
    value = header.get(key, default)
    if value is None:
        raise DataError("the keyword is absent", key, "add it to the header")
    try:
        result = float(value)
    except (TypeError, ValueError):
        result = math.nan
    if not math.isfinite(result):
        raise DataError(f"{value!r} is no finite number", key, "correct the header")
    return result
