"""relcal on real stars: two GWAC exposures, 22 s apart, by the commands that anybody would type."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from skydb.database import Database
from skydb.database import open as open_database
from skydb.tools.cli import main

pytestmark = pytest.mark.data

SECOND = "1 R sec 0 0 0 - - 0 0 -\n"
BARE = "100 GWAC.R dep 20 0 0 - - 0 0 R\n"
DESCRIBED = "100 GWAC.R dep 20 0 0 - - 0 0 R 0 1 0 0.010 0 0xfc 0 0xfc\n"
"""SExtractor's flags from 4 (saturated) on are bad; bright stars repeat to 10 mmag."""

PAIRS = (
    "SELECT median(second - first) AS difference, 1.4826 * mad(second - first) AS scatter, count(*) AS n FROM (SELECT"
    " min_by(mag + mcal, mjd) AS first, max_by(mag + mcal, mjd) AS second FROM measurements GROUP BY object_id"
    " HAVING count(*) = 2)"
)
IMAGES = "SELECT mcal, mcal_err, chi2, mcal_source FROM images ORDER BY mjd"


@pytest.fixture(scope="module")
def pair(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """The pair with photcodes that say only what they must: 3 s."""
    return ingested(tmp_path_factory.mktemp("gwac"), data_dir, BARE)


def ingested(folder: Path, data_dir: Path, photcode: str) -> Database:
    (folder / "codes").write_text(SECOND + photcode)
    db = str(folder / "g.sky")
    files = sorted(map(str, (data_dir / "gwac").glob("*.Fcat")))
    assert main(["create", db]) == 0
    assert main(["photcodes", db, "--import", str(folder / "codes")]) == 0
    assert main(["addstar", db, *files, "--photcode", "GWAC.R", "--radius", "12", "--workers", "1"]) == 0
    return open_database(db)


def asked(db: Database, query: str, capfd: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    capfd.readouterr()
    assert main(["sql", str(db.root), query, "--format", "csv"]) == 0
    return list(csv.DictReader(io.StringIO(capfd.readouterr().out)))


def solved(db: Database, capfd: pytest.CaptureFixture[str], *words: str) -> dict:
    """The report of the only band."""
    capfd.readouterr()
    assert main(["relcal", str(db.root), "--workers", "1", "--json", *words]) == 0
    return json.loads(capfd.readouterr().out)["bands"][0]


def difference(db: Database, capfd: pytest.CaptureFixture[str]) -> tuple[float, float]:
    """Zero points of 473 against 472, mag, and its error: each error is against the mean of the two."""
    first, second = asked(db, IMAGES, capfd)
    assert first["mcal_source"] == second["mcal_source"] == "image"
    return float(second["mcal"]) - float(first["mcal"]), float(first["mcal_err"]) + float(second["mcal_err"])


def test_pair_differs_by_what_all_its_stars_say(
    pair: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    """The median of 7,916 pairs, +0.0058 with an error of 0.0009, against the weighted robust mean of 3,395."""
    band = solved(pair, capfd)
    row = asked(pair, PAIRS, capfd)[0]
    median, scatter, n = float(row["difference"]), float(row["scatter"]), int(row["n"])
    assert (median, scatter, n) == (pytest.approx(0.006, abs=5e-4), pytest.approx(0.061, abs=5e-4), 7916)
    found, _ = difference(pair, capfd)
    assert found == pytest.approx(0.0055, abs=2e-4)
    assert abs(found - median) < 1.2533 * scatter / n**0.5
    assert band["chi2"] == pytest.approx(1.83, abs=0.05)  # the stated errors of bright stars are too small
    assert band["converged"]


@pytest.mark.parametrize("max_mag_err", ["0.02", "0.05", "0.1", "0.3"])
def test_described_camera_gives_honest_errors_whichever_stars_enter(
    described: Database, capfd: pytest.CaptureFixture[str], max_mag_err: str
) -> None:
    band = solved(described, capfd, "--max-mag-err", max_mag_err)
    found, error = difference(described, capfd)
    assert found == pytest.approx(0.0060, abs=3e-4)
    assert error == pytest.approx(0.00045, abs=6e-5)
    assert 0.85 < band["chi2"] < 1.1
    assert band["rejected"]["outlier"] < 10
    assert band["rejected"]["bad_flags"] == 248


@pytest.fixture(scope="module")
def described(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """The pair with a photcode that knows its masks and its systematic error."""
    return ingested(tmp_path_factory.mktemp("described"), data_dir, DESCRIBED)


def test_calibrated_pair_agrees(described: Database, capfd: pytest.CaptureFixture[str]) -> None:
    solved(described, capfd)
    row = asked(described, PAIRS.replace("mag + mcal", "mag"), capfd)[0]
    assert abs(float(row["difference"])) < 5e-4
