"""A night's report: what came in each exposure, how much of it was known, and how far it lies from the means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from skydb.errors import UsageError
from skydb.store.changes import LogEntry
from skydb.store.history import digests_of_images, logged_files
from skydb.store.snapshot import Snapshot

from .connection import Connection

_EXPOSURES = (
    "SELECT exposure_id, name, filter, mjd, exptime, airmass FROM exposures WHERE night = {night}"
    " ORDER BY mjd, exposure_id"
)
_IMAGES = "SELECT image_id, exposure_id, band, zero_point, n_measurements FROM images WHERE exposure_id IN ({ids})"
_OFFSETS = """
SELECT exposure_id, count(*) AS n_repeated,
  median(d_ra) AS d_ra_mas, median(d_dec) AS d_dec_mas,
  1.4826 * (mad(d_ra) + mad(d_dec)) / 2 AS position_scatter_mas,
  1000 * median(d_mag) AS d_mag_mmag, 1000 * 1.4826 * mad(d_mag) AS mag_scatter_mmag
FROM (
  SELECT i.exposure_id, b.mag AS mean, m.mag - b.mag AS d_mag,
    ((m.ra - o.ra + 540) % 360 - 180) * cos(radians(o.dec)) * 3.6e6 AS d_ra, (m.dec - o.dec) * 3.6e6 AS d_dec
  FROM measurements m JOIN images i USING (image_id) JOIN objects o USING (object_id)
  LEFT JOIN object_bands b ON b.object_id = m.object_id AND b.band = m.band AND b.source = i.kind
  WHERE i.exposure_id IN ({ids}) AND m.mjd BETWEEN {first} AND {last} AND o.n_measurements > 1
) GROUP BY exposure_id
"""
"""Distances from the means of objects that were measured more than once; each measurement has a part in its mean."""


@dataclass(frozen=True)
class ExposureReport:
    """One exposure: what it is, what came of its rows (None: not in the log), and its medians against the means.

    Offsets in mas (in right ascension times cos(dec)) and mmag, scatters as 1.4826 times the median absolute deviation,
    of `n_repeated` measurements whose object has others. `zero_point` is the median of its images.
    """

    exposure: str
    files: tuple[str, ...]
    band: str | None
    mjd: float
    exptime: float | None
    airmass: float | None
    n_images: int
    n_measurements: int
    n_in: int | None
    n_matched: int | None
    n_new: int | None
    n_rejected: int | None
    n_duplicates: int | None
    match_fraction: float | None
    zero_point: float | None
    n_repeated: int
    d_ra_mas: float | None
    d_dec_mas: float | None
    position_scatter_mas: float | None
    d_mag_mmag: float | None
    mag_scatter_mmag: float | None


@dataclass(frozen=True)
class NightReport:
    """A night: its modified Julian day, its exposures by time, and why rows were rejected."""

    database: str
    snapshot: int
    night: int
    exposures: tuple[ExposureReport, ...]
    reasons: dict[str, int]

    def total(self, name: str) -> int:
        """Return the sum of one of the exposures' counts."""
        return sum(getattr(each, name) or 0 for each in self.exposures)

    @property
    def match_fraction(self) -> float | None:
        """How many of the stored detections joined an object that was there."""
        return _fraction(self.total("n_matched"), self.total("n_new"))

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data, for JSON."""
        counts = ("n_images", "n_measurements", "n_in", "n_matched", "n_new", "n_rejected", "n_duplicates")
        return {
            "database": self.database, "snapshot": self.snapshot, "night": self.night,
            "n_exposures": len(self.exposures), **{name: self.total(name) for name in counts},
            "match_fraction": self.match_fraction, "reasons": self.reasons,
            "exposures": [asdict(each) for each in self.exposures],
        }  # fmt: skip


def night_report(connection: Connection, night: int | None = None) -> NightReport:
    """Report on a night: its exposures, what the log says of their files, and their offsets from the means.

    Parameters
    ----------
    connection
        Of the snapshot to report on.
    night : d
        As in `exposures.night`; None: the latest.

    Raises
    ------
    UsageError
        The database has no exposure of that night.
    """
    snapshot = connection.snapshot
    night = _latest(connection) if night is None else night
    exposures = connection.sql(_EXPOSURES.format(night=int(night))).arrow().to_pylist()
    if not exposures:
        raise _no_such_night(connection, night)
    ids = ", ".join(str(each["exposure_id"]) for each in exposures)
    images: dict[int, list[dict[str, Any]]] = {each["exposure_id"]: [] for each in exposures}
    for image in connection.sql(_IMAGES.format(ids=ids)).arrow().to_pylist():
        images[image["exposure_id"]].append(image)
    times = [each["mjd"] for each in exposures]
    offsets = connection.sql(_OFFSETS.format(ids=ids, first=min(times) - 1, last=max(times) + 1)).arrow().to_pylist()
    near = {row["exposure_id"]: row for row in offsets}
    logged = _logged(snapshot, images)
    made = tuple(
        _exposure(each, images[each["exposure_id"]], logged[each["exposure_id"]], near.get(each["exposure_id"], {}))
        for each in exposures
    )
    reasons: Counter[str] = Counter()
    for entry in {entry.digest: entry for entries in logged.values() for entry in entries}.values():
        reasons.update(entry.reasons)
    return NightReport(str(snapshot.home), snapshot.id, int(night), made, dict(reasons))


def _latest(connection: Connection) -> int:
    (night,) = connection.sql("SELECT max(night) AS night FROM exposures").arrow()["night"].to_pylist()
    if night is None:
        raise _no_such_night(connection, None)
    return int(night)


def _no_such_night(connection: Connection, night: int | None) -> UsageError:
    query = "SELECT DISTINCT night FROM exposures WHERE night IS NOT NULL ORDER BY night DESC LIMIT 5"
    nights = ", ".join(str(n) for n in connection.sql(query).arrow()["night"].to_pylist())
    todo = f"the latest are {nights}" if nights else "ingest exposures whose headers give their site and time"
    what = "no exposure of a night" if night is None else f"no exposure of night {night}"
    return UsageError(what, str(connection.snapshot.home), todo)


def _logged(snapshot: Snapshot, images: Mapping[int, Sequence[Mapping[str, Any]]]) -> dict[int, list[LogEntry]]:
    """Return the log's entries of the files that brought each exposure's images."""
    digest = digests_of_images(snapshot, [image["image_id"] for each in images.values() for image in each])
    entries = logged_files(snapshot, set(digest.values()))
    found = {}
    for exposure, of_exposure in images.items():
        mine = dict.fromkeys(digest[i["image_id"]] for i in of_exposure if i["image_id"] in digest)
        found[exposure] = [entries[each] for each in mine if each in entries]
    return found


def _exposure(
    row: Mapping[str, Any], images: Sequence[Mapping[str, Any]], logged: Sequence[LogEntry], near: Mapping[str, Any]
) -> ExposureReport:  # fmt: skip
    counts = {name: sum(getattr(e, name) for e in logged) if logged else None
              for name in ("n_in", "n_matched", "n_new", "n_rejected")}  # fmt: skip
    points = sorted(image["zero_point"] for image in images if image["zero_point"] is not None)
    bands = {image["band"] for image in images} - {None}
    return ExposureReport(
        exposure=row["name"] or str(row["exposure_id"]), files=tuple(entry.file for entry in logged),
        band=bands.pop() if len(bands) == 1 else row["filter"], mjd=row["mjd"], exptime=row["exptime"],
        airmass=row["airmass"], n_images=len(images), n_measurements=sum(image["n_measurements"] for image in images),
        **counts, n_duplicates=sum(e.reasons.get("duplicate", 0) for e in logged) if logged else None,
        match_fraction=_fraction(counts["n_matched"], counts["n_new"]),
        zero_point=points[len(points) // 2] if points else None, n_repeated=near.get("n_repeated", 0),
        **{name: near.get(name) for name in (
            "d_ra_mas", "d_dec_mas", "position_scatter_mas", "d_mag_mmag", "mag_scatter_mmag",
        )},
    )  # fmt: skip


def _fraction(matched: int | None, new: int | None) -> float | None:
    total = (matched or 0) + (new or 0)
    return (matched or 0) / total if total else None
