"""Numbers as catalogs and headers write them."""

from __future__ import annotations


def decimal(word: str) -> float:
    """Return the number that a text holds, or NaN or infinity.

    Raises
    ------
    ValueError
        It is none. Python alone reads `1_0`, and digits of other scripts, as numbers: in a file they are damage.

    Examples
    --------
    >>> decimal("-1.5e3")
    -1500.0
    """
    if "_" in word or not word.isascii():
        raise ValueError(word)
    return float(word)
