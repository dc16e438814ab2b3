"""The object at a position."""

from __future__ import annotations

import numpy as np

from skydb.errors import UsageError
from skydb.store.arrays import numbers_of

from .connection import Connection


def nearest_object(connection: Connection, ra: float, dec: float, *, radius_arcsec: float = 1.0) -> int:
    """Return the id of the object nearest to a position in degrees.

    Raises
    ------
    UsageError
        No object within the radius, or a position that is not on the sky.
    """
    from skydb.sky.arcs import separation_from

    found = connection.cone(ra, dec, radius_arcsec / 3600, columns=["object_id", "ra", "dec"]).arrow()
    if not found.num_rows:
        what = f"no object within {radius_arcsec:g} arcsec of {ra:.6f} {dec:+.6f}"
        raise UsageError(what, connection.snapshot.home, "look with a larger radius")
    away = separation_from(found["ra"].to_numpy(), found["dec"].to_numpy(), ra, dec)
    return int(numbers_of(found["object_id"])[np.argmin(away)])
