"""skydb score: a database against the truth of a simulated survey."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..output import emit, json_option, progress, text_of, text_table

if TYPE_CHECKING:
    from ..score_database import DatabaseScore


@click.command(epilog="Example: skydb score survey.sky sim")
@click.argument("db", type=click.Path())
@click.argument("truth", type=click.Path())
@click.option("--at", metavar="SNAPSHOT|TAG", help="The state to score; by default the newest.")
@json_option
def command(db: str, truth: str, at: str | None, as_json: bool) -> None:
    """Compare DB with the truth of the simulated survey in the folder TRUTH.

    Association: an object is right if its unblended detections are of one star and are all of that star's. Zero
    points: error = estimate - truth, after one constant per band and connected component is removed, which no
    measurement of stars alone can tell; images that were solved, else all. Of `stored` images and exposures, `n` are
    scored; an exposure whose chips lie in several components has an error in each of them, and counts once.
    """
    from ..score_database import score_database

    with progress("cells") as show:
        score = score_database(db, truth, at=at, progress=show)
    emit(score.as_dict() if as_json else score_text(score), as_json=as_json)


def score_text(score: DatabaseScore) -> str:
    """Return a score for people: association, zero points by band, what was removed."""
    plain = score.as_dict()
    points = plain["zero_points"]
    sources = ", ".join(f"{name} {count}" for name, count in points["sources"].items())
    rows = [
        {"of": what, "band": row["band"], **{name: _short(value) for name, value in row.items() if name != "band"}}
        for what in ("images", "exposures") for row in [{"band": "all", **points[what]}, *points[what]["bands"]]
    ]  # fmt: skip
    for row in rows:
        row.pop("bands", None)
    removed = [f"{r['band']}/{r['component']} {r['mmag']:+.1f}" for r in points["removed"]]
    return "\n".join([
        f"snapshot {score.snapshot}, calibration {score.calibration}", "",
        "Association", text_of({name: _short(value) for name, value in plain["association"].items()}), "",
        f"Zero points against truth: {points['scored']} images; by source: {sources}", text_table(rows), "",
        f"Removed, mmag, one constant per band and component: {', '.join(removed)}",
    ])  # fmt: skip


def _short(value: object) -> object:
    return value if not isinstance(value, float) else round(value, 4) if value == value else None
