"""Detections on difference images: files PS1_DV1 … DV5, in a database of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import skydb
import skydb.database as database
from skydb.checks.fsck import fsck
from skydb.database import Database
from skydb.errors import UsageError
from skydb.ingest.addstar import addstar
from skydb.photcodes import import_photcodes
from skydb.tools.cli import main
from tests.ingest.catalog_files import rows, write_cmf
from tests.ingest.skies import PHOTCODES, new_database, write_night
from tests.ingest.tables import mapping_of

NOT_IN_DV1 = (
    "AP_MAG_RAW", "AP_FLUX", "AP_FLUX_SIG", "PSF_QF_PERFECT", "MOMENTS_R1", "MOMENTS_RH", "KRON_FLUX", "KRON_FLUX_ERR",
    "KRON_FLUX_INNER", "KRON_FLUX_OUTER", "FLAGS2",
)  # fmt: skip
NOT_IN_DV = (
    "MOMENTS_M3C", "MOMENTS_M3S", "MOMENTS_M4C", "MOMENTS_M4S", "SKY_LIMIT_RAD", "SKY_LIMIT_FLUX", "SKY_LIMIT_SLOPE",
)  # fmt: skip


def difference_rows(version: int, n: int = 20) -> dict[str, np.ndarray]:
    """The columns of a version, after psphot's CMF template."""
    rng = np.random.default_rng(version)
    left_out = {*NOT_IN_DV, *(NOT_IN_DV1 if version == 1 else ())}
    table = {name: values for name, values in rows(n, seed=version).items() if name not in left_out}
    names = ["DIFF_FRATIO", "DIFF_NRATIO_BAD", "DIFF_NRATIO_MASK", "DIFF_NRATIO_ALL"]
    names += ["DIFF_R_P", "DIFF_SN_P", "DIFF_R_M", "DIFF_SN_M"] if version >= 2 else []
    names += ["PSF_CORE", "PSF_FWHM_MAJ", "PSF_FWHM_MIN"] if version >= 4 else []
    table |= {name: rng.uniform(0, 1, n).astype("f4") for name in names}
    table["PSF_INST_FLUX"] = rng.normal(0, 1000, n).astype("f4")
    table["PSF_INST_MAG"] = np.where(
        table["PSF_INST_FLUX"] > 0, -2.5 * np.log10(np.abs(table["PSF_INST_FLUX"])), np.nan
    ).astype("f4")
    return table


def of_differences(path: Path) -> Database:
    db = database.create(path, difference=True)
    path.with_suffix(".photcodes").write_text(PHOTCODES)
    import_photcodes(db, path.with_suffix(".photcodes"))
    return db


@pytest.mark.parametrize("version", range(1, 6))
def test_every_version_is_read(tmp_path: Path, version: int) -> None:
    table = difference_rows(version)
    path = write_cmf(tmp_path / "d.cmf", table, exttype=f"PS1_DV{version}")
    db = of_differences(tmp_path / "t.sky")
    skydb.declare_table(db, "difference")
    (report,) = addstar(db, path, workers=1).files
    assert (report.status, report.n_in, report.n_measurements) == ("ingested", 20, 20)
    assert report.companions == {"difference": {"in": 20, "stored": 20}}
    with skydb.connect(db) as con:
        found = con.sql(
            "SELECT m.det_id, inst_flux, inst_mag, flux_ratio, sn_negative, i.kind FROM measurements m"
            " JOIN difference USING (object_id, image_id, det_id) JOIN images i USING (image_id) ORDER BY m.det_id"
        ).arrow().to_pylist()
        sources = con.sql("SELECT DISTINCT source FROM object_bands").arrow()["source"].to_pylist()
    assert [row["inst_flux"] for row in found] == table["PSF_INST_FLUX"].tolist(), "negative fluxes stay"
    assert [row["inst_mag"] is None for row in found] == np.isnan(table["PSF_INST_MAG"]).tolist()
    assert [row["flux_ratio"] for row in found] == table["DIFF_FRATIO"].tolist()
    assert all((row["sn_negative"] is None) == (version == 1) for row in found)
    assert {row["kind"] for row in found} == set(sources) == {"diff"}
    assert fsck(db, deep=True, workers=1).findings == ()


def test_differences_and_other_images_do_not_mix(tmp_path: Path) -> None:
    difference = write_cmf(tmp_path / "d.cmf", difference_rows(3), exttype="PS1_DV3")
    (night,) = write_night(tmp_path / "night", exposures=1)
    plain, own = new_database(tmp_path / "plain.sky"), of_differences(tmp_path / "own.sky")
    refused, came = addstar(plain, [difference, night], workers=1).files
    assert (refused.status, refused.exit_code, came.status) == ("failed", 2, "ingested")
    words = "it is of difference images, the database is not for difference images; make one: `skydb create OTHER --"
    assert words in (refused.error or "")
    came, refused = addstar(database.open(own.root), [difference, night], workers=1).files
    assert (came.status, refused.status) == ("ingested", "failed")
    assert "it is not of difference images, the database is for difference images" in (refused.error or "")
    with pytest.raises(UsageError, match="one is a database of difference images, the other is not"):
        skydb.merge(plain, own, workers=1)


def test_a_catalog_made_again_says_what_it_is_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create", str(tmp_path / "d.sky"), "--difference", "--json"]) == 0
    assert '"difference": true' in capsys.readouterr().out
    (tmp_path / "d.sky" / "catalog.sqlite").unlink()
    assert main(["fsck", str(tmp_path / "d.sky"), "--rebuild-catalog"]) == 0
    assert database.open(tmp_path / "d.sky").difference


@pytest.mark.parametrize("difference", [False, True])
def test_mapping_based_on_an_ordinary_one_takes_its_images_as_differences(tmp_path: Path, difference: bool) -> None:
    """As docs/how-to/real-surveys.md advises: the shipped `decam_elais` keeps the kind of an ordinary survey."""
    (tmp_path / "c.dat").write_text("C1 7 10.5 -44.0 59300.1 g 20.5 0.1 0.9\nC1 8 10.5 -44.0 59300.2 r 20.4 0.1 0.9\n")
    mine = mapping_of(tmp_path, 'based_on = "decam_elais"\nname = "mine"\nimage_kind = "diff"\n')
    db = database.create(tmp_path / "t.sky", difference=difference)
    statuses = [addstar(db, tmp_path / "c.dat", mapping=m, workers=1).files[0].status for m in ("decam_elais", mine)]
    assert statuses == (["failed", "ingested"] if difference else ["ingested", "known"])
    kinds = {"diff"} if difference else {"chip"}
    assert {*db.snapshot().read_global("images").column("kind").to_pylist()} == kinds
