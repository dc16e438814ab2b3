"""Star lists of DAOPHOT II and IRAF: positions by the image's header, magnitudes as the lists scale them."""

from __future__ import annotations

import csv
import gzip
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import ascii as astropy_ascii
from astropy.io import fits
from astropy.wcs import WCS

import skydb.database as database
from skydb.errors import DataError
from skydb.ingest.addstar import addstar
from skydb.ingest.readers import daophot, reader_for
from skydb.ingest.readers.interface import DetectionFilter, ReadRequest
from tests.ingest.catalog_files import PHOTCODES, read
from tests.ingest.skies import check_conservation, contents, new_database
from tests.test_docs import PROJECT, run_page

CARDS = {
    "SIMPLE": True, "BITPIX": 16, "NAXIS": 2, "NAXIS1": 1024, "NAXIS2": 800, "DATE-OBS": "2000-11-03T20:24:03",
    "EXPTIME": 300.0, "PHOTCODE": "CAM.r", "OBS_ID": "o1", "FILTER": "R", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN",
    "CRVAL1": 88.07, "CRVAL2": 32.55, "CRPIX1": 512.5, "CRPIX2": 400.5, "CD1_1": -8.4e-5, "CD1_2": 1e-6,
    "CD2_1": 1e-6, "CD2_2": 8.4e-5,
}  # fmt: skip
OF_IMAGE = {k: v for k, v in CARDS.items() if k not in ("SIMPLE", "BITPIX") and not k.startswith("NAXIS")}
HEAD = " NL    NX    NY  LOWBAD HIGHBAD  THRESH     AP1  PH/ADU  RNOISE    FRAD\n"
STARS = [(3, 868.343, 9.879, 22.401, 0.095, 51.755), (14, 978.617, 217.52, 22.611, 0.123, 52.244),
         (49, 136.506, 703.294, 23.826, 0.388, 54.702)]  # fmt: skip

Star = Sequence[float]


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def header(folder: Path, name: str = "a.hdr", **changed: Any) -> Path:
    """A header as text, in lines; None leaves a card out."""
    cards = {**CARDS, **changed}
    text = fits.Header({k: v for k, v in cards.items() if v is not None}).tostring(sep="\n", padding=False)
    return written(folder / name, text + "\n")


def als(folder: Path, stars: Sequence[Star] = STARS, name: str = "a.als", *, kind: int = 1) -> Path:
    """A list of ALLSTAR in its format: (I7, 2F9.3, F9.3, F9.4, F9.3, F9.0, 2F9.3)."""
    lines = [f"{i:7d}{x:9.3f}{y:9.3f}{m:9.3f}{e:9.4f}{sky:9.3f}{'4.':>9}{1.05:9.3f}{-0.02:9.3f}\n"
             for i, x, y, m, e, sky in stars]  # fmt: skip
    values = f"  {kind}  1024   800    11.1 60000.0   11.66    2.96    4.90    4.98    3.11\n\n"
    return written(folder / name, HEAD + values + "".join(lines))


def aperture(folder: Path, stars: Sequence[Star] = STARS, name: str = "a.ap", *, apertures: int = 3) -> Path:
    """A list of PHOTOMETRY: two lines a star, between blank ones; further apertures are brighter by 0.1 each."""
    blocks = []
    for i, x, y, m, e, sky in stars:
        mags = "".join(f"{m - 0.1 * k:9.3f}" for k in range(apertures))
        blocks.append(f"\n{i:7d}{x:9.3f}{y:9.3f}{mags}\n")
        blocks.append(f"    {sky:10.3f}{5.5:6.2f}{0.25:6.2f}" + f"{e:8.4f}" * apertures + "\n")
    values = "  2  1024   800    11.1 60000.0   11.66    5.00    4.90    4.98    3.11\n\n"
    return written(folder / name, HEAD + values + "".join(blocks))


def field(width: int, value: object) -> str:
    return f"{value!s:<{width}}"


def keyword(name: str, value: object) -> str:
    return f"#K {name:<10} = {value!s:<23} {'unit':<10} %-23s\n"


def iraf_als(folder: Path, stars: Sequence[Star] = STARS, name: str = "a.fits.als.1", *, image: str = "a.fits") -> Path:
    """A list of allstar, with the names and widths of IRAF 2.16."""
    text = keyword("IRAF", "NOAO/IRAFV2.16.1") + keyword("TASK", "allstar") + keyword("IMAGE", image)
    text += keyword("SCALE", "1.") + keyword("XAIRMASS", "1.139") + keyword("IFILTER", "B") + "#\n"
    text += "#N ID    XCENTER   YCENTER   MAG         MERR          MSKY           NITER    \\\n"
    text += "#U ##    pixels    pixels    magnitudes  magnitudes    counts         ##       \\\n"
    text += "#F %-9d  %-10.3f   %-10.3f   %-12.3f     %-14.3f       %-15.7g        %-6d     \n#\n"
    text += "#N         SHARPNESS   CHI         PIER  PERROR                                \\\n"
    text += "#U         ##          ##          ##    perrors                               \\\n"
    text += "#F         %-23.3f     %-12.3f     %-6d  %-13s                                 \n#\n"
    for i, x, y, m, e, sky in stars:
        words = (int(i), x, y, m, e, sky, 4)
        text += "".join(map(field, (9, 10, 10, 12, 14, 15, 6), ("INDEF" if w != w else w for w in words))) + "   \\\n"
        text += field(11, "") + field(12, -1.38) + field(12, 0.974) + field(6, 0) + field(13, "No_error") + "\n"
    return written(folder / name, text)


def phot(folder: Path, stars: Sequence[Star] = STARS, name: str = "a.mag.1", **given: Any) -> Path:
    """A list of phot with three apertures; names of images and coordinate files touch what follows."""
    given = {"image": "a_long_name_of_an_image", "zmag": "26.", "itime": 30.0, **given}
    text = keyword("IRAF", "NOAO/IRAFV2.16") + keyword("SCALE", "2.") + keyword("ZMAG", given["zmag"]) + "#\n"
    text += "#N IMAGE               XINIT     YINIT     ID    COORDS                 LID    \\\n#U -\n"
    text += "#F %-23s               %-10.3f   %-10.3f   %-6d  %-23s                  %-6d    \n#\n"
    text += "#N XCENTER    YCENTER    XSHIFT  YSHIFT  XERR    YERR            CIER CERROR   \\\n#U -\n"
    text += "#F %-14.3f    %-11.3f    %-8.3f  %-8.3f  %-8.3f  %-15.3f         %-5d %-9s      \n#\n"
    text += "#N MSKY           STDEV          SSKEW          NSKY   NSREJ     SIER SERROR   \\\n#U -\n"
    text += "#F %-18.7g        %-15.7g        %-15.7g        %-7d   %-9d      %-5d %-9s      \n#\n"
    text += "#N ITIME          XAIRMASS       IFILTER                OTIME                  \\\n#U -\n"
    text += "#F %-18.7g        %-15.7g        %-23s                  %-23s                   \n#\n"
    text += "#N RAPERT   SUM           AREA       FLUX          MAG    MERR   PIER PERROR   \\\n#U -\n"
    text += "#F %-12.2f  %-14.7g       %-11.7g    %-14.7g       %-7.3f %-6.3f %-5d %-9s      \n#\n"
    for i, x, y, m, e, sky in stars:
        text += f"{given['image']:<23}{x:<10.3f}{y:<10.3f}{int(i):<6}{'a_long_name_of_a_list.c':<23}{1:<6} \\\n"
        text += f"   {x:<11.3f}{y:<11.3f}{0.1:<8.3f}{0.1:<8.3f}{0.01:<8.3f}{0.01:<15.3f}{0:<5}{'NoError':<9} \\\n"
        text += f"   {sky:<15}{0.2:<15}{0.1:<15}{2064:<7}{938:<9}{0:<5}{'NoError':<9} \\\n"
        text += f"   {given['itime']:<15}{1.25:<15}{'V':<23}{'20:24:03':<23} \\\n"
        for k, end in enumerate(("*\\", "*\\", "* ")):
            mag, err = (f"{m - 0.1 * k:<7.3f}", f"{e:<6.3f}") if m == m else (f"{'INDEF':<7}", f"{'INDEF':<6}")
            text += f"   {6.0 + 5 * k:<9.2f}{10709.69:<14}{113.2273:<11}{1.350839:<14}"
            text += f"{mag}{err}{0:<5}{'NoError':<9}{end}\n"
    return written(folder / name, text)


def rows(path: Path, **request: Any) -> list[dict[str, Any]]:
    return [row for chunk in read(path, **request) for row in chunk.detections.to_pylist()]


def test_positions_are_those_of_astropy_by_the_header_beside(tmp_path):
    header(tmp_path)
    found = rows(als(tmp_path))
    wcs = WCS(fits.Header({k: v for k, v in CARDS.items() if k[:2] in ("CT", "CR", "CD")}))
    ra, dec = wcs.all_pix2world([s[1] for s in STARS], [s[2] for s in STARS], 1)
    assert [row["det_id"] for row in found] == [3, 14, 49]
    assert [row["ra_raw"] for row in found] == pytest.approx(ra.tolist(), abs=1e-10)
    assert [row["dec_raw"] for row in found] == pytest.approx(dec.tolist(), abs=1e-10)
    assert [row["x"] for row in found] == pytest.approx([s[1] for s in STARS])


def test_magnitudes_of_daophot_count_from_25_and_the_whole_exposure(tmp_path):
    header(tmp_path)
    for row, star in zip(rows(als(tmp_path)), STARS, strict=True):
        assert row["inst_mag"] == pytest.approx(star[3] - 25, abs=1e-6)
        assert row["inst_mag_err"] == pytest.approx(star[4])
        assert row["inst_flux"] == pytest.approx(10 ** (0.4 * (25 - star[3])), rel=1e-5)
        assert row["sky"] == pytest.approx(star[5] / 300)


def test_first_aperture_counts(tmp_path):
    header(tmp_path)
    found = rows(aperture(tmp_path))
    assert [row["inst_mag"] for row in found] == pytest.approx([s[3] - 25 for s in STARS], abs=1e-6)
    assert [row["inst_ap_mag"] for row in found] == [row["inst_mag"] for row in found]
    assert [row["inst_mag_err"] for row in found] == pytest.approx([s[4] for s in STARS])
    assert {row["ap_radius"] for row in found} == {5.0}
    one = rows(aperture(tmp_path, apertures=1))
    assert [row["inst_mag"] for row in one] == [row["inst_mag"] for row in found]


def test_magnitudes_of_iraf_are_scaled_back_by_what_the_list_says(tmp_path):
    """Magnitude 0 at a count per second is zmag; the list was scaled by 30 s."""
    header(tmp_path)
    (chunk,) = read(phot(tmp_path))
    found = chunk.detections.to_pylist()
    dt = 2.5 * np.log10(30.0)
    assert [row["inst_mag"] for row in found] == pytest.approx([s[3] - 26 - dt for s in STARS], abs=1e-6)
    assert [row["inst_mag_err"] for row in found] == pytest.approx([s[4] for s in STARS])
    assert [row["det_id"] for row in found] == [3, 14, 49]
    assert {row["ap_radius"] for row in found} == {3.0}  # 6 scale units, of which a pixel has 2
    assert [row["x"] for row in found] == pytest.approx([s[1] for s in STARS])
    assert chunk.images["airmass"].to_pylist() == [1.25]


def test_lists_of_psf_fits_take_their_scale_from_the_header_or_are_refused(tmp_path):
    path = iraf_als(tmp_path)
    header(tmp_path)
    with pytest.raises(DataError, match=r"neither the list nor the header says by which ZMAG .*add ZMAG to the header"):
        read(path)
    header(tmp_path, ZMAG=25.0)
    with pytest.raises(DataError, match=r"says by which ITIME the magnitudes were scaled; add ITIME to the header"):
        read(path)
    header(tmp_path, ZMAG=25.0, ITIME=0.0)
    with pytest.raises(DataError, match="says by which ITIME"):
        read(path)
    for itime, dt in ((1.0, 0.0), (300.0, 2.5 * np.log10(300.0))):
        header(tmp_path, ZMAG=25.0, ITIME=itime)
        found = rows(path)
        assert [row["inst_mag"] for row in found] == pytest.approx([s[3] - 25 - dt for s in STARS], abs=1e-6)
        assert [row["dec_raw"] for row in found] == [row["dec_raw"] for row in rows(als(tmp_path))]


def test_airmass_and_filter_are_the_headers_and_only_without_it_the_lists(tmp_path):
    path = iraf_als(tmp_path)
    header(tmp_path, ZMAG=25.0, ITIME=1.0, AIRMASS=1.5)
    (chunk,) = read(path)
    assert chunk.images["airmass"].to_pylist() == pytest.approx([1.5])
    assert chunk.exposures["filter"].to_pylist() == ["R"]
    header(tmp_path, ZMAG=25.0, ITIME=1.0, FILTER=None)
    (chunk,) = read(path)
    assert chunk.images["airmass"].to_pylist() == pytest.approx([1.139])
    assert chunk.exposures["filter"].to_pylist() == ["B"]


def test_marks_of_none_become_null(tmp_path):
    header(tmp_path, ZMAG=25.0, ITIME=1.0)
    stars = [(1, 10.0, 10.0, 99.999, 9.9999, 50.0), (2, 20.0, 20.0, -99.999, 9.999, 50.0)]
    for path in (als(tmp_path, stars), aperture(tmp_path, [(*s[:3], 99.999, 9.9999, s[5]) for s in stars])):
        found = rows(path)
        assert [(row["inst_mag"], row["inst_mag_err"], row["inst_flux"]) for row in found] == [(None, None, None)] * 2
    nan = float("nan")
    stars = [(1, 10.0, 10.0, nan, nan, nan), (2, nan, 20.0, 12.0, 0.1, 50.0)]
    (chunk,) = read(iraf_als(tmp_path, stars))
    (row,) = chunk.detections.to_pylist()
    assert (row["inst_mag"], row["inst_mag_err"], row["sky"]) == (None, None, None)
    assert chunk.rejected == {"no_position": 1}
    assert rows(phot(tmp_path, [(1, 10.0, 10.0, nan, nan, 50.0)]))[0]["inst_mag"] is None


def test_numbers_that_touch_or_overflow_are_read_by_their_width(tmp_path):
    header(tmp_path)
    path = als(tmp_path, [(1234567, 1000.5, 700.25, 12.345, 0.0123, 12345.678), (8, 10.0, 20.0, 13.0, 0.1, 99999.125)])
    assert "0.012312345.678" in path.read_text()
    found = rows(path)
    assert [row["sky"] for row in found] == pytest.approx([12345.678 / 300, 99999.125 / 300])
    assert [row["det_id"] for row in found] == [1234567, 8]
    path.write_text(path.read_text().replace("99999.125", "*********"))
    assert rows(path)[1]["sky"] is None


def test_star_that_comes_twice_is_counted_once_whatever_the_block(tmp_path, monkeypatch):
    header(tmp_path)
    stars = [(i % 7, 10.0 + i, 20.0, 12.0, 0.1, 50.0) for i in range(10)]
    for rows_of_a_chunk in (500_000, 4, 1):
        monkeypatch.setattr(daophot, "CHUNK_ROWS", rows_of_a_chunk)
        chunks = read(als(tmp_path, stars))
        assert sum(chunk.rejected.get("duplicate", 0) for chunk in chunks) == 3
        assert [i for chunk in chunks for i in chunk.detections["det_id"].to_pylist()] == list(range(7))
        assert {n for chunk in chunks for n in chunk.images["n_detections"].to_pylist()} == {10}


def test_filters_of_the_caller_apply(tmp_path):
    header(tmp_path)
    (chunk,) = read(als(tmp_path), keep=DetectionFilter(max_mag_err=0.2, x_range=(900, None)))
    assert chunk.rejected == {"magnitude_error": 1, "window": 1}


def test_star_far_off_the_image_is_rejected(tmp_path):
    header(tmp_path)
    (chunk,) = read(als(tmp_path, [(1, -5.0, 10.0, 12.0, 0.1, 50.0), (2, 9999.0, 10.0, 12.0, 0.1, 50.0)]))
    assert (chunk.rejected, chunk.detections.num_rows) == ({"off_chip": 1}, 1)


@pytest.mark.parametrize("pole", [90.0, -90.0])
@pytest.mark.parametrize("make", [als, aperture, phot])
def test_lists_across_ra_0_and_at_the_poles(tmp_path, pole, make):
    stars = [(1, 400.5, 300.5, 12.0, 0.1, 50.0), (2, 600.5, 500.5, 12.0, 0.1, 50.0), (3, 512.5, 400.5, 12.0, 0.1, 50.0)]
    header(tmp_path, CRVAL1=0.0, CRVAL2=pole)
    found = rows(make(tmp_path, stars))
    assert all(0 <= row["ra_raw"] < 360 for row in found)
    assert found[2]["dec_raw"] == pytest.approx(pole)
    header(tmp_path, CRVAL1=360.0, CRVAL2=0.0)
    ra = [row["ra_raw"] for row in rows(make(tmp_path, stars))]
    assert ra[0] < 0.02
    assert ra[1] > 359.98


def test_list_without_stars_brings_its_image(tmp_path):
    header(tmp_path, ZMAG=25.0, ITIME=1.0)
    for path in (als(tmp_path, []), aperture(tmp_path, []), iraf_als(tmp_path, [])):
        (chunk,) = read(path)
        assert (chunk.n_in, chunk.images.num_rows, chunk.images["n_detections"].to_pylist()) == (0, 1, [0])


HEADERS = ("a.hdr", "a.head", "a.fits", "a.fit", "a.fts")


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("of", ["a.als", "a.fits.als.1", "a.alf", "a.nst", "a.ALS"])
def test_header_is_found_by_the_name_of_the_list(tmp_path, name, of):
    image = fits.PrimaryHDU(np.zeros((800, 1024), "i2"))
    image.header.update(OF_IMAGE)
    if name.endswith(("hdr", "head")):
        (tmp_path / name).write_text(image.header.tostring(sep="", padding=False))
    else:
        image.writeto(tmp_path / name)
    assert len(rows(als(tmp_path, name=of))) == 3


def test_header_is_that_of_the_extension_that_the_list_names(tmp_path):
    cards = dict(OF_IMAGE)
    hdus = [fits.PrimaryHDU()]
    hdus[0].header.update({"DATE-OBS": cards.pop("DATE-OBS"), "EXPTIME": 300.0, "ZMAG": 25.0, "ITIME": 1.0})
    for number, dec in ((1, 10.0), (2, 20.0)):
        hdus.append(fits.ImageHDU(np.zeros((800, 1024), "i2"), name=f"CCD{number}"))
        hdus[-1].header.update({**cards, "CRVAL2": dec})
    fits.HDUList(hdus).writeto(tmp_path / "mef.fits")
    for image, dec in (("mef.fits[1]", 10.0), ("dev$mef.fits[CCD2]", 20.0), ("/data/mef.fits[CCD2,1]", 20.0)):
        (chunk,) = read(iraf_als(tmp_path, name="b.als", image=image))
        assert chunk.images["dec"].to_pylist()[0] == pytest.approx(dec, abs=0.001)
    for image, message in (
        ("mef.fits", "2 images are in it"), ("mef.fits[7]", r"no extension '7'; known: 0, CCD1, CCD2"),
        ("mef[1:100,*]", "the stars are of a section of the image"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=message):
            read(iraf_als(tmp_path, name="b.als", image=image))


def test_without_a_header_the_files_that_would_do_are_named(tmp_path):
    path = als(tmp_path)
    with pytest.raises(DataError, match=r"there is no header of its image; put the image.*: a\.fits or a\.hdr"):
        read(path)
    header(tmp_path, NAXIS1=1000)
    with pytest.raises(DataError, match=r"an image of \(1024, 800\) pixels, the header is of one of \(1000, 800\)"):
        read(path)
    header(tmp_path, NAXIS=None, NAXIS1=None, NAXIS2=None)
    assert read(path)[0].images["nx"].to_pylist() == [1024]
    for key, message in (("CRVAL1", "CRVAL1"), ("EXPTIME", "exposure time is missing"), ("DATE-OBS", "time")):
        header(tmp_path, **{key: None})
        with pytest.raises(DataError, match=rf"a\.als, header .*a\.hdr.*{message}|{message}") as caught:
            read(path)
        assert "a.als" in str(caught.value)
    for wrong in (0, -3.0, 2e7, "NaN"):
        header(tmp_path, EXPTIME=wrong)
        with pytest.raises(DataError, match="EXPTIME, in seconds"):
            read(path)


def damaged(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(("make", "old", "new", "message"), [
    (als, "868.343", "868,343", r"a\.als, line 4: '868,343' is no number \(X\)"),
    (als, "     14", "   14.5", r"a\.als, line 5: '14\.5' is no whole number \(ID\)"),
    (als, "    1.050   -0.020\n", "\n", r"a\.als, line 4: 7 fields, not the 9 of ALLSTAR"),
    (als, "       4.", "   0.0123", r"a\.als, line 4: 0\.0123 iterations: this is no list of ALLSTAR"),
    (als, "  1  1024", "  5  1024", r"a\.als, line 2: NL 5, NX 1024 and NY 800 cannot be"),
    (als, "\n\n", "\n", r"a\.als, line 3: the third line is not blank"),
    (aperture, "  0.0950  0.0950  0.0950", "  0.0950", r"a\.ap, line 5: 6 and 4 fields: a star has three more"),
    (iraf_als, "868.343", "868.3x3", r"'868\.3x3' is no number \(XCENTER\)"),
    (iraf_als, "#N ID    XCENTER   YCENTER   MAG         MERR ", "#N ID    XCENTER   YCENTER   MAG         MERRR",
     r"no column 'MERR'; did you mean 'MERRR'\?"),
    (iraf_als, "#F %-9d", "#G %-9d", r"names \(#N\) and formats \(#F\) of the columns do not go together"),
    (phot, "a_long_name_of_an_image978", "another_name_of_an_imag978",
     r"the star is of another_name_of_an_imag, those before of"),
])  # fmt: skip
def test_damaged_line_is_named(tmp_path, make, old, new, message):
    header(tmp_path, ZMAG=25.0, ITIME=1.0)
    path = damaged(make(tmp_path), old, new)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_list_joined_of_two_scales_is_refused(tmp_path):
    header(tmp_path)
    path = phot(tmp_path)
    path.write_text(path.read_text() + keyword("ZMAG", "25."))
    with pytest.raises(DataError, match=r"ZMAG is 25\. from here on, and 26\. before"):
        read(path)


@pytest.mark.parametrize("make", [als, aperture, iraf_als, phot])
def test_truncated_list_is_refused_wherever_a_line_is_cut(tmp_path, make):
    header(tmp_path, ZMAG=25.0, ITIME=1.0)
    path = make(tmp_path)
    whole = path.read_bytes()
    assert len(read(path)) == 1
    for size in range(60, len(whole), max(1, len(whole) // 40)):
        if whole[:size].endswith(b"\n"):
            continue
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=path.name.replace(".", r"\.")):
            read(path)


@pytest.mark.parametrize(("make", "lines"), [(aperture, 1), (iraf_als, 1), (phot, 1), (phot, 3), (phot, 5)])
def test_list_that_ends_within_a_star_is_refused(tmp_path, make, lines):
    header(tmp_path, ZMAG=25.0, ITIME=1.0)
    path = make(tmp_path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-lines]))
    with pytest.raises(DataError, match="truncated"):
        read(path)


def test_first_start_is_the_headers(tmp_path):
    header(tmp_path)
    path = als(tmp_path)
    request = ReadRequest(PHOTCODES)
    assert reader_for(path, request).first_start(path, request) == read(path)[0].images["utc_start"].to_pylist()[0]


@pytest.mark.data
@pytest.mark.parametrize("name", ["daophot.dat", "daophot.dat.gz"])
def test_real_list_is_read_as_astropy_reads_it(data_dir, tmp_path, name):
    source = data_dir / "edgecases" / "astropy" / "ascii" / name
    content = gzip.decompress(source.read_bytes()) if name.endswith("gz") else source.read_bytes()
    path = tmp_path / "test.nst.1"
    path.write_bytes(content)
    header(tmp_path, "test.hdr", ZMAG=25.0, ITIME=1.0, NAXIS1=400, NAXIS2=400)
    expected = astropy_ascii.read(path, format="daophot")
    found = rows(path)
    assert [row["det_id"] for row in found] == expected["ID"].tolist()
    for ours, theirs in (("x", "XCENTER"), ("y", "YCENTER"), ("inst_mag", "MAG"), ("inst_mag_err", "MERR")):
        values = np.ma.filled(expected[theirs].astype(float), np.nan) - (25 if theirs == "MAG" else 0)
        assert [row[ours] for row in found] == pytest.approx(values.tolist(), rel=1e-6, nan_ok=True)
    if name == "daophot.dat":
        assert read(path)[0].images["airmass"].to_pylist() == pytest.approx([1.238106])


@pytest.mark.data
def test_night_of_real_magnitudes_comes_out_as_the_table_has_it(data_dir, tmp_path):
    """M37 and its standards, written as lists of ALLSTAR; the frames have no astrometry, so one is made up."""
    by_image: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    with (data_dir / "m37" / "detections.csv").open() as file:
        for row in csv.DictReader(file):
            names = ("id", "x", "y", "mag", "merr", "msky")
            by_image[row["image"]].append((int(row["id"]), *(float(row[n]) for n in names[1:])))
    db = new_database(tmp_path / "t.sky")
    paths = []
    with (data_dir / "m37" / "images.csv").open() as file:
        for row in list(csv.DictReader(file))[:6]:
            start = f"{row['date_obs']}T{row['ut']}"
            header(tmp_path, f"{row['image']}.hdr", **{"DATE-OBS": start, "EXPTIME": float(row["exptime"]),
                                                       "OBS_ID": row["image"], "NAXIS2": 1024})  # fmt: skip
            path = als(tmp_path, by_image[row["image"]], f"{row['image']}.als")
            paths.append(damaged(path, "1024   800", "1024  1024"))
    report = addstar(db, paths, workers=1)
    assert report.n_failed == 0
    check_conservation(db)
    assert report.count("n_in") == sum(len(by_image[p.stem]) for p in paths)
    held = contents(db, ["measurements"])["measurements"]
    mags = sorted(star[3] - 25 for path in paths for star in by_image[path.stem])
    assert sorted(held["inst_mag"].to_pylist()) == pytest.approx(mags, abs=2e-6)


def test_page_does_what_it_says(tmp_path, monkeypatch):
    page = PROJECT / "docs" / "how-to" / "daophot.md"
    text = re.search(r"```text\n(SIMPLE.*?)```", page.read_text(), re.S)
    assert text is not None
    (tmp_path / "ngc2099.hdr").write_text(text[1])
    damaged(als(tmp_path, name="ngc2099.als"), "1024   800", "1024  1024")
    damaged(als(tmp_path, name="field2.als"), "1024   800", "1024  1024")
    database.create(tmp_path / "survey.sky")
    monkeypatch.chdir(tmp_path)
    run_page(page)
