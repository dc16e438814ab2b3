"""What the demo does, step by step; each calls what its command line calls."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skydb import database
from skydb.database import Database
from skydb.errors import DataError
from skydb.parallel.steps import StepProgress

from .output import text_table

if TYPE_CHECKING:
    from .score_database import DatabaseScore

SURVEY, DATABASE, RELEASE = "survey", "survey.sky", "dr1"
ZERO_POINTS_PLOT, LIGHT_CURVE_PLOT = "zero_points.png", "light_curve.png"

PARTS = (SURVEY, DATABASE, RELEASE, ZERO_POINTS_PLOT, LIGHT_CURVE_PLOT)
"""What a demo writes into its folder."""

BANDS_QUERY = (
    "SELECT band, count(*) AS objects, round(avg(n_used), 1) AS measurements,"
    " round(1000 * median(mag_stdev)::DOUBLE, 1) AS scatter_mmag"
    " FROM object_bands WHERE n_used >= 4 AND mag < 18.5 GROUP BY band ORDER BY band"
)

STAR_QUERY = (
    "SELECT object_id FROM (SELECT object_id, band, count(*) AS n, max(mcal) - min(mcal) AS clouds FROM measurements"
    " WHERE mag > 15 AND mag_err < 0.01 GROUP BY object_id, band)"
    " GROUP BY object_id HAVING count(*) > 1 ORDER BY min(clouds) * sqrt(sum(n)) DESC, object_id LIMIT 1"
)
"""A star that is measured well and often in both bands, through changing clouds."""

CONE = (0.0, 20.0, 3.0)
"""RA, Dec in degrees and radius in arcmin, across RA 0."""

@dataclass
class Scene:
    """What the steps of one run share: how it was asked for, and what is there so far."""

    folder: Path
    seed: int
    detections: int | None
    workers: int
    ingested: int = 0
    star: int = 0
    score: DatabaseScore | None = field(default=None, repr=False)

    @property
    def db(self) -> Database:
        """The database."""
        return database.open(self.folder / DATABASE)

    def shown(self, name: str) -> str:
        """Return the path of a part of the demo as a shell takes it."""
        return shlex.quote(str(self.folder / name))


@dataclass(frozen=True)
class Outcome:
    """The command line that does what a step did, and what came of it, for people and as numbers."""

    command: str
    text: str
    numbers: dict[str, Any]


def simulate_survey(scene: Scene, progress: StepProgress | None) -> Outcome:
    """Write the files of a survey, and its truth."""
    from .simulate import simulate

    made = simulate(
        scene.folder / SURVEY, preset="small", detections=scene.detections, seed=scene.seed,
        workers=scene.workers,
        progress=(lambda done, total: progress("exposures", done, total)) if progress else None,
    )  # fmt: skip
    number = f" --detections {scene.detections}" if scene.detections else ""
    return Outcome(
        f"skydb simulate {scene.shown(SURVEY)} --preset small{number} --seed {scene.seed}",
        f"{made.exposures} exposures of {made.images // made.exposures} chips on {made.nights} nights:"
        f" {made.detections:,} detections of a sky of {made.stars:,} stars, {made.bytes / 1e6:.0f} MB of SMF files",
        {name: value for name, value in asdict(made).items() if name != "out"},
    )


def create_database(scene: Scene, progress: StepProgress | None) -> Outcome:
    """Create the database and import its photcodes."""
    from skydb.photcodes import import_photcodes

    db = database.create(scene.folder / DATABASE)
    added = import_photcodes(db, scene.folder / SURVEY / "photcodes.dat")
    name = scene.shown(DATABASE)
    return Outcome(
        f"skydb create {name}\nskydb photcodes {name} --import {scene.shown(f'{SURVEY}/photcodes.dat')}",
        f"an empty database, {added} photcodes",
        {"photcodes": added},
    )


def ingest(scene: Scene, progress: StepProgress | None) -> Outcome:
    """Ingest every file."""
    from skydb.ingest.addstar import addstar

    files = sorted((scene.folder / SURVEY / "exposures").glob("*.smf"))
    report = addstar(scene.db, files, workers=scene.workers, progress=progress)
    scene.ingested = report.snapshot
    counts = report.as_dict()
    del counts["files"]
    return Outcome(
        f"skydb addstar {scene.shown(DATABASE)} {scene.shown(f'{SURVEY}/exposures')}/*.smf",
        f"rows in {counts['n_in']:,} = matched {counts['n_matched']:,} + new {counts['n_new']:,}"
        f" + rejected {counts['n_rejected']:,}: {counts['n_new']:,} objects on {counts['n_images']:,} images",
        counts,
    )


def calibrate(scene: Scene, progress: StepProgress | None) -> Outcome:
    """Solve the zero points and apply them."""
    from skydb.calib.relcal import relcal

    report = relcal(scene.db, workers=scene.workers, progress=progress)
    bands = [
        {"band": b.band, "images": b.n_images, "solved": b.n_solved, "stars": b.n_stars,
         "measurements": b.n_measurements, "rms_mmag": round(1e3 * b.rms, 2)}
        for b in report.bands
    ]  # fmt: skip
    return Outcome(
        f"skydb relcal {scene.shown(DATABASE)}",
        f"{report.n_solved:,} zero points from the stars that images share; now applied to all measurements\n"
        + text_table(bands),
        {"solved": report.n_solved, "bands": bands},
    )


def ask(scene: Scene, progress: StepProgress | None) -> Outcome:
    """Ask in SQL how well bright objects repeat."""
    from skydb.query.connection import connect

    with connect(scene.db) as connection:
        rows = connection.sql(BANDS_QUERY).arrow().to_pylist()
    return Outcome(f'skydb sql {scene.shown(DATABASE)} "{BANDS_QUERY}"', text_table(rows), {"rows": rows})


def look_around(scene: Scene, progress: StepProgress | None) -> Outcome:
    """List the objects around a position."""
    from skydb.query.connection import connect

    ra, dec, arcmin = CONE
    with connect(scene.db) as connection:
        found = connection.cone(ra, dec, arcmin / 60).arrow()
    east = sum(value < 180 for value in found.column("ra").to_pylist())
    return Outcome(
        f"skydb cone {scene.shown(DATABASE)} {ra:g} {dec:g} {arcmin:g}arcmin",
        f"{len(found)} objects: {len(found) - east} before RA 0, {east} after it",
        {"objects": len(found)},
    )


def light_curve(scene: Scene, progress: StepProgress | None) -> Outcome:
    """Find a star that was seen well, often and through clouds, and list its measurements."""
    from skydb.query.connection import connect

    with connect(scene.db) as connection:
        stars = connection.sql(STAR_QUERY).arrow()
        if not len(stars):
            raise DataError("no star was measured well in two bands", str(scene.folder), "simulate more --detections")
        scene.star = stars.column(0)[0].as_py()
        rows = connection.lightcurve(scene.star).arrow()
    mcal = [value for value in rows.column("mcal").to_pylist() if value is not None]
    return Outcome(
        f"skydb lightcurve {scene.shown(DATABASE)} {scene.star}",
        f"{len(rows)} measurements of a star seen through clouds: mcal from {min(mcal):+.3f} to {max(mcal):+.3f} mag",
        {"object_id": scene.star, "measurements": len(rows)},
    )


def publish(scene: Scene, progress: StepProgress | None) -> Outcome:
    """Release the survey as a HATS collection."""
    from skydb.query.release import release

    made = release(scene.db, scene.folder / RELEASE, as_="hats", workers=scene.workers, progress=progress)
    return Outcome(
        f"skydb release {scene.shown(DATABASE)} {scene.shown(RELEASE)} --as hats",
        f"{made.objects:,} objects with {made.measurements:,} measurements as light curves,"
        f" {made.bytes / 1e6:.1f} MB: a HATS collection, which LSDB opens",
        {"objects": made.objects, "measurements": made.measurements, "bytes": made.bytes},
    )


def compare(scene: Scene, progress: StepProgress | None) -> Outcome:
    """Compare zero points and objects with the truth, which nothing has read before."""
    from .score_database import score_database

    survey = scene.folder / SURVEY
    before = score_database(scene.db, survey, at=scene.ingested).images.every
    scene.score = score = score_database(scene.db, survey)
    after, objects = score.images.every, score.association
    numbers = {
        "header_rms_mmag": round(1e3 * before.rms, 3), "rms_mmag": round(1e3 * after.rms, 3),
        "images": after.n_images, "objects": objects.n_objects, "fraction_right": objects.fraction_right,
        "merges": objects.merges, "splits": objects.splits,
    }  # fmt: skip
    return Outcome(
        f"skydb score {scene.shown(DATABASE)} {scene.shown(SURVEY)}",
        f"zero points miss the truth by {1e3 * after.rms:.1f} mmag rms (headers: {1e3 * before.rms:.1f});"
        f" {objects.fraction_right:.2%} of objects hold exactly the detections of one star",
        numbers,
    )


def plot(scene: Scene, progress: StepProgress | None) -> Outcome:
    """Draw the zero points against the truth, and the light curve."""
    if find_spec("matplotlib") is None:
        return Outcome("", "no plots: matplotlib is not installed (pip install 'skydb[plot]')", {"plots": []})
    from skydb.query.connection import connect
    from skydb.query.lightcurve_plot import plot_lightcurve, write_plot

    from .demo_plots import draw_zero_points

    paths = [scene.folder / ZERO_POINTS_PLOT, scene.folder / LIGHT_CURVE_PLOT]
    draw_zero_points(scene.db, scene.folder / SURVEY, scene.ingested, paths[0])
    with connect(scene.db) as connection:
        write_plot(plot_lightcurve(connection, scene.star, raw=True), paths[1])
    name, picture = scene.shown(DATABASE), scene.shown(LIGHT_CURVE_PLOT)
    return Outcome(
        f"skydb lightcurve {name} {scene.star} --plot {picture} --raw",
        "\n".join(map(str, paths)),
        {"plots": [str(path) for path in paths]},
    )


STEPS: dict[str, Callable[[Scene, StepProgress | None], Outcome]] = {
    "simulate": simulate_survey,
    "create": create_database,
    "addstar": ingest,
    "relcal": calibrate,
    "sql": ask,
    "cone": look_around,
    "lightcurve": light_curve,
    "release": publish,
    "score": compare,
    "plots": plot,
}
"""The steps, in order."""
