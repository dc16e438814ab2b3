"""What callers may give: positions, angles, object ids, texts; read into what the questions need, or refused."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skydb.errors import UsageError, did_you_mean
from skydb.sky.angles import parse_angle, parse_position
from skydb.sky.regions import Cone

from .views import OWN

Ints = NDArray[np.int64]

ALL = "*"

_IDS = "give whole numbers, as the column object_id of a table has them"
_CONE = "give cone(ra, dec, radius), or cone(position, radius) with a SkyCoord or a text"
_ANGLES = 'give degrees, a text such as "5arcmin", or an astropy Quantity'


class Measured(Protocol):
    """An angle with its unit: an astropy Quantity, Angle, Longitude or Latitude."""

    def to_value(self, unit: str) -> Any:
        """Return its size in a unit."""


class Position(Protocol):
    """An astropy SkyCoord or frame."""

    def transform_to(self, frame: Any) -> Any:
        """Return it in another frame."""


AngleLike = float | str | Measured
"""Degrees, a text as the command line takes it, or an angle of astropy."""


def require_text(value: object, what: str, todo: str) -> str:
    """Return a text as it is.

    Raises
    ------
    UsageError
        Something else.
    """
    if not isinstance(value, str):
        raise UsageError(f"a value of type {type(value).__name__} is no text", what, todo)
    return value


def snapshot_named(at: object) -> int | str | None:
    """Return the number or tag of a snapshot, or None for the newest; whole numbers of NumPy are numbers.

    Raises
    ------
    UsageError
        Anything else: a truth value, a fraction, a list.
    """
    if at is None or isinstance(at, str):
        return at
    if isinstance(at, bool | np.bool_) or not hasattr(at, "__index__"):
        raise UsageError(f"at={at!r} names no snapshot", "connect", "give its number or its tag, see `skydb snapshots`")
    return operator.index(at)


def cone_of(ra: AngleLike | Position, dec: AngleLike | None, radius: AngleLike | None) -> Cone:
    """Return a cone from what people have: degrees, texts, angles or positions of astropy.

    Parameters
    ----------
    ra, dec : deg
        Right ascension (a number is taken modulo 360) and declination; or `ra` is a position, a SkyCoord or a text
        such as "00:42:44 +41:16:09", and `dec` is left out.
    radius : deg
        0 to 180; 0 is the place itself. Where `ra` is a position it may stand in the place of `dec`.

    Raises
    ------
    UsageError
        What is no angle, no single place on the sky, or no radius.

    Examples
    --------
    >>> cone_of(370, "-20d30m", "5arcmin")
    Cone(ra=10.0, dec=-20.5, radius_deg=0.08333333333333333)
    """
    if radius is None and (isinstance(ra, str) or hasattr(ra, "transform_to")):
        dec, radius = None, dec
    if radius is None:
        raise UsageError("no radius", "cone", _CONE)
    return Cone(*_place(ra, dec), degrees(radius, "radius"))


def _place(ra: Any, dec: Any) -> tuple[float, float]:
    """Return right ascension (0 to 360) and declination in degrees."""
    if hasattr(ra, "transform_to"):
        if dec is not None:
            raise UsageError("a position, and a declination beside it", "cone", _CONE)
        return _of_sky(ra)
    if dec is None:
        if isinstance(ra, str):
            return parse_position(ra)
        raise UsageError("no declination", "cone", _CONE)
    east = ra if isinstance(ra, str) else degrees(ra, "ra") % 360.0 % 360.0  # -1e-20 % 360 is 360
    north = dec if isinstance(dec, str) else degrees(dec, "dec")
    if isinstance(east, str) or isinstance(north, str):
        return parse_position(*(x if isinstance(x, str) else repr(x) for x in (east, north)))
    return east, north


def _of_sky(position: Any) -> tuple[float, float]:
    """Return the ICRS coordinates of one position of astropy, of whatever frame."""
    from astropy.coordinates import SkyCoord

    try:
        icrs = SkyCoord(position).icrs
    except (TypeError, ValueError, AttributeError) as error:  # the last: a frame without its place or time
        raise UsageError(f"a position that cannot be turned into ICRS: {error}", "cone", "give it in ICRS") from error
    return degrees(icrs.ra, "ra"), degrees(icrs.dec, "dec")


def degrees(value: Any, name: str) -> float:
    """Return one finite angle in degrees.

    Parameters
    ----------
    value : deg
        A number, a number of NumPy or Arrow, a text with or without a unit, or a Quantity.
    name
        What it is, for the message.

    Raises
    ------
    UsageError
        Anything else; NaN and infinities too.
    """
    if isinstance(value, str):
        return parse_angle(value)
    number = np.asarray(_in_degrees(value, name))
    if number.ndim:
        todo = "ask for one position at a time, or register a table of yours and join it"
        raise UsageError(f"{name} holds {number.size} values", "cone", todo)
    if value is np.ma.masked or number.dtype.kind not in "iuf" or not math.isfinite(number):
        raise UsageError(f"{name} {value!r} is no angle", "cone", _ANGLES)
    return float(number)


def _in_degrees(value: Any, name: str) -> Any:
    if hasattr(value, "as_py"):
        return value.as_py()
    if not hasattr(value, "to_value"):
        return value
    try:
        return value.to_value("deg")
    except (TypeError, ValueError) as error:  # astropy's UnitsError is a ValueError
        raise UsageError(f"{name} {value} is no angle", "cone", "give it a unit of angle, or plain degrees") from error


def object_ids(given: Any) -> Ints:
    """Return the ids of one object or of several as an array.

    Parameters
    ----------
    given
        A whole number, or a list, set, array or column of them.

    Raises
    ------
    UsageError
        Ids that are no whole numbers: a float has lost the last digits of an id. One that no object can have.
    """
    if isinstance(given, Mapping) or hasattr(given, "colnames") or hasattr(given, "columns"):
        what = f"a {type(given).__name__} is no list of object ids"
        raise UsageError(what, "object_id", 'give its column, as in con.lightcurve(rows.table()["object_id"])')
    given = given.as_py() if hasattr(given, "as_py") else given
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes)
    listed = list(given) if several and not hasattr(given, "__array__") else given
    if np.ma.is_masked(listed):
        raise UsageError("a masked value among the object ids", "object_id", _IDS)
    values = np.asarray(listed)
    return _whole(values.ravel()) if values.size else np.empty(0, dtype=np.int64)


def _whole(values: NDArray[Any]) -> Ints:
    if values.dtype.kind == "O" and all(isinstance(v, int) and not isinstance(v, bool) for v in values):
        raise _no_object(max(values, key=abs))
    if values.dtype.kind == "f":
        raise UsageError(f"object ids of type {values.dtype}, which loses their last digits", "object_id", _IDS)
    if values.dtype.kind not in "iu":
        raise UsageError(f"{values.tolist()[0]!r} is no object id", "object_id", _IDS)
    if values.dtype.kind == "u" and int(values.max()) > np.iinfo(np.int64).max:
        raise _no_object(int(values.max()))
    return values.astype(np.int64)


def _no_object(number: int) -> UsageError:
    return UsageError(f"no object has the id {number}", "object_id", "ids lie from 0 to 2**63, see the table objects")


def sky_table_named(table: object, known: Sequence[str]) -> str:
    """Return which of some tables a name means, DVO's too, in any case.

    Raises
    ------
    UsageError
        Another table, or none.
    """
    name = OWN.table_named(table) if isinstance(table, str) else None
    if name is None or name not in known:
        raise UsageError(f"no positions in table {table!r}", None, f"use {' or '.join(known)}")
    return name


def columns_named(table: str, columns: str | Iterable[str] | None, standard: Sequence[str]) -> list[str]:
    """Return the names of columns of a SQL table, each once: the standard ones, all, or those given.

    Parameters
    ----------
    columns
        Names as SQL takes them, DVO's too; "*" for all; a text may hold several, with commas. None: the standard ones.

    Raises
    ------
    UsageError
        An unknown one, or none at all.
    """
    if columns is None:
        return list(standard)
    if not isinstance(columns, Iterable):
        raise UsageError(f"columns={columns!r} is no list of names", f"table {table}", "give names, or '*' for all")
    words = columns.split(",") if isinstance(columns, str) else list(columns)
    known = [c.name for c in OWN.columns(table)]
    names = known if words == [ALL] else [_column_named(table, word, known) for word in words]
    if not names:
        raise UsageError("no column is named", f"table {table}", "name some, or leave them out for the standard ones")
    return list(dict.fromkeys(names))


def _column_named(table: str, name: object, known: Sequence[str]) -> str:
    word = name.strip() if isinstance(name, str) else str(name)
    found = word.lower() if word.lower() in known else OWN.column_named(table, word)
    if found is None:
        raise UsageError(f"no column named {word!r}", f"table {table}", did_you_mean(word, known))
    return found
