"""A night's report against the rows themselves, and its text and page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import skydb
import skydb.database as database
from skydb.database import Database
from skydb.errors import UsageError
from skydb.ingest.addstar import addstar
from skydb.query.night_report import night_report
from skydb.tools.cli import main
from skydb.tools.night_page import page_of, text_of
from tests.ingest.catalog_files import rows, write_cmf
from tests.ingest.skies import new_database, write_night

NIGHT = 56899
"""Of MJD 56900.25, 10 h west of Greenwich."""


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Database:
    folder = tmp_path_factory.mktemp("night")
    files = write_night(folder / "night", exposures=4, stars=60)
    table = rows(30, seed=8)
    table["IPP_IDET"][5] = 4
    table["X_PSF"][7] = np.nan
    files.append(write_cmf(folder / "odd.cmf", table, {"MJD-OBS": 56901.25, "OBS_ID": "odd"}))
    made = new_database(folder / "t.sky", cell_rows=60)
    addstar(made, files, workers=1)
    return made


def test_numbers_are_those_of_the_rows(db: Database) -> None:
    with skydb.connect(db) as con:
        report = night_report(con, NIGHT)
        objects = {o["object_id"]: o for o in con.sql("SELECT * FROM objects").arrow().to_pylist()}
        means = con.sql("SELECT * FROM object_bands").arrow().to_pylist()
        bands = {(b["object_id"], b["band"]): b["mag"] for b in means}
        images = {i["image_id"]: i for i in con.sql("SELECT * FROM images").arrow().to_pylist()}
        measured = con.sql("SELECT * FROM measurements").arrow().to_pylist()
    assert len(report.exposures) == 4
    assert [e.exposure for e in report.exposures] == [f"o0-{n}" for n in range(4)]
    for each in report.exposures:
        mine = [m for m in measured if images[m["image_id"]]["name"] == Path(each.files[0]).name]
        assert each.n_measurements == len(mine) == each.n_in == (each.n_matched or 0) + (each.n_new or 0)
        again = [m for m in mine if objects[m["object_id"]]["n_measurements"] > 1]
        assert each.n_repeated == len(again)
        away = np.array([
            ((m["ra"] - objects[m["object_id"]]["ra"] + 180) % 360 - 180) * np.cos(np.radians(m["dec"])) * 3.6e6
            for m in again
        ])  # fmt: skip
        assert each.d_ra_mas == pytest.approx(np.median(away), abs=1e-3)
        mags = np.array([
            m["mag"] - bands[m["object_id"], m["band"]] for m in again
            if m["mag"] is not None and bands.get((m["object_id"], m["band"])) is not None
        ])  # fmt: skip
        assert each.d_mag_mmag == pytest.approx(1000 * np.median(mags), abs=1e-2)
        assert each.mag_scatter_mmag == pytest.approx(1482.6 * np.median(abs(mags - np.median(mags))), abs=1e-2)
    assert report.total("n_in") == sum(e.n_in or 0 for e in report.exposures)
    assert report.match_fraction == report.total("n_matched") / (report.total("n_matched") + report.total("n_new"))


def test_the_latest_night_is_taken_and_its_rejected_rows_are_counted(db: Database) -> None:
    with skydb.connect(db) as con:
        report = night_report(con)
    assert report.night == NIGHT + 1
    (odd,) = report.exposures
    assert (odd.n_rejected, odd.n_duplicates) == (2, 1)
    assert report.reasons == {"duplicate": 1, "no_position": 1}
    assert "rejected: duplicate 1, no_position 1" in text_of(report)


def test_a_night_that_is_not_there_is_refused_with_those_that_are(db: Database, tmp_path: Path) -> None:
    words = f"no exposure of night 5; the latest are {NIGHT + 1}"
    with skydb.connect(db) as con, pytest.raises(UsageError, match=words):
        night_report(con, 5)
    empty = database.create(tmp_path / "e.sky")
    with skydb.connect(empty) as con, pytest.raises(UsageError, match="no exposure of a night"):
        night_report(con)


class Checked(HTMLParser):
    """Fails on a tag that is not closed, and keeps the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "path", "use", "rect", "circle", "image"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_stands_alone(db: Database) -> None:
    with skydb.connect(db) as con:
        page = page_of(night_report(con, NIGHT))
    checked = Checked()
    checked.feed(page)
    assert "o0-3" in checked.text
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", ""), "nothing is fetched"


def test_command_writes_text_json_and_page(
    db: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(db.root), "--night", str(NIGHT), "--html", str(tmp_path / "n.html")]) == 0
    assert capsys.readouterr().out.startswith(f"Night {NIGHT}: 4 exposures, 4 images, ")
    assert "</html>" in (tmp_path / "n.html").read_text()
    assert main(["report", str(db.root), "--night", str(NIGHT), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["n_exposures"] == len(told["exposures"]) == 4
    assert main(["report", str(db.root), "--html", str(tmp_path / "no" / "n.html")]) == 2
