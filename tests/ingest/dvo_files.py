"""DVO databases made for a test: tables with the layouts of DVO's PS1_V6, and detections turned into them.

The layouts are those of libautocode's definitions (def/*-ps1-v6.d), the formulae those of addstar (ReadStarsFITS.c,
FilterStars.c), written here apart from the reader. Nothing has a TZERO: unsigned numbers are raw bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits

from tests.ingest.packed import write_packed

ZERO_POINT = 25.0
ABSENT = 0x7FFF

MEASURE = """
D RA DEC; E MAG MAG_ERR M_APER M_APER_ERR M_KRON M_KRON_ERR MCAL_PSF MAG_CAL_ERR M_TIME FLUX_PSF FLUX_PSF_ERR FLUX_KRON
FLUX_KRON_ERR FLUX_AP FLUX_AP_ERR AIRMASS AZ X_CCD Y_CCD X_FIX Y_FIX X_OFF_KH Y_OFF_KH X_OFF_DCR Y_OFF_DCR X_OFF_CAM
Y_OFF_CAM M_FLAT MCAL_APER SKY_FLUX SKY_FLUX_ERR; J TIME AVE_REF DET_ID OBJ_ID CAT_ID; K EXT_ID; J IMAGE_ID; E PSF_QF
PSF_QF_PEFECT PSF_CHISQ; J PSF_NDOF PSF_NPIX PHOT_FLAGS2; E EXT_NSIGMA; I FWHM_MAJOR FWHM_MINOR PSF_THETA MXX MXY MYY
TIME_MSEC PHOTCODE X_CCD_ERR Y_CCD_ERR POS_SYS_ERR POSANGLE; E PLTSCALE; J DB_FLAGS PHOT_FLAGS PADDING
"""
AVERAGE = """
D RA DEC; E RA_ERR DEC_ERR U_RA U_DEC V_RA_ERR V_DEC_ERR PAR PAR_ERR; D RA_STK DEC_STK; E RA_STK_ERR DEC_STK_ERR
CHISQ_POS CHISQ_PM CHISQ_PLX; J MEAN_EPOCH TIME_RANGE; E PSF_QF PSF_QF_PERF STARGAL_SEP; I NUMBER_POS NMEASURE NMISSING
NLENSING NLENSOBJ NGALPHOT; J OFF_MEASURE OFF_MISSING OFF_LENSING OFF_LENSOBJ OFF_STARPAR OFF_GALPHOT; E REF_COLOR_BLUE
REF_COLOR_RED; A TESS_ID SKYCELL_ID; I PROJECTION_ID NSTARPAR NWARP_OK; J FLAGS PHOTFLAGS_U PHOTFLAGS_L OBJ_ID CAT_ID;
K EXT_ID; E U_RA_GAL U_DEC_GAL
"""
IMAGE = """
D CRVAL1 CRVAL2; E CRPIX1 CRPIX2 CDELT1 CDELT2 PC1_1 PC1_2 PC2_1 PC2_2; 14E POLYTERMS; 15A CTYPE; A NPOLYTERMS; J TZERO
NSTAR; E SECZ; I NX NY; E APMIFIT DAPMIFIT MCAL_PSF MCAL_APER DMCAL XM; I PADDING PHOTCODE; E EXPTIME ST LAT RA_CENTER
DEC_CENTER RADIUS REF_COLOR_BLUE REF_COLOR_RED; 117A NAME; B DETECTION_LIMIT SATURATION_LIMIT CERROR FWHM_X FWHM_Y TRATE
CCDNUM; J FLAGS IMAGE_ID PARENT_ID EXTERN_ID; I SOURCE_ID NLINK_ASTROM NLINK_PHOTOM UBERCAL_DIST; E XPIX_SYS_ERR
YPIX_SYS_ERR MAG_SYS_ERR; I N_FIT_ASTROM N_FIT_PHOTOM; J PHOTOM_MAP_ID ASTROM_MAP_ID
"""
PHOTCODE = """
I CODE; 32A NAME; A TYPE; 3A DUMMY; I C_LAM C_LAM_ERR X_ERR; E K; J C1 C2 EQUIV NC; 4E X; E ASTROM_ERR_SYS
ASTROM_ERR_SCALE ASTROM_ERR_MAG_SCALE; J ASTROM_POOR_MASK ASTROM_BAD_MASK; E PHOTOM_ERR_SYS; J PHOTOM_POOR_MASK
PHOTOM_BAD_MASK
"""
SKY_REGION = """
E R_MIN R_MAX D_MIN D_MAX; J CHILD_S CHILD_E PARENT INDEX; B DEPTH CHILD TABLE; 18A NAME; B HOST_FLAGS HOST_ID BACKUP_ID
"""
WIDTHS = {"MEASURE": 240, "AVERAGE": 192, "IMAGE": 368, "PHOTCODE": 112, "SKY_REGION": 56}
_NUMPY = {"D": ">f8", "E": ">f4", "J": ">i4", "K": ">i8", "I": ">i2", "B": "u1"}


def forms(layout):
    """Columns of a layout: name → TFORM."""
    words = [part.split() for part in layout.split(";")]
    return {name: form for form, *names in words for name in names}


def dtype_of(layout):
    """The row of a table, as it lies on disk."""
    made = []
    for name, form in forms(layout).items():
        count, letter = form[:-1], form[-1]
        kind = f"S{count or 1}" if letter == "A" else _NUMPY[letter]
        made.append((name, kind, (int(count),)) if count and letter != "A" else (name, kind))
    return np.dtype(made)


def empty_rows(layout, n):
    """Rows as DVO initialises them: NaN for floats, 0 for integers."""
    rows = np.zeros(n, dtype_of(layout))
    for name in rows.dtype.names:
        if rows.dtype[name].base.kind == "f":
            rows[name] = np.nan
    return rows


def write_table(path, rows, extname, primary=None, *, renamed=None, left_out=(), packed=False):
    """A file of DVO's: a primary header and one table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [name for name in rows.dtype.names if name not in left_out]
    rows = on_disk(rows, names)
    head = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True), *(primary or {}).items()])
    table = fits.Header([
        ("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", rows.dtype.itemsize), ("NAXIS2", len(rows)),
        ("PCOUNT", 0), ("GCOUNT", 1), ("TFIELDS", len(names)),
    ])  # fmt: skip
    for number, name in enumerate(names, 1):
        table[f"TTYPE{number}"] = (renamed or {}).get(name, name)
        table[f"TFORM{number}"] = form_of(rows.dtype[name])
    table["EXTNAME"] = extname
    data = rows.tobytes()
    target = path.with_suffix(".plain") if packed else path
    target.write_bytes(head.tostring().encode() + table.tostring().encode() + data + bytes(-len(data) % 2880))
    if packed:
        write_packed(path, target)
        target.unlink()


def on_disk(rows, names):
    """Some columns, packed and big-endian, whatever NumPy made of them on their way."""
    made = np.zeros(len(rows), [(name, rows.dtype[name].newbyteorder(">")) for name in names])
    for name in names:
        made[name] = rows[name]
    return made


def form_of(dtype):
    count = dtype.shape[0] if dtype.shape else ""
    if dtype.base.kind == "S":
        return f"{dtype.itemsize}A" if dtype.itemsize > 1 else "A"
    letter = next(letter for letter, kind in _NUMPY.items() if np.dtype(kind) == dtype.base)
    return f"{count}{letter}"


@dataclass
class DvoDatabase:
    """What a DVO database holds: rows of its tables; `measures` by region, `averages` likewise."""

    photcodes: np.ndarray
    images: np.ndarray
    measures: dict = field(default_factory=dict)
    averages: dict = field(default_factory=dict)
    hosts: dict = field(default_factory=dict)
    zero_point: float | None = ZERO_POINT

    def write(self, folder: Path, *, version="PS1_V6", packed=False, **changed):
        """Write it into a folder; `changed`: what write_table takes, by table."""
        folder.mkdir(parents=True, exist_ok=True)
        primary = {"NIMAGES": len(self.images), "FORMAT": version, "DVO_DBID": "0123456789abcdef"}
        if self.zero_point is not None:
            primary["ZERO_PT"] = self.zero_point
        write_table(folder / "Images.dat", self.images, f"DVO_IMAGE_{version}", primary, packed=packed,
                    **changed.get("image", {}))
        write_table(folder / "Photcodes.dat", self.photcodes, f"DVO_PHOTCODE_{version}")
        regions = np.zeros(len(self.measures) + 1, dtype_of(SKY_REGION))
        regions["INDEX"] = np.arange(len(regions))
        regions["NAME"][0] = b"fullsky"
        for row, (name, measures) in enumerate(self.measures.items(), 1):
            host, root = self.hosts.get(name, (0, folder))
            regions["NAME"][row], regions["TABLE"][row], regions["HOST_ID"][row] = name.encode(), 1, host
            write_region(root, name, measures, self.averages[name], version=version, packed=packed, catid=row,
                         **changed.get("measure", {}))
        hosts = {"HOSTS": "HostTable.dat"} if self.hosts else {}
        write_table(folder / "SkyTable.fits", regions, "SKY_REGION", hosts)
        if self.hosts:
            lines = [f"{host} machine{host} {root}" for host, root in self.hosts.values()]
            (folder / "HostTable.dat").write_text("\n".join(["# hosts", "", *dict.fromkeys(lines)]))
        return folder


def write_region(root, name, measures, averages, *, version="PS1_V6", packed=False, catid=1, **changed):
    stem = Path(name).name
    primary = {
        "MEASURE": f"{stem}.cpm", "SECFILT": f"{stem}.cps", "CATID": catid, "NSTARS": len(averages),
        "NMEAS": len(measures), "NMISS": 0, "NSECFILT": 2, "OBJID": len(averages),
    }  # fmt: skip
    base = Path(root) / name
    write_table(base.with_name(f"{stem}.cpt"), averages, f"DVO_AVERAGE_{version}", primary, packed=packed)
    write_table(base.with_name(f"{stem}.cpm"), measures, f"DVO_MEASURE_{version}", packed=packed, **changed)


def photcode_rows(photcodes):
    """Rows of DVO's photcode table."""
    rows = np.zeros(len(photcodes), dtype_of(PHOTCODE))
    code_of = {p.name: p.code for p in photcodes if p.kind != "ALT"}
    kinds = {"SEC": b"\2", "DEP": b"\3", "REF": b"\4", "ALT": b"\5"}
    for row, p in zip(rows, photcodes, strict=True):
        row["CODE"], row["NAME"], row["TYPE"] = as_signed(p.code, "u2"), p.name.encode(), kinds[p.kind]
        row["C_LAM"], row["K"], row["X_ERR"] = p.zero_point_mmag, p.airmass_slope, p.color_offset_mmag
        row["C1"], row["C2"] = code_of.get(p.color_1, 0), code_of.get(p.color_2, 0)
        row["EQUIV"] = code_of[p.band] if p.kind == "DEP" and p.band else 0
        row["NC"] = len(p.color_terms)
        row["X"][:len(p.color_terms)] = p.color_terms
        row["C_LAM_ERR"] = p.zero_point_offset_mmag
        for column, kind in (("ASTROM", "astrometry"), ("PHOTOM", "photometry")):
            row[f"{column}_ERR_SYS"] = getattr(p, f"{kind}_err_sys")
            for mask in ("poor", "bad"):
                row[f"{column}_{mask.upper()}_MASK"] = as_signed(getattr(p, f"{kind}_{mask}_mask"), "u4")
        row["ASTROM_ERR_SCALE"], row["ASTROM_ERR_MAG_SCALE"] = p.astrometry_err_scale, p.astrometry_err_mag_scale
    return rows


def as_signed(values, kind):
    """Unsigned numbers as DVO leaves them: their bits."""
    values = np.asarray(values).astype(kind)
    return values.view(f"i{values.dtype.itemsize}")


def image_row(
    cards, *, number, name, tzero, parent=0, photcode=0, n_stars=0, mcal=0.0, mcal_err=np.nan, exposure=False
):
    """The image table's row of a header."""
    row = np.zeros(1, dtype_of(IMAGE))
    for key in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CDELT1", "CDELT2"):
        row[key] = cards[key]
    for i, j in ((1, 1), (1, 2), (2, 1), (2, 2)):
        row[f"PC{i}_{j}"] = cards[f"PC00{i}00{j}"]
    orders = ("X2Y0", "X1Y1", "X0Y2", "X3Y0", "X2Y1", "X1Y2", "X0Y3")
    row["POLYTERMS"] = [cards.get(f"PCA{axis}{order}", 0.0) for order in orders for axis in (1, 2)]
    row["CTYPE"], row["NPOLYTERMS"] = cards["CTYPE2"].encode(), bytes([cards.get("NPLYTERM", 1)])
    row["TZERO"], row["IMAGE_ID"], row["PARENT_ID"], row["NAME"] = tzero, number, parent, name.encode()
    row["NX"], row["NY"] = cards["IMNAXIS1"], cards["IMNAXIS2"]
    if not exposure:
        row["PHOTCODE"], row["NSTAR"] = as_signed(photcode, "u2"), n_stars
        row["EXPTIME"], row["SECZ"] = cards["EXPTIME"], cards.get("AIRMASS", np.nan)
        row["DETECTION_LIMIT"] = int(10 * cards.get("DETEFF.MAGREF", 0))
        row["ST"], row["LAT"] = cards.get("ST", 0.0), cards.get("LATITUDE", 0.0) if "ST" in cards else 0.0
        row["MCAL_PSF"], row["MCAL_APER"], row["DMCAL"] = mcal, mcal, mcal_err
        row["EXTERN_ID"], row["SOURCE_ID"] = cards.get("IMAGEID", 0), cards.get("SOURCEID", 0)
        row["CCDNUM"], row["CERROR"] = cards.get("CCDNUM", 0), int(50 * cards.get("CERROR", 0.06))
        row["SATURATION_LIMIT"] = int(10 * cards.get("FSATUR", 15.0))
    return row


def measure_rows(table, *, image, photcode, exptime, airmass, mcal=0.0, tzero=0, ra=np.nan, dec=np.nan):
    """Rows of Measure, as addstar makes them from rows of a PS1_V4 table."""
    rows = empty_rows(MEASURE, len(table["IPP_IDET"]))
    time = np.float32(2.5 * np.log10(exptime)) if exptime > 0 else np.float32(0)

    def stored(mag):
        return (mag.astype("f4") + np.float32(ZERO_POINT)) + time

    with np.errstate(all="ignore"):
        bright = np.where(table["PSF_INST_MAG"] < 0, table["PSF_INST_MAG"], np.nan)
        rows["MAG"], rows["MAG_ERR"] = stored(bright), table["PSF_INST_MAG_SIG"]
        rows["M_APER"] = stored(table["AP_MAG"])
        rows["M_APER_ERR"] = np.where(table["AP_FLUX"] > 0, np.abs(table["AP_FLUX_SIG"] / table["AP_FLUX"]), np.nan)
        kron = np.where(table["KRON_FLUX"] > 0, table["KRON_FLUX"], np.nan)
        rows["M_KRON"] = stored(-2.5 * np.log10(kron))
        rows["M_KRON_ERR"] = table["KRON_FLUX_ERR"] / kron
    for name, ttype in (("FLUX_PSF", "PSF_INST_FLUX"), ("FLUX_KRON", "KRON_FLUX"), ("FLUX_AP", "AP_FLUX")):
        error = {"KRON_FLUX": "KRON_FLUX_ERR"}.get(ttype, f"{ttype}_SIG")
        rows[name], rows[f"{name}_ERR"] = table[ttype] / np.float32(exptime), table[error] / np.float32(exptime)
    rows["RA"], rows["DEC"] = ra, dec
    rows["M_TIME"], rows["AIRMASS"], rows["MCAL_PSF"], rows["MCAL_APER"] = time, airmass, mcal, mcal
    rows["X_CCD"], rows["Y_CCD"] = table["X_PSF"], table["Y_PSF"]
    rows["MAG_CAL_ERR"], rows["SKY_FLUX"], rows["SKY_FLUX_ERR"] = (
        table[name] for name in ("CAL_PSF_MAG_SIG", "SKY", "SKY_SIGMA")
    )
    for name, ttype in (("PSF_QF", "PSF_QF"), ("PSF_QF_PEFECT", "PSF_QF_PERFECT"), ("PSF_CHISQ", "PSF_CHISQ"),
                        ("EXT_NSIGMA", "EXT_NSIGMA"), ("PLTSCALE", "PLTSCALE"), ("PSF_NDOF", "PSF_NDOF"),
                        ("PSF_NPIX", "PSF_NPIX")):  # fmt: skip
        rows[name] = table[ttype]
    for name, ttype in (("X_CCD_ERR", "X_PSF_SIG"), ("Y_CCD_ERR", "Y_PSF_SIG"), ("FWHM_MAJOR", "PSF_MAJOR"),
                        ("FWHM_MINOR", "PSF_MINOR"), ("MXX", "MOMENTS_XX"), ("MXY", "MOMENTS_XY"),
                        ("MYY", "MOMENTS_YY")):  # fmt: skip
        rows[name] = short(100 * table[ttype])
    for name, ttype in (("POSANGLE", "POSANGLE"), ("PSF_THETA", "PSF_THETA")):
        rows[name] = short(65535 / 360 * table[ttype])
    rows["TIME"], rows["IMAGE_ID"], rows["PHOTCODE"] = tzero, as_signed(image, "u4"), as_signed(photcode, "u2")
    rows["DET_ID"] = as_signed(table["IPP_IDET"], "u4")
    rows["PHOT_FLAGS"], rows["PHOT_FLAGS2"] = as_signed(table["FLAGS"], "u4"), as_signed(table["FLAGS2"], "u4")
    return rows


def short(values):
    """A C short of a float: decimals are cut off, and what does not fit wraps."""
    return np.where(np.isfinite(values), values, ABSENT).astype("i8").astype("i2")


def grouped(measures, radius_arcsec=1.0):
    """Measure and Average of one region, sorted by object: a row joins the nearest within a radius, else makes one."""
    ra, dec = measures["RA"].astype(float), measures["DEC"].astype(float)
    place = np.full((len(measures), 2), np.inf)
    owner, count = np.zeros(len(measures), dtype=np.int64), 0
    for k, (r, d) in enumerate(zip(ra, dec, strict=True)):
        a, b = place[:count].T
        away = np.hypot(((r - a + 180) % 360 - 180) * np.cos(np.radians(d)), d - b) * 3600
        near = int(np.argmin(away)) if count else -1
        if near < 0 or not away[near] < radius_arcsec:
            near, count = count, count + 1
            place[near] = r, d
        owner[k] = near
    seen = place[:count]
    order = np.argsort(owner, kind="stable")
    measures, owner = measures[order].copy(), owner[order]
    measures["AVE_REF"], measures["OBJ_ID"] = owner, owner + 1
    averages = empty_rows(AVERAGE, len(seen))
    averages["RA"], averages["DEC"] = seen.T
    averages["NMEASURE"] = np.bincount(owner, minlength=len(seen))
    averages["OFF_MEASURE"] = np.searchsorted(owner, np.arange(len(seen)))
    averages["OBJ_ID"] = np.arange(1, len(seen) + 1)
    return measures, averages
