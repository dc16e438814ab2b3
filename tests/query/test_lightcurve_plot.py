"""Light curves as pictures: which points, how they are marked, how time and magnitudes lie; and the command."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from skydb.database import Database
from skydb.errors import UsageError
from skydb.query.connection import Connection
from skydb.query.lightcurve_plot import drawn, plot_lightcurve, seasons, write_plot
from skydb.query.lightcurve_points import BandPoints, LightCurve, light_curve
from skydb.tools.cli import main

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def often_seen(con: Connection) -> list[int]:
    """Objects with most measurements, of chips and of a reference survey, some with measurements that no mean uses."""
    rows = con.sql("SELECT object_id FROM objects ORDER BY n_measurements DESC, object_id LIMIT 40").arrow()
    partly = con.sql("SELECT object_id FROM object_bands WHERE n_used < n_measurements ORDER BY object_id LIMIT 10")
    return [*rows["object_id"].to_pylist(), *partly.arrow()["object_id"].to_pylist()]


def points(band: str, mjd: np.ndarray, mag: np.ndarray, **changed: object) -> BandPoints:
    """Points of a band that the mean uses, with errors of 0.05 mag."""
    values = {
        "source": "chip", "mag_err": np.full(len(mjd), 0.05), "raw": mag + 0.5, "used": np.ones(len(mjd), dtype=bool),
        "mean": float(mag.mean()), "stdev": 0.1, "chi2": 1.0, "raw_stdev": 0.2, **changed,
    }  # fmt: skip
    return BandPoints(band=band, mjd=mjd, mag=mag, **values)


def panels(figure: Figure) -> list[Axes]:
    return figure.get_axes()


def faces(axes: Axes) -> dict[str, int]:
    """How many points a panel shows by colour of their faces; means and arrows are not points."""
    found: dict[str, int] = {}
    for line in (container.lines[0] for container in axes.containers):
        found[str(line.get_markerfacecolor())] = found.get(str(line.get_markerfacecolor()), 0) + len(line.get_xdata())
    return found


def test_points_are_all_measurements_with_a_magnitude(con: Connection, often_seen: list[int]) -> None:
    for star in often_seen:
        curve = light_curve(con, star)
        rows = [row for row in con.lightcurve(star).arrow().to_pylist() if row["mag"] is not None]
        shown = {(b.band, t): m for b in curve.bands for t, m in zip(b.mjd.tolist(), b.mag.tolist(), strict=True)}
        assert shown == {(row["band"], row["mjd"]): row["mag"] for row in rows}
        assert sum(map(len, curve.bands)) == len(rows)


def test_points_and_their_mean_are_those_of_object_bands(con: Connection, often_seen: list[int]) -> None:
    left_out = 0
    for star in often_seen:
        for band in light_curve(con, star).bands:
            where = f"object_id = {star} AND band = '{band.band}' AND source = '{band.source}'"
            row = con.sql(f"SELECT mag, mag_stdev, n_used FROM object_bands WHERE {where}").arrow().to_pylist()[0]
            assert row["n_used"] == band.used.sum()
            assert row["mag"] == pytest.approx(band.mean, abs=1e-6, nan_ok=True)
            left_out += len(band) - row["n_used"]
    assert left_out > 5


def test_raw_magnitudes_are_under_nominal_zero_points(con: Connection, often_seen: list[int]) -> None:
    star = often_seen[0]
    query = f"SELECT mag + mcal AS raw FROM measurements WHERE object_id = {star} AND band = 'g' ORDER BY mjd"
    found = next(band for band in light_curve(con, star).bands if band.band == "g")
    assert found.raw == pytest.approx(con.sql(query).arrow()["raw"].to_pylist(), abs=1e-5)


def test_scatter_of_raw_magnitudes_compares_with_that_of_calibrated_ones(
    con: Connection, often_seen: list[int]
) -> None:
    """Where all zero points of a band are off alike, both are the same number."""
    bands = [band for star in often_seen for band in light_curve(con, star).bands if band.used.sum() > 1]
    alike = [band for band in bands if np.ptp(band.raw - band.mag) < 1e-5]
    assert alike
    for band in alike:
        assert band.raw_stdev == pytest.approx(band.stdev, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    ("mjd", "expected"),
    [
        ([100.0], [(100.0, 100.0)]),
        ([0.0, 10.0, 20.0, 30.0], [(0.0, 30.0)]),
        ([0.0, 0.1, 0.3], [(0.0, 0.3)]),
        ([*range(12), *range(120, 240)], [(0.0, 11.0), (120.0, 239.0)]),
        ([0.0, 0.0, 0.01, 400.0, 400.01, 1200.0, 1200.02], [(0.0, 0.01), (400.0, 400.01), (1200.0, 1200.02)]),
        ([*np.arange(0, 3650, 3)[np.arange(0, 3650, 3) % 365 < 200]], [(0.0, 3483.0)]),
    ],
    ids=["one point", "even", "one night", "two seasons", "three nights in years", "a decade reads as it is"],
)  # fmt: skip
def test_long_gaps_part_seasons(mjd: list[float], expected: list[tuple[float, float]]) -> None:
    assert seasons(np.array(mjd, dtype=float)) == expected


def test_seasons_hold_every_point_and_are_few() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        mjd = np.cumsum(10 ** rng.uniform(-3, 3, rng.integers(1, 60)))
        parts = seasons(mjd)
        assert len(parts) <= 6
        assert all(sum(first <= t <= last for first, last in parts) == 1 for t in mjd)


def test_bands_have_rows_from_blue_to_red_and_seasons_columns() -> None:
    rng = np.random.default_rng(6)
    mjd = np.concatenate([rng.uniform(0, 12, 60), rng.uniform(120, 240, 440)]) + 59000
    bands = tuple(points(b, mjd, rng.normal(20, 0.3, 500)) for b in ("g", "r", "i"))
    axes = panels(drawn(LightCurve(7, (10.0, -5.0), bands, 0)))
    assert [a.get_ylabel() for a in axes] == ["g (mag)", "", "r (mag)", "", "i (mag)", ""]
    spans = {round(a.get_ylim()[0] - a.get_ylim()[1], 9) for a in axes}
    assert len(spans) == 1
    assert spans.pop() > 0  # bright is up
    assert [a.get_title() for a in axes[:2]] == ["May – Jun 2020", "Sep 2020 – Jan 2021"]


def test_what_the_mean_leaves_out_is_hollow() -> None:
    mjd, mag = np.arange(5.0), np.array([20.0, 20.1, 20.0, 20.2, 20.1])
    used = np.array([True, True, False, True, False])
    figure = drawn(LightCurve(7, None, (points("r", mjd, mag, used=used),), 2))
    counts = faces(panels(figure)[0])
    assert counts["white"] == 2
    assert sorted(counts.values()) == [2, 3]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["not in the mean"]
    assert "2 measurements without a magnitude" in figure.get_supxlabel()


def test_wild_point_is_an_arrow_and_does_not_squeeze_the_others() -> None:
    mjd, mag = np.arange(50.0), np.full(50, 20.0)
    mag[7] = 12.0
    axes = panels(drawn(LightCurve(7, None, (points("r", mjd, mag, used=mag > 15),), 0)))[0]
    faint, bright = axes.get_ylim()
    assert faint - bright < 0.5
    arrows = [line for line in axes.lines if line.get_marker() == "^" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in arrows] == [[7.0]]
    assert bright < arrows[0].get_ydata()[0] < faint


def test_many_points_far_from_the_mean_stay_points() -> None:
    mjd, mag = np.arange(50.0), np.where(np.arange(50) < 15, 17.0, 20.0)
    axes = panels(drawn(LightCurve(7, None, (points("r", mjd, mag, used=mag > 18),), 0)))[0]
    assert axes.get_ylim()[1] < 17.0 < 20.0 < axes.get_ylim()[0]


def test_raw_magnitudes_are_shown_only_when_asked_for(con: Connection, often_seen: list[int]) -> None:
    plain, both = (plot_lightcurve(con, often_seen[0], raw=raw) for raw in (False, True))
    assert not plain.legends or "raw" not in [t.get_text() for t in plain.legends[0].get_texts()]
    assert [t.get_text() for t in both.legends[0].get_texts()][:2] == ["calibrated", "raw"]


@pytest.mark.parametrize("n", [1, 2, 500])
def test_any_number_of_points_makes_a_picture(n: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(n)
    bands = tuple(points(b, np.sort(rng.uniform(59000, 60000, n)), rng.normal(20, 0.3, n)) for b in "gy")
    write_plot(drawn(LightCurve(7, (10.0, -5.0), bands, 0), raw=True), tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes()[:4] == PNG


def test_title_has_object_and_position(con: Connection, often_seen: list[int]) -> None:
    star = often_seen[0]
    row = con.sql(f"SELECT ra, dec FROM objects WHERE object_id = {star}").arrow().to_pylist()[0]
    assert plot_lightcurve(con, star).get_suptitle() == f"Object {star}   RA {row['ra']:.5f}  Dec {row['dec']:+.5f}"


def test_ending_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not end as a picture does"):
        write_plot(Figure(), tmp_path / "p.xyz")
    with pytest.raises(UsageError, match="cannot write"):
        write_plot(Figure(), tmp_path / "nowhere" / "p.png")


def test_without_matplotlib_the_error_says_what_to_install(survey: Database, tmp_path: Path) -> None:
    words = ["lightcurve", str(survey.root), "5", "--plot", str(tmp_path / "p.png")]
    script = f"import sys; sys.modules['matplotlib'] = None; from skydb.tools.cli import main; sys.exit(main({words}))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 2
    assert "pip install 'skydb[plot]'" in run.stderr


def test_command_lists_and_draws(
    survey: Database, often_seen: list[int], tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = tmp_path / "star.png"
    words = ["lightcurve", str(survey.root), str(often_seen[0]), "--format", "csv"]
    assert main(words) == 0
    listed = capfdbinary.readouterr().out
    assert main([*words, "--plot", str(path), "--raw"]) == 0
    assert capfdbinary.readouterr().out == listed
    assert path.read_bytes()[:4] == PNG


def test_position_finds_the_nearest_object(
    survey: Database, con: Connection, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    for place in ((0.0, 10.0), (123.0, -45.0), (200.0, 89.9)):
        near = con.cone(*place, 0.1, columns=["object_id", "ra", "dec"]).table()
        apart = np.hypot((near["ra"] - place[0] + 180) % 360 - 180, 0) * np.cos(np.radians(place[1]))
        star = int(near["object_id"][np.argmin(np.hypot(apart, near["dec"] - place[1]))])
        words = ["lightcurve", str(survey.root), *map(str, place), "--radius", "6arcmin", "--columns", "object_id"]
        assert main([*words, "--format", "csv"]) == 0
        rows = csv.DictReader(io.StringIO(capfdbinary.readouterr().out.decode()))
        assert {int(row["object_id"]) for row in rows} == {star}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["0", "40"], "no object within 1 arcsec of 0.000000 +40.000000"),
        (["0", "95"], "outside -90 to 90"),
        (["five"], "'five' is no OBJECT_ID"),
        (["5", "--colums"], "'5 --colums' is no OBJECT_ID"),
        (["5", "--raw"], "give --plot FILE too"),
        (["1", "2", "3"], "no position RA DEC"),
    ],
)  # fmt: skip
def test_what_names_no_object_is_one_line(
    survey: Database, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lightcurve", str(survey.root), *words]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert says in said.err
