"""The score of a database: its zero points and objects, read through the store, beside the truth of its survey."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skydb.database import Database
from skydb.errors import DataError, UsageError
from skydb.parallel.executor import Progress
from skydb.store.snapshot import Snapshot

from .score import AssociationScore, ZeroPointScore, score_zero_points
from .score_objects import association_score

SOLVED = ("image", "night")
"""Values of `mcal_source` that a calibration solved for."""


@dataclass(frozen=True)
class ZeroPointScores:
    """Zero points against truth, of images or of exposures.

    `every` is over all bands; `by_band` has (score, number of images or exposures scored, number stored) of each. An
    exposure whose chips lie in several components has an error in each of them, and counts once.
    """

    every: ZeroPointScore
    by_band: dict[str, tuple[ZeroPointScore, int, int]]

    def as_dict(self) -> dict[str, Any]:
        """Return the scores in mmag as plain data."""
        scored = sum(number for _, number, _ in self.by_band.values())
        stored = sum(number for _, _, number in self.by_band.values())
        return {
            **_zero_point_row(self.every, scored, stored),
            "bands": [{"band": band, **_zero_point_row(*score)} for band, score in self.by_band.items()],
        }


@dataclass(frozen=True)
class DatabaseScore:
    """How a snapshot compares with the truth of its survey.

    `sources` counts the images by where their zero point comes from; `scored` says which of them `images` and
    `exposures` (averages over chips) are about: "solved" where a calibration solved any, else "all".
    """

    snapshot: int
    calibration: int
    association: AssociationScore
    sources: dict[str, int]
    scored: str
    images: ZeroPointScores
    exposures: ZeroPointScores

    def as_dict(self) -> dict[str, Any]:
        """Return the score as plain data, for JSON."""
        removed = [
            {"band": band, "component": component, "mmag": _mmag(value)}
            for (band, component), value in self.images.every.removed.items()
        ]
        return {
            "snapshot": self.snapshot, "calibration": self.calibration, "association": vars(self.association),
            "zero_points": {
                "scored": self.scored, "sources": self.sources, "images": self.images.as_dict(),
                "exposures": self.exposures.as_dict(), "removed": removed,
            },
        }  # fmt: skip


def score_database(
    db: Database | str | PathLike[str], truth: str | PathLike[str], *,
    at: int | str | None = None, progress: Progress | None = None,
) -> DatabaseScore:  # fmt: skip
    """Compare a snapshot with the truth of the simulated survey that it was made from.

    Parameters
    ----------
    db
        The database, or its path.
    truth
        The folder that `simulate` wrote, or `truth` in it.
    at
        Snapshot or tag; None: the newest.
    progress
        Called with (cells done, cells in all).

    Raises
    ------
    UsageError
        There is no truth in the folder.
    DataError
        It is of another survey, or the database holds no images.
    """
    from skydb import database

    snapshot = (db if isinstance(db, Database) else database.open(db)).snapshot(at)
    folder = truth_folder(truth)
    images = image_zero_points(snapshot, folder)
    scored = scored_images(images)
    sources = {row["values"]: row["counts"] for row in pc.value_counts(images.column("mcal_source")).to_pylist()}
    return DatabaseScore(
        snapshot.id, snapshot.calibration_id, association_score(snapshot, folder, progress=progress), sources,
        "solved" if scored.num_rows and scored.column("mcal_source")[0].as_py() in SOLVED else "all",
        zero_point_scores(scored, "name", images),
        zero_point_scores(exposure_zero_points(scored), "exposure", images),
    )  # fmt: skip


def truth_folder(path: str | PathLike[str]) -> Path:
    """Return the folder of the truth of a simulated survey.

    Raises
    ------
    UsageError
        There is none.
    """
    for folder in (Path(fspath(path)), Path(fspath(path)) / "truth"):
        if (folder / "chips.parquet").is_file():
            return folder
    raise UsageError("no truth of a simulated survey", fspath(path), "give the folder that skydb simulate wrote")


def image_zero_points(snapshot: Snapshot, truth: Path) -> pa.Table:
    """Join every image's zero point with the true one.

    Returns
    -------
    images : a row per image, by time and name
        `name`, `exposure`, `night`, `band`, `component` (of the solution; where not solved, of the truth), `mjd`,
        `zero_point`, `zero_point_nominal` (at the image's airmass, without mcal), `zero_point_true`, `mcal_err`,
        `mcal_source`.
    """
    stored = snapshot.read_global("images", ["image_id", "name"])
    solved = snapshot.read_global(
        "images_cal", ["image_id", "mjd", "zero_point", "mcal", "mcal_err", "mcal_source", "component"]
    )
    rows = stored.join(solved, "image_id").sort_by([("mjd", "ascending"), ("name", "ascending")])
    known = pq.read_table(truth / "chips.parquet", columns=["name", "exposure", "night", "band", "component",
                                                            "zero_point_true"])  # fmt: skip
    at = pc.index_in(rows.column("name"), known.column("name"))
    if not rows.num_rows or at.null_count:
        what = f"image {rows.column('name').filter(pc.is_null(at))[0]} is not in" if rows.num_rows else "no images for"
        raise DataError(f"{what} the truth", str(snapshot.root), f"is {truth} of the same survey?")
    known = known.take(at)
    component = pc.coalesce(rows.column("component").cast(pa.string()), known.column("component"))
    return pa.table({
        "name": rows.column("name"), "exposure": known.column("exposure"), "night": known.column("night"),
        "band": known.column("band"), "component": component, "mjd": rows.column("mjd"),
        "zero_point": rows.column("zero_point"), "zero_point_true": known.column("zero_point_true"),
        "zero_point_nominal": pc.add(rows.column("zero_point"), rows.column("mcal")),
        "mcal_err": rows.column("mcal_err"), "mcal_source": rows.column("mcal_source"),
    })  # fmt: skip


def scored_images(images: pa.Table) -> pa.Table:
    """Return the images whose zero point a calibration solved; all, where none did."""
    solved = images.filter(pc.is_in(images.column("mcal_source"), pa.array(SOLVED)))
    return solved if solved.num_rows else images


def exposure_zero_points(images: pa.Table) -> pa.Table:
    """Average the zero points of the chips of each exposure and component, true ones over the same chips."""
    means = [("zero_point", "mean"), ("zero_point_true", "mean"), ("mjd", "min")]
    keys = ["exposure", "band", "component"]
    averaged = images.group_by(keys, use_threads=False).aggregate(means)
    name = pc.binary_join_element_wise(averaged.column("exposure"), averaged.column("component"), "/")
    return pa.table({
        "name": name, **{key: averaged.column(key) for key in keys}, "mjd": averaged.column("mjd_min"),
        "zero_point": averaged.column("zero_point_mean"), "zero_point_true": averaged.column("zero_point_true_mean"),
    })  # fmt: skip


def zero_point_scores(rows: pa.Table, key: str, images: pa.Table) -> ZeroPointScores:
    """Score images or exposures against the truth that their rows carry.

    Parameters
    ----------
    rows : what is scored, as `scored_images` or `exposure_zero_points` give it
    key : the column that tells images, or exposures, apart
    images : all that are stored
    """

    def scored(rows: pa.Table) -> ZeroPointScore:
        return score_zero_points(rows, rows, bound="mcal_err" if "mcal_err" in rows.column_names else None)

    def of_band(table: pa.Table, band: str) -> pa.Table:
        return table.filter(pc.equal(table.column("band"), band))

    def number(table: pa.Table) -> int:
        return len(table.column(key).unique())

    bands = sorted(set(images.column("band").to_pylist()))
    stored = {band: number(of_band(images, band)) for band in bands}
    by_band = {band: of_band(rows, band) for band in bands}
    return ZeroPointScores(
        scored(rows), {b: (scored(r), number(r), stored[b]) for b, r in by_band.items() if r.num_rows}
    )


def _zero_point_row(score: ZeroPointScore, scored: int, stored: int) -> dict[str, Any]:
    return {
        "n": scored, "stored": stored, "rms_mmag": _mmag(score.rms), "worst_mmag": _mmag(score.worst),
        "rms_over_stated": score.bound_ratio, "pull_width": score.pull_width, "pull_kurtosis": score.pull_kurtosis,
    }  # fmt: skip


def _mmag(value: float) -> float:
    return round(value * 1e3, 6)
