"""DVO's tables as files: layouts, versions, hosts, photcodes, and what is refused."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import skydb
from skydb import database
from skydb.errors import DataError, UsageError
from skydb.ingest.readers import reader_for
from skydb.ingest.readers.dvo.images import DvoImages
from skydb.ingest.readers.dvo.photcodes import read_photcodes_fits
from skydb.ingest.readers.dvo.reader import DvoReader
from skydb.ingest.readers.dvo.regions import region_tables, regions
from skydb.ingest.readers.dvo.repeats import Repeats, measurement_keys
from skydb.ingest.readers.interface import ReadRequest, check_chunk
from skydb.photcodes import stored_photcodes
from skydb.schema.photcodes import Photcode, Photcodes, read_photcodes_text
from skydb.tools.cli import main
from tests.ingest import dvo_files
from tests.ingest.catalog_files import PHOTCODES
from tests.ingest.dvo_files import DvoDatabase, dtype_of, photcode_rows, write_table
from tests.ingest.dvo_surveys import NAMES, make_survey

REQUEST = ReadRequest(PHOTCODES, reader=DvoReader())


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return make_survey(tmp_path_factory.mktemp("survey"), n_exposures=2, n_stars=8)


@pytest.fixture
def catdir(survey, tmp_path):
    return survey.dvo.write(tmp_path / "catdir")


def chunks(catdir):
    return list(reader_for(catdir, REQUEST).read(catdir, REQUEST))


def n_rows(catdir):
    return sum(chunk.n_in for chunk in chunks(catdir))


def refused(catdir, what=None):
    with pytest.raises(DataError, match=what) as caught:
        chunks(catdir)
    assert caught.value.todo
    return str(caught.value)


@pytest.mark.parametrize("name", dvo_files.WIDTHS)
def test_layouts_have_the_widths_of_dvo(name):
    assert dtype_of(getattr(dvo_files, name)).itemsize == dvo_files.WIDTHS[name]


def test_chunks_are_as_the_others(catdir):
    found = chunks(catdir)
    assert n_rows(catdir) == 32
    for chunk in found:
        check_chunk(chunk)
        assert chunk.n_in == chunk.detections.num_rows + sum(chunk.rejected.values())
    reader = reader_for(catdir, REQUEST)
    assert reader.recognises(catdir, b"", REQUEST)
    assert reader.first_start(catdir, REQUEST) == pytest.approx(56900.25)


def test_addstar_says_how_a_dvo_database_comes(catdir):
    with pytest.raises(UsageError, match="import-dvo"):
        reader_for(catdir, ReadRequest(PHOTCODES))


def test_tables_of_ps1_v5_are_read(survey, tmp_path):
    """Its names, where they differ: MCAL, FWHM_MAJ, FWHM_MIN; it has no second zero point."""
    v5 = survey.dvo.write(
        tmp_path / "v5", version="PS1_V5",
        image={"renamed": {"MCAL_PSF": "MCAL"}, "left_out": ("MCAL_APER",)},
        measure={"renamed": {"FWHM_MAJOR": "FWHM_MAJ", "FWHM_MINOR": "FWHM_MIN"}, "left_out": ("MCAL_APER",)},
    )  # fmt: skip
    v6 = survey.dvo.write(tmp_path / "v6")
    for old, new in zip(chunks(v5), chunks(v6), strict=True):
        assert old.detections.equals(new.detections)
        assert old.images.equals(new.images)


def test_columns_that_are_not_needed_may_be_absent(survey, tmp_path):
    left_out = ("MXX", "M_APER", "FLUX_AP", "PHOT_FLAGS", "AIRMASS")
    few = survey.dvo.write(tmp_path / "few", measure={"left_out": left_out})
    (first, *_) = chunks(few)
    assert not {"moments_xx", "photflags", "inst_ap_mag"} & set(first.detections.column_names)
    assert first.detections["airmass"].null_count == 0  # that of the image


def test_unknown_layout_is_refused_by_name(survey, tmp_path):
    old = survey.dvo.write(tmp_path / "old", version="ELIXIR", measure={"left_out": ("M_TIME",)})
    assert "dvoconvert" in refused(old, "format DVO_MEASURE_ELIXIR has no column M_TIME")
    rows = {name: with_form(table, "MAG", ">i2") for name, table in survey.dvo.measures.items()}
    small = replace(survey.dvo, measures=rows).write(tmp_path / "small", version="PS1_DEV_1")
    refused(small, "format DVO_MEASURE_PS1_DEV_1 is not known: its column MAG is 1I, not 1E")
    images = with_form(survey.dvo.images, "POLYTERMS", (">f4", (7,)))
    short = replace(survey.dvo, images=images).write(tmp_path / "short")
    refused(short, "its column POLYTERMS is 7E, not 14E")


def with_form(table, column, form):
    """The same table with one column of another type, full of 0."""
    kinds = [(n, form if n == column else table.dtype[n]) for n in table.dtype.names]
    made = np.zeros(len(table), [(n, *k) if isinstance(k, tuple) else (n, k) for n, k in kinds])
    for name in set(table.dtype.names) - {column}:
        made[name] = table[name]
    return made


def test_raw_and_mef_databases_are_refused(catdir):
    path = catdir / f"{NAMES[0]}.cpt"
    write_table(path, np.zeros(1, dtype_of(dvo_files.AVERAGE)), "DVO_AVERAGE_PS1_V6", {"NSTARS": 1, "NMEAS": 1})
    refused(catdir, "names no file of measurements")


def test_counts_of_headers_must_be_those_of_tables(catdir, survey):
    name = NAMES[0]
    write_table(catdir / f"{name}.cpm", survey.dvo.measures[name][:-1], "DVO_MEASURE_PS1_V6")
    n = len(survey.dvo.measures[name])
    refused(catdir, f"the table DVO_MEASURE has {n - 1} rows, NMEAS is {n}")
    (catdir / f"{name}.cpm").unlink()
    assert "0001.00.cpm" in refused(catdir, f"0001.00.cpt has {n} measurements")


def test_measurements_without_objects_are_refused(catdir):
    (catdir / f"{NAMES[0]}.cpt").unlink()
    refused(catdir, "without the table of their objects")


def test_region_without_files_is_empty(catdir, survey):
    for suffix in ("cpt", "cpm"):
        (catdir / f"{NAMES[0]}.{suffix}").unlink()
    assert n_rows(catdir) == len(survey.dvo.measures[NAMES[1]])


def test_region_whose_files_are_empty_has_no_measurements(catdir, survey):
    name = NAMES[0]
    averages = np.zeros(0, dtype_of(dvo_files.AVERAGE))
    head = {"MEASURE": "0001.00.cpm", "NSTARS": 0, "NMEAS": 0}
    write_table(catdir / f"{name}.cpt", averages, "DVO_AVERAGE_PS1_V6", head)
    (catdir / f"{name}.cpm").write_bytes(b"")  # as DVO leaves it that has locked and never written it
    assert n_rows(catdir) == len(survey.dvo.measures[NAMES[1]])
    write_table(catdir / f"{name}.cpm", survey.dvo.measures[name], "DVO_MEASURE_PS1_V6")
    refused(catdir, "NMEAS is 0")
    for suffix in ("cpt", "cpm"):
        (catdir / f"{name}.{suffix}").write_bytes(b"")
    assert n_rows(catdir) == len(survey.dvo.measures[NAMES[1]])


@pytest.mark.parametrize("name", ["Images.dat", "SkyTable.fits", f"{NAMES[1]}.cpt", f"{NAMES[1]}.cpm"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_truncated_table_is_refused_and_named(survey, tmp_path, name, packed):
    catdir = survey.dvo.write(tmp_path / "catdir", packed=packed)
    content = (catdir / name).read_bytes()
    for size in (len(content) - 2880, 2880 + 80, 100, 0):
        (catdir / name).write_bytes(content[:size])
        assert name in refused(catdir)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_damaged_files_give_rows_or_an_error_of_skydb(survey, tmp_path, packed):
    catdir = survey.dvo.write(tmp_path / "catdir", packed=packed)
    rng = np.random.default_rng(7)
    names = ["Images.dat", "SkyTable.fits", f"{NAMES[0]}.cpt", f"{NAMES[0]}.cpm"]
    for _ in range(100):
        path = catdir / names[rng.integers(len(names))]
        content = path.read_bytes()
        damaged = bytearray(content)
        first = content.rfind(b"END" + 77 * b" ") + 80 if rng.random() < 0.7 else 0  # the rows alone, or headers too
        for place in rng.integers(first, len(content), rng.integers(1, 200)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        with suppress(DataError):
            for chunk in chunks(catdir):
                check_chunk(chunk)
                assert chunk.n_in == chunk.detections.num_rows + sum(chunk.rejected.values())
        path.write_bytes(content)


def test_import_of_a_damaged_database_changes_nothing(catdir, tmp_path):
    path = catdir / f"{NAMES[1]}.cpm"
    path.write_bytes(path.read_bytes()[:-2880])
    db = database.create(tmp_path / "a.sky")
    report = skydb.import_dvo(db, catdir, workers=1)
    assert (report.complete, report.exit_code) == (False, 3)
    assert "0001.00" in str(report.ingest.files[0].error) or "0002.00" in str(report.ingest.files[0].error)
    assert db.snapshot().files("measurements") == []
    assert len(stored_photcodes(db)) == len(PHOTCODES)
    assert "failed" in report.text()


@pytest.mark.parametrize("name", ["Images.dat", "SkyTable.fits", "Photcodes.dat"])
def test_folder_that_is_no_dvo_database_is_refused(catdir, tmp_path, name):
    (catdir / name).unlink()
    with pytest.raises(UsageError, match=f"there is no {name}"):
        skydb.import_dvo(database.create(tmp_path / "a.sky"), catdir)
    with pytest.raises(UsageError, match="no path"):
        skydb.import_dvo(tmp_path / "a.sky", 7)


def test_photcodes_that_are_here_do_for_a_database_without_any(catdir, tmp_path):
    db = database.create(tmp_path / "a.sky")
    assert main(["photcodes", str(db.root), "--import", str(catdir / "Photcodes.dat")]) == 0
    (catdir / "Photcodes.dat").unlink()
    report = skydb.import_dvo(db, catdir, workers=1)
    assert (report.complete, report.n_photcodes, report.ingest.files[0].n_in) == (True, 0, 32)


def test_text_ends_at_its_first_nul(survey, tmp_path):
    images = survey.dvo.images.copy()
    for name in ("CTYPE", "NAME"):
        images[name] = [text + b"\0x" for text in images[name].tolist()]
    catdir = replace(survey.dvo, images=images).write(tmp_path / "catdir")
    plain = chunks(survey.dvo.write(tmp_path / "plain"))
    assert all(a.images.equals(b.images) for a, b in zip(chunks(catdir), plain, strict=True))


def test_more_catalogs_than_are_associated_at_once_are_refused(survey, tmp_path):
    codes = Photcodes((*PHOTCODES, *(Photcode(2000 + k, f"REF{k}", "REF") for k in range(65))))
    rows = np.zeros(65, dtype_of(dvo_files.MEASURE))
    rows["PHOTCODE"] = 2000 + np.arange(65)
    dvo = replace(survey.dvo, measures={NAMES[0]: rows[:0], NAMES[1]: rows})
    catdir = dvo.write(tmp_path / "catdir")
    with pytest.raises(DataError, match="more than 64 photcodes of catalogs"):
        list(reader_for(catdir, REQUEST).read(catdir, replace(REQUEST, photcodes=codes)))


def test_two_images_of_one_number_are_refused(survey, tmp_path):
    images = survey.dvo.images.copy()
    images["IMAGE_ID"][:] = 7
    refused(replace(survey.dvo, images=images).write(tmp_path / "catdir"), "two images have the number 7")


def test_sky_table_must_name_regions_once_and_inside(survey, tmp_path):
    for names, what in ((("n0730/0001.00",) * 2, "two regions have the name"), (("../up", "b"), "no name of a region"),
                        (("/root", "b"), "no name of a region")):  # fmt: skip
        catdir = tmp_path / what.replace(" ", "-")
        survey.dvo.write(catdir)
        rows = np.zeros(2, dtype_of(dvo_files.SKY_REGION))
        rows["TABLE"], rows["INDEX"], rows["NAME"] = 1, [1, 2], [n.encode() for n in names]
        write_table(catdir / "SkyTable.fits", rows, "SKY_REGION")
        refused(catdir, what)


def on_hosts(survey, tmp_path, flags=0):
    """The survey with its regions on two hosts, and the regions' rows."""
    roots = [tmp_path / "disk1", tmp_path / "disk2"]
    hosts = {name: (k, root) for k, (name, root) in enumerate(zip(NAMES, roots, strict=True), 1)}
    catdir = replace(survey.dvo, hosts=hosts).write(tmp_path / "catdir")
    return catdir, roots


def test_regions_are_read_from_their_hosts(survey, tmp_path):
    catdir, roots = on_hosts(survey, tmp_path)
    assert [r.root for r in regions(catdir)] == roots
    assert n_rows(catdir) == 32
    roots[1].rename(tmp_path / "away")
    assert "disk2" in refused(catdir, r"kept by host 2 \(machine2\), whose folder")
    (catdir / "HostTable.dat").write_text(f"1 machine1 {roots[0]}\n2 machine2 {tmp_path / 'away'}\n")
    assert n_rows(catdir) == 32


def test_backup_is_read_where_the_sky_table_says_so(survey, tmp_path):
    catdir, roots = on_hosts(survey, tmp_path)
    rows = np.zeros(2, dtype_of(dvo_files.SKY_REGION))
    rows["TABLE"], rows["INDEX"], rows["NAME"] = 1, [1, 2], [n.encode() for n in NAMES]
    rows["HOST_ID"], rows["BACKUP_ID"], rows["HOST_FLAGS"] = [2, 2], [1, 1], [4, 0]
    write_table(catdir / "SkyTable.fits", rows, "SKY_REGION", {"HOSTS": "HostTable.dat"})
    assert [r.root for r in regions(catdir)] == roots
    write_table(catdir / "SkyTable.fits", rows, "SKY_REGION")  # without HOSTS these bytes mean nothing
    assert [r.root for r in regions(catdir)] == [catdir, catdir]


@pytest.mark.parametrize("line", ["1 machine", "0 machine /disk", "256 machine /disk", "x machine /disk", "1 m /d e"])
def test_host_table_with_a_bad_line_is_refused(survey, tmp_path, line):
    catdir, _ = on_hosts(survey, tmp_path)
    (catdir / "HostTable.dat").write_text(f"# hosts\n{line}\n")
    assert "HostTable.dat, line 2" in refused(catdir, "names no host")


def test_host_that_the_table_lacks_or_has_twice_is_refused(survey, tmp_path):
    catdir, roots = on_hosts(survey, tmp_path)
    (catdir / "HostTable.dat").write_text(f"1 machine1 {roots[0]}\n")
    refused(catdir, "kept by host 2, which the host table does not name")
    (catdir / "HostTable.dat").write_text(f"1 machine1 {roots[0]}\n1 machine2 {roots[1]}\n")
    refused(catdir, "the number 1 is that of another host too")


TEXT = """
1 g sec 0 0 0 - - 0 0 -
2 r sec 0 0 0 - - 0 0 -
1 g_alt alt 0.01 0 0 g r 0.02 0.5 g
100 CAM.g dep 24.563 -0.147 0.002 g r 0.02,-0.005 0.05 g 0.01 1.0 0.0 0.006 0x4 0x8 0x3 0x80000001
40000 CAM.r dep 24.8 -0.1 0 - - 0 0 r
2010 2MASS.J ref 0 0 0 - - 0 0 -
"""


def test_photcodes_of_fits_are_those_of_the_text(tmp_path, capsys):
    (tmp_path / "codes.txt").write_text(TEXT)
    text = read_photcodes_text(tmp_path / "codes.txt")
    write_table(tmp_path / "Photcodes.dat", photcode_rows(text), "DVO_PHOTCODE_PS1_V6")
    assert read_photcodes_fits(tmp_path / "Photcodes.dat") == text
    assert main(["create", str(tmp_path / "a.sky")]) == 0
    for name, added in (("Photcodes.dat", 6), ("codes.txt", 0)):
        capsys.readouterr()
        assert main(["photcodes", str(tmp_path / "a.sky"), "--import", str(tmp_path / name)]) == 0
        assert f"added     {added}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [("TYPE", b"\7", "its TYPE is 7"), ("TYPE", b"", "its TYPE is 0"), ("EQUIV", 77, "CAM.r: band 77 is no photcode"),
     ("CODE", 0, "0 is no photcode number"), ("K", np.nan, "airmass_slope is nan"), ("NAME", b"g", "defined twice"),
     ("C1", 77, "color_1 77"), ("EQUIV", 2010, "no SEC photcode")],
)  # fmt: skip
def test_bad_row_of_the_photcode_table_is_named(tmp_path, column, value, what):
    codes = Photcodes((Photcode(1, "g", "SEC"), Photcode(2, "r", "SEC"), Photcode(2010, "J", "REF"),
                       Photcode(9, "CAM.r", "DEP", "r")))  # fmt: skip
    rows = photcode_rows(codes)
    rows[3][column] = value
    rows[3]["C2"] = 1
    write_table(tmp_path / "Photcodes.dat", rows, "DVO_PHOTCODE_PS1_V6")
    with pytest.raises(DataError, match=what):
        read_photcodes_fits(tmp_path / "Photcodes.dat")


def test_empty_or_foreign_photcode_table_is_refused(tmp_path):
    path = tmp_path / "Photcodes.dat"
    write_table(path, photcode_rows(Photcodes(())), "DVO_PHOTCODE_PS1_V6")
    with pytest.raises(DataError, match="no photcode in it"):
        read_photcodes_fits(path)
    write_table(path, photcode_rows(PHOTCODES), "SOMETHING")
    with pytest.raises(DataError, match="0 tables are named DVO_PHOTCODE"):
        read_photcodes_fits(path)
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        read_photcodes_fits(path)


def test_photcodes_that_contradict_those_of_the_database_are_refused(catdir, tmp_path):
    db = database.create(tmp_path / "a.sky")
    (tmp_path / "codes").write_text("1 g sec 0 0 0 - - 0 0 -\n100 CAM.g.XY01 dep 20 0 0 - - 0 0 g\n")
    assert main(["photcodes", str(db.root), "--import", str(tmp_path / "codes")]) == 0
    with pytest.raises(DataError, match="defined differently"):
        skydb.import_dvo(db, catdir)


def test_repeats_equal_brute_force():
    rng = np.random.default_rng(1)
    blocks = [measurement_keys(rng.integers(1, 90, 60), rng.integers(0, 2**32, 5)[rng.integers(0, 5, 60)])
              for _ in range(20)]  # fmt: skip
    repeats = Repeats.of(iter(blocks))
    seen: set[int] = set()
    for keys in blocks:
        expected = []
        for key in keys.tolist():
            expected.append(key in seen)
            seen.add(key)
        assert repeats.later(keys).tolist() == expected
    assert not Repeats.of([]).later(blocks[0]).any()


def test_image_table_without_rows(survey, tmp_path):
    none = DvoDatabase(survey.dvo.photcodes, survey.dvo.images[:0])
    catdir = none.write(tmp_path / "catdir")
    assert chunks(catdir) == []
    assert np.isnan(DvoImages(catdir).first_start())
    assert DvoImages(catdir).rows_of(np.array([1, 2])).tolist() == [-1, -1]
    assert region_tables(catdir) == []
    report = skydb.import_dvo(database.create(tmp_path / "a.sky"), catdir, workers=1)
    assert report.complete
    assert Path(report.ingest.files[0].file) == catdir
