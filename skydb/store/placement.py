"""Placement: which host a cell's files go to, and which one has the second copies. No answer depends on it.

    {"by": "bytes"}     the host that has the fewest bytes (this is what happens if nothing is set)
    {"by": "random"}    a host drawn by lot, the lot being a hash of the cell and the host's name
    {"by": "rule", …}   by bytes among the hosts that a rule names for the part of the sky; `parse_rules`

Same cells, same hosts, same bytes: same choice.
"""

from __future__ import annotations

import hashlib
import tomllib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skydb.errors import DataError, UsageError, did_you_mean

from .catalog import reading
from .cells import LOCAL
from .hosts import Storage
from .snapshot import Snapshot

Key = tuple[int, int]
"""Order and pixel of a cell."""

POLICIES = ("bytes", "random", "rule")
CLOSE_ENOUGH = 0.02
"""Hosts whose bytes differ by less than this share of what a host has on average are in balance."""


def host_of_new_cell(storage: Storage, key: Key, load: Mapping[str, int]) -> str:
    """Return the host for the files of a new cell.

    Parameters
    ----------
    load : bytes
        What each host has, by name.

    Raises
    ------
    UsageError
        No host takes new cells.
    """
    hosts = candidates(storage, key)
    if storage.placement.get("by") == "random":
        return drawn_by_lot(hosts, f"{key[0]}/{key[1]}")
    return min(hosts, key=lambda name: (load.get(name, 0), name))


def hosts_of_new_cells(snapshot: Snapshot, keys: Sequence[Key]) -> dict[Key, str]:
    """Return the host of each of some cells that are about to be made; each counts as much as a cell has on average."""
    storage = snapshot.storage
    if storage.active == (LOCAL,):
        return dict.fromkeys(keys, LOCAL)
    load, cells = load_of_hosts(snapshot.root)
    share = max(sum(load.values()) // max(cells, 1), 1)
    placed = {}
    for key in sorted(keys):
        placed[key] = host_of_new_cell(storage, key, load)
        load[placed[key]] = load.get(placed[key], 0) + share
    return placed


def load_of_hosts(root: Path) -> tuple[dict[str, int], int]:
    """Return the bytes of live first copies on every host, and the number of live cells."""
    with reading(root) as connection:
        load = dict(connection.execute("SELECT host, SUM(bytes) FROM files WHERE end_snapshot IS NULL GROUP BY host"))
        (cells,) = connection.execute("SELECT COUNT(*) FROM cells WHERE end_snapshot IS NULL").fetchone()
    return load, int(cells)


def host_of_copy(storage: Storage, host: str, about: str) -> str | None:
    """Return the host for the second copy of a file; None where there is to be none, or no host for it.

    Parameters
    ----------
    host
        Where the first copy lies.
    about
        The cell, or the global table: what belongs together has its second copies on one host.
    """
    others = [name for name in storage.active if name != host]
    return drawn_by_lot(others, about) if storage.copies > 1 and others else None


def drawn_by_lot(hosts: Iterable[str], about: str) -> str:
    """Return one of some hosts, the same whenever it is among them and no other new one."""
    return max(hosts, key=lambda name: hashlib.blake2b(f"{about} {name}".encode(), digest_size=8).digest())


def candidates(storage: Storage, key: Key) -> tuple[str, ...]:
    """Return the hosts that may take the files of a cell, sorted.

    Raises
    ------
    UsageError
        No host is active.
    """
    if not storage.active:
        raise UsageError("no host takes new cells", str(storage.home), "add one with `skydb hosts DB add`")
    if storage.placement.get("by") != "rule":
        return storage.active
    named = next((r["hosts"] for r in storage.placement["rules"] if _covers(storage.placement["order"], r, key)), ())
    for wanted in (named, storage.placement["otherwise"]):
        if some := tuple(sorted(set(wanted) & set(storage.active))):
            return some
    return storage.active


def _covers(order: int, rule: Mapping[str, Any], key: Key) -> bool:
    """Say whether a rule is about the pixel of its order that holds a cell, or the first that the cell holds."""
    norder, npix = key
    pixel = npix >> 2 * (norder - order) if norder >= order else npix << 2 * (order - norder)
    return any(first <= pixel <= last for first, last in rule["pixels"])


def planned_hosts(storage: Storage, cells: Mapping[Key, tuple[str, int]], *, even: bool) -> dict[Key, str]:
    """Return where cells go that have to move.

    Parameters
    ----------
    cells
        The host and the bytes of each.
    even
        Also move cells, as few bytes as it takes, until the hosts have about the same; else only those whose host may
        not keep them.
    """
    if even and storage.placement.get("by") == "random":
        wanted = {key: host_of_new_cell(storage, key, {}) for key in cells}
        return {key: host for key, host in wanted.items() if host != cells[key][0]}
    load = dict.fromkeys(storage.hosts, 0)
    groups: dict[tuple[str, ...], dict[Key, str]] = {}
    homeless: list[Key] = []
    for key, (host, size) in sorted(cells.items()):
        allowed = candidates(storage, key)
        if host in allowed:
            groups.setdefault(allowed, {})[key] = host
            load[host] += size
        else:
            homeless.append(key)
    for key in sorted(homeless, key=lambda k: (-cells[k][1], k)):
        host = host_of_new_cell(storage, key, load)
        groups.setdefault(candidates(storage, key), {})[key] = host
        load[host] += cells[key][1]
    if even:
        for allowed, group in sorted(groups.items()):
            _even_out(allowed, group, {key: cells[key][1] for key in group}, load)
    return {key: host for group in groups.values() for key, host in group.items() if host != cells[key][0]}


def _even_out(hosts: Sequence[str], group: dict[Key, str], sizes: Mapping[Key, int], load: dict[str, int]) -> None:
    """Move cells among hosts, from the fullest to the emptiest, as long as that brings the two nearer to each other."""
    held: dict[str, list[tuple[int, Key]]] = {name: [] for name in hosts}
    for key, host in group.items():
        held[host].append((sizes[key], key))
    for listed in held.values():
        listed.sort()
    enough = CLOSE_ENOUGH * sum(load[name] for name in hosts) / len(hosts)
    while True:
        full, empty = (pick(hosts, key=lambda name: (load[name], name)) for pick in (max, min))
        gap = load[full] - load[empty]
        at = max(bisect_right(held[full], (gap // 2, (99, 0))) - 1, 0)
        if gap <= enough or not held[full] or not 0 < held[full][at][0] < gap:
            return
        size, key = held[full].pop(at)
        held[empty].insert(bisect_right(held[empty], (size, key)), (size, key))
        group[key] = empty
        load[full], load[empty] = load[full] - size, load[empty] + size


def placement_setting(storage: Storage, by: str, rules: Path | None = None) -> dict[str, Any]:
    """Return a placement as the catalog keeps it.

    Raises
    ------
    UsageError, DataError
        No such policy; rules that are missing, or not needed, or name no host.
    """
    if by not in POLICIES:
        raise UsageError(f"no placement named {by!r}", None, did_you_mean(by, POLICIES))
    if (by == "rule") != (rules is not None):
        raise UsageError("rules and `--by rule` belong together", None, "give `--by rule --rules FILE`, or neither")
    return {"by": by} if rules is None else {"by": by, **parse_rules(rules, storage.hosts)}


def parse_rules(path: Path, hosts: Iterable[str]) -> dict[str, Any]:
    """Return the rules of a TOML file.

    `order` is that of the pixels (nested); each `[[rules]]` has `pixels`, a list of numbers and of ranges like "16-31",
    and `hosts`; the first rule that has a cell's pixel counts. `otherwise` lists the hosts for the rest (all).

    Raises
    ------
    DataError
        It is no TOML, lacks something, or names a host or a pixel that is not there.
    """
    try:
        text = tomllib.loads(path.read_text())
        order = int(text["order"])
        rules = [{"pixels": [_range(p, order) for p in r["pixels"]], "hosts": list(r["hosts"])} for r in text["rules"]]
        otherwise = list(text.get("otherwise", []))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", str(path), "check the path") from error
    except KeyError as error:
        raise DataError(f"{error.args[0]!r} is missing", str(path), "see docs/how-to/move-hosts.md") from error
    except (ValueError, TypeError) as error:
        raise DataError(f"no rules of placement: {error}", str(path), "see docs/how-to/move-hosts.md") from error
    known = set(hosts)
    for name in (*otherwise, *(name for rule in rules for name in rule["hosts"])):
        if name not in known:
            raise DataError(f"no host named {name!r}", str(path), did_you_mean(str(name), known))
    return {"order": order, "rules": rules, "otherwise": otherwise}


def _range(text: int | str, order: int) -> tuple[int, int]:
    """Return the first and the last pixel of a number or of a range.

    >>> _range("16-31", 2), _range(5, 2)
    ((16, 31), (5, 5))
    """
    first, _, last = str(text).partition("-")
    low, high = int(first), int(last or first)
    if not (0 <= order <= 29 and 0 <= low <= high < 12 << 2 * order):
        raise ValueError(f"there are no pixels {text} of order {order}")
    return low, high
