"""Small CMF, SMF and LDAC files made for a test, written by astropy."""

from dataclasses import dataclass, field

import numpy as np
from astropy.io import fits

from skydb.ingest.readers import reader_for
from skydb.ingest.readers.interface import ReadRequest
from skydb.schema.photcodes import Photcode, Photcodes
from skydb.schema.psphot import COLUMN_OF_TTYPE, PS1_V4, UNSIGNED, ps1_v4_dtype
from skydb.schema.tables import MEASUREMENTS

ERRORS = {ttype for ttype, name in COLUMN_OF_TTYPE.items() if MEASUREMENTS[name].is_error}

PHOTCODES = Photcodes((
    Photcode(1, "g", "SEC"), Photcode(2, "r", "SEC"), Photcode(1, "g_alt", "ALT", "g"),
    Photcode(100, "CAM.g.XY01", "DEP", "g", 24563, -0.147), Photcode(101, "CAM.g.XY02", "DEP", "g", 24500, -0.147),
    Photcode(102, "CAM.r", "DEP", "r", 24800, -0.1), Photcode(11000, "STACK.g", "DEP", "g", 25000),
))

PHU = {
    "TELESCOP": "TEL", "INSTRUME": "CAM", "OBS_ID": "o1", "FILTERID": "g", "MJD-OBS": 56900.25, "TIMESYS": "UTC",
    "EXPTIME": 30.0, "AIRMASS": 1.2, "LATITUDE": 20.0, "LONGITUD": -156.0,
    "CTYPE1": "RA---DIS", "CTYPE2": "DEC--DIS", "CRVAL1": 359.99, "CRVAL2": 10.0, "CRPIX1": 0.0, "CRPIX2": 0.0,
    "CDELT1": 7e-6, "CDELT2": 7e-6, "NPLYTERM": 1,
    "PC001001": -1.0, "PC001002": 0.0, "PC002001": 0.0, "PC002002": 1.0,
}
CHIP = {
    "IMNAXIS1": 1000, "IMNAXIS2": 800, "PHOTCODE": "CAM.g.XY01", "EXPTIME": 30.0, "AIRMASS": 1.2, "MJD-OBS": 56900.25,
    "ZPT_OBS": 24.5, "ZPT_ERR": 0.02, "NASTRO": 50, "IMAGEID": 7, "SOURCEID": 3, "FWHM_MAJ": 4.0, "FWHM_MIN": 3.5,
    "CTYPE1": "RA---WRP", "CTYPE2": "DEC--WRP", "CRVAL1": -5000.0, "CRVAL2": -4000.0, "CRPIX1": 0.0, "CRPIX2": 0.0,
    "CDELT1": 10.0, "CDELT2": 10.0, "NPLYTERM": 1,
    "PC001001": 1.0, "PC001002": 0.0, "PC002001": 0.0, "PC002002": 1.0,
}
TAN = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": -20.0, "CRPIX1": 500.0, "CRPIX2": 400.0,
    "CDELT1": -1e-4, "CDELT2": 1e-4, "PC001001": 1.0, "PC001002": 0.0, "PC002001": 0.0, "PC002002": 1.0,
}


def read(path, *, photcodes=PHOTCODES, **request):
    """All chunks of a file, as the reader that knows it gives them."""
    asked = ReadRequest(photcodes, **request)
    return list(reader_for(path, asked).read(path, asked))


def column(chunk, name):
    """One column of the detections of a chunk."""
    return chunk.detections[name].to_numpy()


def rows(n, seed=0, **columns):
    """PS1_V4 rows with plausible values in native order; flags as unsigned numbers."""
    rng = np.random.default_rng(seed)
    table = {name: np.zeros(n, np.dtype(ps1_v4_dtype()[name]).newbyteorder("=")) for name, _, _ in PS1_V4}
    for name, form, _ in PS1_V4:
        if form in "ED":
            table[name][:] = np.abs(rng.normal(size=n)) if name in ERRORS else rng.normal(size=n)
    table["IPP_IDET"] = np.arange(n, dtype=np.int32)
    table["X_PSF"] = rng.uniform(0, 1000, n).astype("f4")
    table["Y_PSF"] = rng.uniform(0, 800, n).astype("f4")
    table["PSF_INST_MAG"] = rng.uniform(-14, -6, n).astype("f4")
    table["PSF_INST_MAG_SIG"] = rng.uniform(0.001, 0.3, n).astype("f4")
    table["FLAGS"] = rng.integers(0, 2**32, n).astype("u4")
    table["FLAGS2"] = rng.integers(0, 2**32, n).astype("u4")
    table["N_FRAMES"] = rng.integers(0, 2**16, n).astype("u2")
    return table | columns


@dataclass
class Chip:
    """One chip of a file to be written; a header value of None leaves the keyword out."""

    name: str = "XY01"
    table: dict = field(default_factory=lambda: rows(20))
    header: dict = field(default_factory=dict)
    exttype: str = "PS1_V4"


def table_hdu(table, *, tzero=True, **header):
    """A binary table; without `tzero` unsigned columns hold raw bits, as some writers leave them."""
    columns = []
    formats = {name: form for name, form, _ in PS1_V4}
    for name, values in table.items():
        zero = UNSIGNED.get(name) if tzero else None
        if name in UNSIGNED and not tzero:
            values = values.view(f"i{values.dtype.itemsize}")
        form = formats.get(name, "E") if values.dtype.kind != "f" else {4: "E", 8: "D"}[values.dtype.itemsize]
        columns.append(fits.Column(name, form, array=values, bzero=zero))
    hdu = fits.BinTableHDU.from_columns(columns)
    return with_cards(hdu, header)


def with_cards(hdu, cards):
    for key, value in cards.items():
        if value is not None:
            hdu.header["HIERARCH " + key if "." in key else key] = value
    return hdu


def write_smf(path, chips=None, phu=None, *, tzero=True, order=None, drop=()):
    """An SMF: PHU, then head and table of every chip; `order` permutes the extensions, `drop` leaves some out."""
    hdus = []
    for chip in chips or (Chip(),):
        cards = {"EXTNAME": f"{chip.name}.hdr", "EXTTYPE": "IMAGE", "EXTDATA": f"{chip.name}.psf"}
        hdus.append(with_cards(fits.ImageHDU(), cards | CHIP | chip.header))
        names = {"EXTNAME": f"{chip.name}.psf", "EXTHEAD": f"{chip.name}.hdr", "EXTTYPE": chip.exttype}
        hdus.append(table_hdu(chip.table, tzero=tzero, **names))
    hdus = [hdus[k] for k in (order or range(len(hdus))) if k not in drop]
    fits.HDUList([with_cards(fits.PrimaryHDU(), PHU | (phu or {})), *hdus]).writeto(path, overwrite=True)
    return path


def write_cmf(path, table=None, header=None, exttype="PS1_V4", exthead="Chip.hdr"):
    """A CMF of a single-chip camera: its header is the primary one."""
    phu = with_cards(fits.PrimaryHDU(), PHU | CHIP | TAN | (header or {}))
    hdu = table_hdu(rows(20) if table is None else table, EXTNAME="Chip.psf", EXTHEAD=exthead, EXTTYPE=exttype)
    fits.HDUList([phu, hdu]).writeto(path, overwrite=True)
    return path


LDAC_HEADER = {
    "SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": 1000, "NAXIS2": 800, "DATE-OBS": "2014-08-31T06:00:00.000",
    "EXPTIME": 30.0, "AIRMASS": 1.3, "SEXMGZPT": 25.0, "SEXAPED1": 6.0,
} | TAN


def sources(n, seed=0, **columns):
    """Columns of a SExtractor table."""
    rng = np.random.default_rng(seed)
    return {
        "NUMBER": np.arange(1, n + 1, dtype="i4"), "X_IMAGE": rng.uniform(1, 1000, n).astype("f4"),
        "Y_IMAGE": rng.uniform(1, 800, n).astype("f4"), "MAG_AUTO": rng.uniform(12, 18, n).astype("f4"),
        "MAGERR_AUTO": rng.uniform(0.001, 0.2, n).astype("f4"), "FLAGS": rng.integers(0, 256, n).astype("i2"),
    } | columns


def write_ldac(path, images=None):
    """FITS_LDAC: a pair of tables for every (header cards, columns) of `images`."""
    hdus = [fits.PrimaryHDU()]
    for changed, table in images or [({}, sources(20))]:
        header = fits.Header({k: v for k, v in (LDAC_HEADER | changed).items() if v is not None})
        text = header.tostring(sep="", endcard=True, padding=False)
        cards = fits.Column("Field Header Card", f"{len(text)}A", array=np.array([text]))
        head = fits.BinTableHDU.from_columns([cards])
        head.header["EXTNAME"] = "LDAC_IMHEAD"
        columns = []
        for name, values in table.items():
            letter = {"f4": "E", "f8": "D", "i2": "I", "i4": "J"}[values.dtype.str[1:]]
            columns.append(fits.Column(name, f"{values.size // max(1, len(values))}{letter}", array=values))
        body = fits.BinTableHDU.from_columns(columns)
        body.header["EXTNAME"] = "LDAC_OBJECTS"
        hdus += [head, body]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def add_siblings(path, kinds=("XRAD", "XSRC"), seed=0, named=True):
    """Give every table of detections of a file its siblings; returns the rows of each, as columns, by kind and image.

    XRAD has two rows a detection, XSRC one of every other; in any order, with a row twice, and one of no detection.
    """
    rng = np.random.default_rng(seed)
    made = {kind: {} for kind in kinds}
    with fits.open(path, memmap=False) as hdus:
        for hdu in [h for h in hdus if str(h.header.get("EXTTYPE", "")).startswith("PS1_")]:
            head = hdu.header["EXTNAME"].removesuffix("psf")
            numbers = np.asarray(hdu.data["IPP_IDET"], dtype=np.int32)
            for kind in kinds:
                table = _sibling(kind, numbers, rng)
                made[kind][head] = table
                columns = [fits.Column(n, _form(v), array=v) for n, v in table.items()]
                sibling = fits.BinTableHDU.from_columns(columns)
                sibling.header["EXTNAME"], sibling.header["EXTTYPE"] = f"{head}{kind.lower()}", f"PS1_{kind}"
                sibling.header["EXTHEAD"] = hdu.header["EXTHEAD"]
                hdus.append(sibling)
                if named:
                    hdu.header[f"{kind}NAME"] = f"{head}{kind.lower()}"
        hdus.writeto(path, overwrite=True)
    return made


def _form(values):
    letter = {"f4": "E", "i4": "J"}.get(values.dtype.str[1:], f"{values.dtype.itemsize}A")
    return f"{values.shape[1]}{letter}" if values.ndim > 1 else letter


def _sibling(kind, numbers, rng):
    owner = np.repeat(numbers, 2) if kind == "XRAD" else numbers[::2]
    owner = np.append(owner, [owner[0], 99_999]).astype("i4")
    own = np.tile(np.array([4.5, 6.25], "f4"), len(owner))[: len(owner)]
    order = rng.permutation(len(owner))
    order = np.append(order[order != len(owner) - 2], len(owner) - 2)  # the row that is there twice comes last
    flux = rng.normal(1e4, 1e3, (len(owner), 5)).astype("f4")
    flux[3, 2] = np.nan
    if kind == "XRAD":
        table = {"IPP_IDET": owner, "PSF_FWHM": own, "X_APER": rng.uniform(0, 9, len(owner)).astype("f4"),
                 "APER_FLUX": flux, "APER_FLUX_ERR": abs(flux) / 100}  # fmt: skip
    else:
        error = rng.normal(0, 1, len(owner)).astype("f4")
        table = {"IPP_IDET": owner, "PETRO_MAG": rng.normal(-9, 1, len(owner)).astype("f4"), "PETRO_MAG_ERR": error,
                 "PROF_FLUX": flux}  # fmt: skip
    return {name: values[order] for name, values in table.items()}
