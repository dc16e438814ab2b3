"""Names of the columns of an answer, which a query may repeat, and the declarations that they stand for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from skydb.schema.model import Column


def unique_names(names: Sequence[str]) -> list[str]:
    """Return names that differ, in any case: a repeated one gets the first number from 2 that makes no other name.

    >>> unique_names(["mag", "mag", "MAG", "mag_2"])
    ['mag', 'mag_3', 'MAG_4', 'mag_2']
    """
    taken = {name.lower() for name in names}
    seen: set[str] = set()
    made = []
    for name in names:
        fresh, number = name, 1
        while fresh.lower() in (seen if fresh == name else taken):
            number += 1
            fresh = f"{name}_{number}"
        seen.add(fresh.lower())
        taken.add(fresh.lower())
        made.append(fresh)
    return made


def declarations(names: Sequence[str], declared: Iterable[tuple[str, Column | None]]) -> dict[str, Column]:
    """Return the declarations of result columns by their unique name in lower case.

    Parameters
    ----------
    names
        The columns of the answer as the query names them.
    declared
        Names, in any case, and declarations of the result columns that are known, in their order. Of a repeated name
        all must be known, or none is: which one is which could not be told.
    """
    known: dict[str, list[Column | None]] = defaultdict(list)
    for name, column in declared:
        known[name.lower()].append(column)
    counts = Counter(name.lower() for name in names)
    rest = {name: iter(known[name]) for name, n in counts.items() if n in (1, len(known[name]))}
    found = {fresh.lower(): next(rest.get(name.lower(), iter(())), None)
             for name, fresh in zip(names, unique_names(names), strict=True)}  # fmt: skip
    return {name: column for name, column in found.items() if column is not None}
