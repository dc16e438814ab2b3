"""The tables of a skydb database: the one place where columns, units and meanings are stated.

Columns that most queries ask for come first. `dvo` names follow DVO's tables and query fields; `psphot` names
are the TTYPEs of psphot's PS1_V1 … PS1_V5 tables.
"""

from __future__ import annotations

from .model import Column, Table


def _c(
    name: str, type_: str, unit: str | None, ucd: str, meaning: str, *, dvo: str | None = None,
    psphot: str | None = None, since: int = 1,
) -> Column:  # fmt: skip
    return Column(name, type_, unit, ucd, meaning, dvo=dvo, psphot=psphot, since=since)


def _key(name: str, type_: str, ucd: str, meaning: str, *, dvo: str | None = None, psphot: str | None = None) -> Column:
    return Column(name, type_, None, ucd, meaning, dvo=dvo, psphot=psphot, required=True)


_OBJECT_ID = _key("object_id", "int64", "meta.id", "object: nested HEALPix index, order 29, of where it was founded", dvo="OBJ_ID")
_IMAGE_ID = _key("image_id", "int64", "meta.id;obs.image", "image: 63-bit hash of what makes it unique", dvo="IMAGE_ID")
_DET_ID = _key("det_id", "int64", "meta.id", "detection number within its image", dvo="DET_ID", psphot="IPP_IDET")
_CODE = _key("code", "int32", "meta.code;instr.bandpass", "photcode number; `photcode` and `band` are its names", dvo="PHOTCODE")
_MJD = _c("mjd", "float64", "d", "time.epoch", "modified Julian date, TAI, at mid-exposure", dvo="TIME")
_EXPTIME = _c("exptime", "float32", "s", "time.duration;obs.exposure", "exposure time", dvo="EXPTIME")
_AIRMASS = _c("airmass", "float32", None, "obs.airMass", "airmass at the detection where site and sidereal time are known, else of the image", dvo="AIRMASS")
_FLAG = "meta.code.qual"

OBJECT_SEEDS = Table(
    "object_seeds", "sky", "where and by what each object was founded, and where detections are associated with it",
    (
        _OBJECT_ID,
        _c("assoc_ra", "float64", "deg", "pos.eq.ra", "association position: right ascension, ICRS"),
        _c("assoc_dec", "float64", "deg", "pos.eq.dec", "association position: declination, ICRS"),
        _c("assoc_epoch", "float64", "yr", "time.epoch", "Julian epoch of the association position"),
        _c("assoc_pm_ra", "float32", "mas/yr", "pos.pm;pos.eq.ra", "motion used to move it, times cos(dec); NULL: none known"),
        _c("assoc_pm_dec", "float32", "mas/yr", "pos.pm;pos.eq.dec", "motion used to move it; NULL: none known"),
        _key("founder_image_id", "int64", "meta.id;obs.image", "image of the founding detection"),
        _key("founder_det_id", "int64", "meta.id", "number of the founding detection within its image"),
        _c("retired", "bool", None, _FLAG, "true: all its measurements were deleted; its id stays taken, and no detection joins it"),
    ),
    sort=("object_id",),
)

OBJECT_ALIASES = Table(
    "object_aliases", "sky", "ids that objects had in databases that were merged into this one, each with what it stands for",
    (
        _key("object_id", "int64", "meta.id", "the id that was published"),
        _key("stands_for", "int64", "meta.id", "id that the object has here"),
        _key("database_id", "string", "meta.id", "the database whose object had that id"),
    ),
    sort=("object_id", "database_id"),
)

OBJECTS = Table(
    "objects", "sky", "one star or galaxy: position, motion, parallax, flags, counts",
    (
        _OBJECT_ID,
        _c("ra", "float64", "deg", "pos.eq.ra;meta.main", "mean right ascension, ICRS, at `epoch`", dvo="RA"),
        _c("dec", "float64", "deg", "pos.eq.dec;meta.main", "mean declination, ICRS, at `epoch`", dvo="DEC"),
        _c("ra_err", "float32", "mas", "stat.error;pos.eq.ra", "error of ra times cos(dec)", dvo="RA_ERR"),
        _c("dec_err", "float32", "mas", "stat.error;pos.eq.dec", "error of dec", dvo="DEC_ERR"),
        _c("epoch", "float64", "yr", "time.epoch", "Julian epoch of the position", dvo="MEAN_EPOCH"),
        _c("pm_ra", "float32", "mas/yr", "pos.pm;pos.eq.ra", "proper motion in ra times cos(dec)", dvo="U_RA"),
        _c("pm_dec", "float32", "mas/yr", "pos.pm;pos.eq.dec", "proper motion in dec", dvo="U_DEC"),
        _c("pm_ra_err", "float32", "mas/yr", "stat.error;pos.pm;pos.eq.ra", "error of pm_ra", dvo="V_RA_ERR"),
        _c("pm_dec_err", "float32", "mas/yr", "stat.error;pos.pm;pos.eq.dec", "error of pm_dec", dvo="V_DEC_ERR"),
        _c("parallax", "float32", "mas", "pos.parallax", "parallax", dvo="PAR"),
        _c("parallax_err", "float32", "mas", "stat.error;pos.parallax", "error of parallax", dvo="PAR_ERR"),
        _c("position_chi2", "float32", None, "stat.fit.chi2", "reduced chi-square of the position fit", dvo="CHISQ_POS"),
        _c("n_measurements", "int32", None, "meta.number", "measurements, of every source", dvo="NMEASURE"),
        _c("n_position", "int32", None, "meta.number", "measurements that entered the mean position", dvo="NUMBER_POS"),
        _c("mjd_first", "float64", "d", "time.epoch;stat.min", "time of the first measurement, TAI"),
        _c("mjd_last", "float64", "d", "time.epoch;stat.max", "time of the last measurement, TAI"),
        _c("position_scatter", "float32", "mas", "stat.stdev;pos", "rms distance of its measurements from the mean, per axis"),
        _c("flags", "uint32", None, _FLAG, "object flags, see the flags reference", dvo="FLAGS"),
    ),
    sort=("object_id",), dvo="Average",
)

OBJECT_BANDS = Table(
    "object_bands", "sky", "one row per object, band and source: mean magnitudes and fluxes with their statistics",
    (
        _OBJECT_ID,
        _key("band", "string", "instr.bandpass", "name of the mean band (a SEC or REF photcode)"),
        _key("source", "string", "meta.code", "what was averaged: chip, stack, warp, diff (difference) or reference"),
        _c("mag", "float32", "mag", "phot.mag;stat.mean", "robust weighted mean PSF magnitude", dvo="MAG"),
        _c("mag_err", "float32", "mag", "stat.error;phot.mag", "error of mag", dvo="MAG_ERR"),
        _c("mag_stdev", "float32", "mag", "stat.stdev;phot.mag", "weighted standard deviation of the magnitudes used", dvo="MAG_STDEV"),
        _c("mag_min", "float32", "mag", "phot.mag;stat.min", "brightest magnitude used", dvo="MAG_MIN"),
        _c("mag_max", "float32", "mag", "phot.mag;stat.max", "faintest magnitude used", dvo="MAG_MAX"),
        _c("flux", "float32", "nJy", "phot.flux.density;stat.mean", "weighted mean PSF flux density, faint and negative fluxes included", dvo="FLUX_PSF"),
        _c("flux_err", "float32", "nJy", "stat.error;phot.flux.density", "error of flux", dvo="FLUX_PSF_ERR"),
        _c("ap_mag", "float32", "mag", "phot.mag;stat.mean", "mean aperture magnitude", dvo="MAG_AP"),
        _c("ap_mag_err", "float32", "mag", "stat.error;phot.mag", "error of ap_mag", dvo="MAG_AP_ERR"),
        _c("kron_mag", "float32", "mag", "phot.mag;stat.mean", "mean Kron magnitude", dvo="MAG_KRON"),
        _c("kron_mag_err", "float32", "mag", "stat.error;phot.mag", "error of kron_mag", dvo="MAG_KRON_ERR"),
        _c("chi2", "float32", None, "stat.fit.chi2", "reduced chi-square of the magnitudes used about their mean", dvo="MAG_CHI"),
        _c("n_measurements", "int32", None, "meta.number", "measurements in this band and source", dvo="NCODE"),
        _c("n_used", "int32", None, "meta.number", "measurements that entered mag", dvo="NUSED"),
        _c("n_used_flux", "int32", None, "meta.number", "measurements that entered flux"),
        _c("psf_qf_max", "float32", None, _FLAG, "largest psf_qf of its measurements", dvo="PSF_QF_MAX"),
        _c("flags", "uint32", None, _FLAG, "object-band flags, see the flags reference", dvo="FLAGS"),
    ),
    sort=("object_id", "band", "source"), dvo="SecFilt",
)

MEASUREMENTS = Table(
    "measurements", "sky", "raw measurements, as ingested, for ever unchanged",
    (
        _OBJECT_ID, _IMAGE_ID, _DET_ID, _CODE, _MJD,
        _c("ra_raw", "float64", "deg", "pos.eq.ra", "right ascension from the image's own astrometry", dvo="RA"),
        _c("dec_raw", "float64", "deg", "pos.eq.dec", "declination from the image's own astrometry", dvo="DEC"),
        _c("x", "float32", "pixel", "pos.cartesian.x;instr.det", "x on the chip", dvo="X_CCD", psphot="X_PSF"),
        _c("y", "float32", "pixel", "pos.cartesian.y;instr.det", "y on the chip", dvo="Y_CCD", psphot="Y_PSF"),
        _c("x_err", "float32", "pixel", "stat.error;pos.cartesian.x", "error of x", dvo="X_CCD_ERR", psphot="X_PSF_SIG"),
        _c("y_err", "float32", "pixel", "stat.error;pos.cartesian.y", "error of y", dvo="Y_CCD_ERR", psphot="Y_PSF_SIG"),
        _c("inst_mag", "float32", "mag", "phot.mag;instr", "PSF magnitude, -2.5 log10(counts); a calibrated magnitude for reference surveys", dvo="MAG", psphot="PSF_INST_MAG"),
        _c("inst_mag_err", "float32", "mag", "stat.error;phot.mag", "error of inst_mag", dvo="MAG_ERR", psphot="PSF_INST_MAG_SIG"),
        _c("inst_flux", "float32", "count", "phot.count", "PSF counts; may be negative; nJy for reference surveys", psphot="PSF_INST_FLUX"),
        _c("inst_flux_err", "float32", "count", "stat.error;phot.count", "error of inst_flux", psphot="PSF_INST_FLUX_SIG"),
        _c("photflags", "uint32", None, _FLAG, "psphot FLAGS (or the source's own)", dvo="PHOT_FLAGS", psphot="FLAGS"),
        _c("photflags2", "uint32", None, _FLAG, "psphot FLAGS2", dvo="PHOT_FLAGS2", psphot="FLAGS2"),
        _c("psf_qf", "float32", None, _FLAG, "PSF-weighted unmasked fraction, bad bits", dvo="PSF_QF", psphot="PSF_QF"),
        _c("psf_qf_perfect", "float32", None, _FLAG, "PSF-weighted unmasked fraction, any mask bit", dvo="PSF_QF_PEFECT", psphot="PSF_QF_PERFECT"),
        _AIRMASS,
        _c("link_flags", "uint32", None, _FLAG, "how its object was found: the BLEND bits of db_flags"),
        _c("inst_ap_mag", "float32", "mag", "phot.mag;instr", "aperture magnitude, standard aperture", dvo="M_APER", psphot="AP_MAG"),
        _c("inst_ap_mag_raw", "float32", "mag", "phot.mag;instr", "aperture magnitude as measured", psphot="AP_MAG_RAW"),
        _c("ap_radius", "float32", "pixel", "phys.angSize", "aperture radius", psphot="AP_MAG_RADIUS"),
        _c("inst_ap_flux", "float32", "count", "phot.count", "aperture counts", psphot="AP_FLUX"),
        _c("inst_ap_flux_err", "float32", "count", "stat.error;phot.count", "error of inst_ap_flux", psphot="AP_FLUX_SIG"),
        _c("inst_kron_flux", "float32", "count", "phot.count", "Kron counts, aperture of 2.5 first moments", psphot="KRON_FLUX"),
        _c("inst_kron_flux_err", "float32", "count", "stat.error;phot.count", "error of inst_kron_flux", psphot="KRON_FLUX_ERR"),
        _c("inst_kron_flux_inner", "float32", "count", "phot.count", "counts between 1 and 2.5 first moments", psphot="KRON_FLUX_INNER"),
        _c("inst_kron_flux_outer", "float32", "count", "phot.count", "counts between 2.5 and 4 first moments", psphot="KRON_FLUX_OUTER"),
        _c("file_psf_mag", "float32", "mag", "phot.mag", "calibrated PSF magnitude that the file itself gives", psphot="CAL_PSF_MAG"),
        _c("file_psf_mag_err", "float32", "mag", "stat.error;phot.mag", "zero-point scatter that the file itself gives", dvo="MAG_CAL_ERR", psphot="CAL_PSF_MAG_SIG"),
        _c("file_ra", "float64", "deg", "pos.eq.ra", "right ascension that the file's own column gives; not used", psphot="RA_PSF"),
        _c("file_dec", "float64", "deg", "pos.eq.dec", "declination that the file's own column gives; not used", psphot="DEC_PSF"),
        _c("ra_raw_err", "float32", "mas", "stat.error;pos.eq.ra", "error of ra_raw times cos(dec), where the source gives it on the sky"),
        _c("dec_raw_err", "float32", "mas", "stat.error;pos.eq.dec", "error of dec_raw, where the source gives it on the sky"),
        _c("posangle", "float32", "deg", "pos.posAng", "local position angle of the image", dvo="POSANGLE", psphot="POSANGLE"),
        _c("pltscale", "float32", "arcsec/pixel", "instr.scale", "local plate scale", dvo="PLTSCALE", psphot="PLTSCALE"),
        _c("peak_mag", "float32", "mag", "phot.mag;instr", "peak pixel as a magnitude", psphot="PEAK_FLUX_AS_MAG"),
        _c("sky", "float32", "count/s", "instr.background", "local sky", dvo="SKY_FLUX", psphot="SKY"),
        _c("sky_err", "float32", "count/s", "stat.error;instr.background", "error of sky", dvo="SKY_FLUX_ERR", psphot="SKY_SIGMA"),
        _c("psf_chisq", "float32", None, "stat.fit.chi2", "chi-square of the PSF fit", dvo="PSF_CHISQ", psphot="PSF_CHISQ"),
        _c("cr_nsigma", "float32", None, "stat", "deviation from the PSF towards cosmic rays, in sigma", psphot="CR_NSIGMA"),
        _c("ext_nsigma", "float32", None, "stat", "deviation from the PSF towards extended, in sigma", dvo="EXT_NSIGMA", psphot="EXT_NSIGMA"),
        _c("psf_major", "float32", "pixel", "phys.angSize.smajAxis", "major width of the PSF model (not a FWHM)", dvo="FWHM_MAJOR", psphot="PSF_MAJOR"),
        _c("psf_minor", "float32", "pixel", "phys.angSize.sminAxis", "minor width of the PSF model (not a FWHM)", dvo="FWHM_MINOR", psphot="PSF_MINOR"),
        _c("psf_theta", "float32", "deg", "pos.posAng", "angle of the PSF model", dvo="PSF_THETA", psphot="PSF_THETA"),
        _c("psf_ndof", "int32", None, "stat.fit.dof", "degrees of freedom of the PSF fit", dvo="PSF_NDOF", psphot="PSF_NDOF"),
        _c("psf_npix", "int32", None, "meta.number", "pixels in the PSF fit", dvo="PSF_NPIX", psphot="PSF_NPIX"),
        _c("moments_xx", "float32", "pixel2", "src.morph.param", "second moment xx", dvo="MXX", psphot="MOMENTS_XX"),
        _c("moments_xy", "float32", "pixel2", "src.morph.param", "second moment xy", dvo="MXY", psphot="MOMENTS_XY"),
        _c("moments_yy", "float32", "pixel2", "src.morph.param", "second moment yy", dvo="MYY", psphot="MOMENTS_YY"),
        _c("moments_m3c", "float32", "pixel3", "src.morph.param", "third trefoil moment, cosine", psphot="MOMENTS_M3C"),
        _c("moments_m3s", "float32", "pixel3", "src.morph.param", "third trefoil moment, sine", psphot="MOMENTS_M3S"),
        _c("moments_m4c", "float32", "pixel4", "src.morph.param", "fourth quadrupole moment, cosine", psphot="MOMENTS_M4C"),
        _c("moments_m4s", "float32", "pixel4", "src.morph.param", "fourth quadrupole moment, sine", psphot="MOMENTS_M4S"),
        _c("moments_r1", "float32", "pixel", "src.morph.param", "first radial moment", psphot="MOMENTS_R1"),
        _c("moments_rh", "float32", "pixel(1/2)", "src.morph.param", "half radial moment", psphot="MOMENTS_RH"),
        _c("sky_limit_rad", "float32", "pixel", "phys.angSize", "radius where the profile meets the sky", psphot="SKY_LIMIT_RAD"),
        _c("sky_limit_flux", "float32", "count/pixel", "phot.count", "surface brightness there", psphot="SKY_LIMIT_FLUX"),
        _c("sky_limit_slope", "float32", "count/pixel2", "phot.count", "slope of the profile there", psphot="SKY_LIMIT_SLOPE"),
        _c("n_frames", "uint16", None, "meta.number", "input frames that overlap the centre", psphot="N_FRAMES"),
        _c("padding", "int16", None, "meta", "psphot's padding word, kept as written", psphot="PADDING"),
        _c("ap_npix", "int32", None, "meta.number", "pixels in the aperture (PS1_V5)", psphot="AP_NPIX"),
        _c("psf_core", "float32", None, "src.morph.param", "core parameter of the PSF model (PS1_V5)", psphot="PSF_CORE"),
        _c("psf_fwhm_major", "float32", "pixel", "phys.angSize.smajAxis", "major FWHM of the PSF model (PS1_V5)", psphot="PSF_FWHM_MAJ"),
        _c("psf_fwhm_minor", "float32", "pixel", "phys.angSize.sminAxis", "minor FWHM of the PSF model (PS1_V5)", psphot="PSF_FWHM_MIN"),
        _c("pm_ra", "float32", "mas/yr", "pos.pm;pos.eq.ra", "proper motion in ra times cos(dec) that a reference survey gives with the position", since=2),
        _c("pm_dec", "float32", "mas/yr", "pos.pm;pos.eq.dec", "proper motion in dec that a reference survey gives", since=2),
        _c("pm_ra_err", "float32", "mas/yr", "stat.error;pos.pm;pos.eq.ra", "error of pm_ra", since=2),
        _c("pm_dec_err", "float32", "mas/yr", "stat.error;pos.pm;pos.eq.dec", "error of pm_dec", since=2),
        _c("parallax", "float32", "mas", "pos.parallax", "parallax that a reference survey gives; may be negative", since=2),
        _c("parallax_err", "float32", "mas", "stat.error;pos.parallax", "error of parallax", since=2),
    ),
    sort=("object_id", "mjd", "image_id", "det_id"), dvo="Measure",
)

MEASUREMENTS_CAL = Table(
    "measurements_cal", "sky", "calibrated measurements: a pure function of the raw ones and one calibration, row by row beside them",
    (
        _OBJECT_ID, _IMAGE_ID, _DET_ID, _CODE, _MJD,
        _c("ra", "float64", "deg", "pos.eq.ra;meta.main", "right ascension, ICRS, under the calibration"),
        _c("dec", "float64", "deg", "pos.eq.dec;meta.main", "declination, ICRS, under the calibration"),
        _c("mag", "float32", "mag", "phot.mag", "PSF magnitude: zero point, airmass, colour term, mcal and mflat applied", dvo="MAG"),
        _c("mag_err", "float32", "mag", "stat.error;phot.mag", "error of mag", dvo="MAG_ERR"),
        _c("flux", "float32", "nJy", "phot.flux.density", "PSF flux density; may be negative", dvo="FLUX_PSF"),
        _c("flux_err", "float32", "nJy", "stat.error;phot.flux.density", "error of flux", dvo="FLUX_PSF_ERR"),
        _c("ap_mag", "float32", "mag", "phot.mag", "aperture magnitude", dvo="M_APER"),
        _c("ap_mag_err", "float32", "mag", "stat.error;phot.mag", "error of ap_mag", dvo="M_APER_ERR"),
        _c("kron_mag", "float32", "mag", "phot.mag", "Kron magnitude", dvo="M_KRON"),
        _c("kron_mag_err", "float32", "mag", "stat.error;phot.mag", "error of kron_mag", dvo="M_KRON_ERR"),
        _c("mcal", "float32", "mag", "phot.calib", "zero-point correction of its image, subtracted; cloud is positive", dvo="MCAL_PSF"),
        _c("mflat", "float32", "mag", "phot.calib", "flat-field correction at its place on the chip, subtracted", dvo="M_FLAT"),
        _EXPTIME, _AIRMASS,
        _c("ra_err", "float32", "mas", "stat.error;pos.eq.ra", "error of ra times cos(dec)"),
        _c("dec_err", "float32", "mas", "stat.error;pos.eq.dec", "error of dec"),
        _c("db_flags", "uint32", None, _FLAG, "database flags, see the flags reference", dvo="DB_FLAGS"),
    ),
    sort=("object_id", "mjd", "image_id", "det_id"), dvo="Measure",
)

IMAGES = Table(
    "images", "global", "one chip, warp, stack or reference file, as its header describes it",
    (
        _IMAGE_ID,
        _key("image_key", "string", "meta.id", "what image_id is the hash of: kind, UTC start, photcode, chip, exposure"),
        _key("exposure_id", "int64", "meta.id", "the exposure it belongs to"),
        _c("name", "string", None, "meta.id;meta.file", "file name, with the header extension for a chip of many", dvo="NAME"),
        _c("chip", "string", None, "meta.id;instr.det", "chip name"),
        _c("ccdnum", "int32", None, "meta.number;instr.det", "chip number", dvo="CCDNUM"),
        _c("kind", "string", None, "meta.code", "chip, stack, warp, diff (difference) or reference"),
        _CODE, _MJD,
        _c("utc_start", "float64", "d", "time.start", "modified Julian date, UTC, when the exposure began", dvo="TZERO"),
        _EXPTIME,
        _c("airmass", "float32", None, "obs.airMass", "airmass of the image", dvo="SECZ"),
        _c("sidereal_time", "float64", "h", "time;obs", "local sidereal time at the header's time", dvo="ST"),
        _c("latitude", "float64", "deg", "pos.earth.lat", "latitude of the site", dvo="LAT"),
        _c("ra", "float64", "deg", "pos.eq.ra;meta.main", "centre of the image", dvo="RA_CENTER"),
        _c("dec", "float64", "deg", "pos.eq.dec;meta.main", "centre of the image", dvo="DEC_CENTER"),
        _c("radius", "float64", "deg", "phys.angSize", "of the circle about the centre that holds all corners", dvo="RADIUS"),
        _c("corner_ra", "list<float64>", "deg", "pos.eq.ra", "the four corners, in order around the image"),
        _c("corner_dec", "list<float64>", "deg", "pos.eq.dec", "the four corners, in order around the image"),
        _c("nx", "int32", "pixel", "meta.number", "width", dvo="NX"),
        _c("ny", "int32", "pixel", "meta.number", "height", dvo="NY"),
        _c("zpt_obs", "float64", "mag", "phot.calib", "zero point that the header gives, counts per second to AB; NULL: none"),
        _c("zpt_err", "float64", "mag", "stat.error;phot.calib", "error of zpt_obs"),
        _c("fwhm_major", "float32", "pixel", "phys.angSize;instr.det.psf", "seeing, major axis", dvo="FWHM_X"),
        _c("fwhm_minor", "float32", "pixel", "phys.angSize;instr.det.psf", "seeing, minor axis", dvo="FWHM_Y"),
        _c("sky", "float32", "count/s", "instr.background", "mean background of the image"),
        _c("detection_limit", "float32", "mag", "phot.mag;stat.min", "faint limit that the header gives", dvo="DETECTION_LIMIT"),
        _c("saturation_limit", "float32", "mag", "phot.mag;stat.max", "bright limit that the header gives", dvo="SATURATION_LIMIT"),
        _c("astrometry_err", "float32", "arcsec", "stat.error;pos", "astrometric scatter that the header gives", dvo="CERROR"),
        _c("n_astrometry", "int32", None, "meta.number", "stars of the header's astrometric fit", dvo="N_FIT_ASTROM"),
        _c("row_time", "float32", "s/pixel", "time.duration", "later start per row (drift scan); NULL: none", dvo="TRATE"),
        _c("external_id", "int64", None, "meta.id", "the image's number where it was made", dvo="EXTERN_ID"),
        _c("source_id", "int32", None, "meta.id", "number of the pipeline that made it", dvo="SOURCE_ID"),
        _c("n_detections", "int32", None, "meta.number", "rows that its file held", dvo="NSTAR"),
        _c("astrometry", "string", None, "meta.note", "the header's astrometric model, as JSON"),
    ),
    sort=("mjd", "image_id"), dvo="Image",
)

IMAGES_CAL = Table(
    "images_cal", "global", "the photometric solution of every image under one calibration",
    (
        _IMAGE_ID, _CODE, _MJD,
        _c("zero_point", "float64", "mag", "phot.calib", "counts per second to mag, at the image's airmass: 0.001 C + K (airmass - 1) - mcal"),
        _c("mcal", "float64", "mag", "phot.calib", "zero-point correction at the image's airmass, subtracted; cloud is positive", dvo="MCAL_PSF"),
        _c("mcal_err", "float64", "mag", "stat.error;phot.calib", "error of mcal", dvo="DMCAL"),
        _c("mcal_slope", "float64", "mag", "phot.calib", "change of mcal per airmass within the image; 0 where no night or exposure slope is solved"),
        _c("mcal_source", "string", None, "meta.code", "image, night, header or nominal: where mcal comes from"),
        _c("component", "int32", None, "meta.id", "connected component of the solution; NULL: not solved"),
        _c("n_measurements", "int32", None, "meta.number", "measurements stored from this image"),
        _c("n_used", "int32", None, "meta.number", "measurements that entered the solution", dvo="N_FIT_PHOTOM"),
        _c("chi2", "float32", None, "stat.fit.chi2", "reduced chi-square of the measurements used", dvo="XM"),
        _c("flags", "uint32", None, _FLAG, "image flags, see the flags reference", dvo="FLAGS"),
    ),
    sort=("mjd", "image_id"), dvo="Image",
)

EXPOSURES = Table(
    "exposures", "global", "one readout of all chips, or one reference survey",
    (
        _key("exposure_id", "int64", "meta.id", "exposure: 63-bit hash of kind, UTC start and name"),
        _c("name", "string", None, "meta.id", "the observation's own name"),
        _c("kind", "string", None, "meta.code", "chip, stack, warp, diff (difference) or reference"),
        _MJD,
        _c("utc_start", "float64", "d", "time.start", "modified Julian date, UTC, when it began"),
        _c("night", "int32", "d", "time.epoch", "modified Julian day, UTC at local noon before the exposure"),
        _EXPTIME,
        _c("airmass", "float32", None, "obs.airMass", "airmass at the pointing"),
        _c("filter", "string", None, "meta.id;instr.filter", "filter name in the header"),
        _c("telescope", "string", None, "instr.tel", "telescope"),
        _c("instrument", "string", None, "instr", "camera"),
        _c("latitude", "float64", "deg", "pos.earth.lat", "latitude of the site"),
        _c("longitude", "float64", "deg", "pos.earth.lon", "longitude of the site, east positive"),
        _c("ra", "float64", "deg", "pos.eq.ra;meta.main", "pointing"),
        _c("dec", "float64", "deg", "pos.eq.dec;meta.main", "pointing"),
        _c("astrometry", "string", None, "meta.note", "the exposure's astrometric model (focal plane to sky), as JSON"),
    ),
    sort=("mjd", "exposure_id"),
)

PHOTCODES = Table(
    "photcodes", "global", "where a magnitude comes from, and its tie to a mean band",
    (
        _CODE,
        _key("name", "string", "meta.id", "photcode name"),
        _key("kind", "string", "meta.code", "SEC: a mean band; DEP: of one detector and filter; REF: of an external catalog; ALT: another transformation of a SEC code"),
        _c("band", "string", None, "instr.bandpass", "name of the mean band that it belongs to (EQUIV); itself for SEC and REF"),
        _c("zero_point_mmag", "int32", "mmag", "phot.calib", "C: nominal zero point, counts per second to mag", dvo="C_LAM"),
        _c("airmass_slope", "float64", "mag", "phot.calib", "K: change of the zero point per airmass, negative for extinction", dvo="K"),
        _c("color_offset_mmag", "int32", "mmag", "phot.color", "dX: reference colour of the colour terms", dvo="X_ERR"),
        _c("zero_point_offset_mmag", "int32", "mmag", "phot.calib", "dC: kept from DVO, used by no formula", dvo="C_LAM_ERR"),
        _c("color_1", "string", None, "instr.bandpass", "first band of the colour; NULL: no colour term", dvo="C1"),
        _c("color_2", "string", None, "instr.bandpass", "second band of the colour", dvo="C2"),
        _c("color_terms", "list<float64>", "mag", "phot.color", "X: polynomial coefficients of the colour, first order first", dvo="X"),
        _c("radius_arcsec", "float64", "arcsec", "phys.angSize", "association radius; NULL: the default"),
        _c("system", "string", None, "meta.code", "magnitude system: AB unless said otherwise"),
        _c("astrometry_err_sys", "float32", "arcsec", "stat.error.sys;pos", "systematic position error", dvo="ASTROM_ERR_SYS"),
        _c("astrometry_err_scale", "float32", None, "stat.error;pos", "factor on the measured position error", dvo="ASTROM_ERR_SCALE"),
        _c("astrometry_err_mag_scale", "float32", "arcsec/mag", "stat.error;pos", "position error per magnitude error", dvo="ASTROM_ERR_MAG_SCALE"),
        _c("photometry_err_sys", "float32", "mag", "stat.error.sys;phot.mag", "systematic magnitude error", dvo="PHOTOM_ERR_SYS"),
        _c("astrometry_poor_mask", "uint32", None, _FLAG, "photflags that make a position poor", dvo="ASTROM_POOR_MASK"),
        _c("astrometry_bad_mask", "uint32", None, _FLAG, "photflags that make a position bad", dvo="ASTROM_BAD_MASK"),
        _c("photometry_poor_mask", "uint32", None, _FLAG, "photflags that make a magnitude poor", dvo="PHOTOM_POOR_MASK"),
        _c("photometry_bad_mask", "uint32", None, _FLAG, "photflags that make a magnitude bad", dvo="PHOTOM_BAD_MASK"),
    ),
    sort=("code",), dvo="Photcode",
)

CELLS = Table(
    "cells", "catalog", "the adaptive partition of the sky into HEALPix pixels",
    (
        _key("norder", "int16", "meta.number", "HEALPix order of the cell"),
        _key("npix", "int64", "meta.id", "nested pixel number of the cell"),
        _c("host", "string", None, "meta.id", "host that keeps its files"),
        _c("n_objects", "int64", None, "meta.number", "objects founded in the cell"),
        _c("n_measurements", "int64", None, "meta.number", "measurements of those objects"),
        _c("n_files", "int32", None, "meta.number", "files of the cell"),
        _c("bytes", "int64", "byte", "meta.number", "bytes of the cell's files"),
        _c("drift_arcsec", "float64", "arcsec", "pos.distance", "bound on how far its objects and measurements lie from where the objects were founded"),
        _c("stale", "bool", None, _FLAG, "its derived tables wait for `skydb refresh`"),
    ),
    dvo="SkyTable",
)

HOSTS = Table(
    "hosts", "catalog", "machines or storage roots that keep cells",
    (
        _key("name", "string", "meta.id", "host name"),
        _key("root", "string", "meta.ref.uri", "path or URL under which its files lie; empty: the database's own folder"),
        _c("worker", "string", None, "meta.id", "Dask worker that reads it as local"),
        _c("state", "string", None, "meta.code", "active, or draining: nothing new is placed there"),
    ),
    dvo="HostTable",
)

SNAPSHOTS = Table(
    "snapshots", "catalog", "the committed states of the database",
    (
        _key("snapshot", "int64", "meta.id", "number of the snapshot"),
        _c("parent", "int64", None, "meta.id.parent", "the snapshot it followed"),
        _c("time", "string", None, "time.creation", "when it was committed, UTC, ISO 8601"),
        _c("kind", "string", None, "meta.code", "the verb that made it"),
        _c("command", "string", None, "meta.note", "the command line or call"),
        _c("version", "string", None, "meta.version", "version of skydb"),
        _c("calibration_id", "int64", None, "meta.id;phot.calib", "the current calibration"),
        _c("tags", "string", None, "meta.id", "its names"),
        _c("expired_by", "int64", None, "meta.id", "the commit that gave it up; NULL: it can be read"),
    ),
)

INGEST_LOG = Table(
    "ingest_log", "catalog", "every file ever ingested, and what became of its rows",
    (
        _key("file", "string", "meta.id;meta.file", "path as given"),
        _key("digest", "string", "meta.checksum", "BLAKE2b of its content"),
        _c("snapshot", "int64", None, "meta.id", "the snapshot that holds it"),
        _c("bytes", "int64", "byte", "meta.number", "its size"),
        _c("format", "string", None, "meta.code", "the reader that read it"),
        _c("n_images", "int32", None, "meta.number", "images it brought"),
        _c("n_in", "int64", None, "meta.number", "rows it held"),
        _c("n_matched", "int64", None, "meta.number", "rows that joined an object"),
        _c("n_new", "int64", None, "meta.number", "rows that founded an object"),
        _c("n_rejected", "int64", None, "meta.number", "rows rejected"),
        _c("n_measurements", "int64", None, "meta.number", "measurements that the kept rows made"),
        _c("n_nulled", "int64", None, "meta.number", "values that became NULL: NaN, a sentinel, an error below 0"),
        _c("reasons", "string", None, "meta.note", "rejected rows by reason, as JSON"),
        _c("n_deleted", "int64", None, "meta.number", "rows whose measurements are not here: deleted on request since, or left out by a merge"),
        _c("n_deleted_measurements", "int64", None, "meta.number", "measurements that are not here: deleted on request since, or left out by a merge"),
        _c("n_deleted_images", "int32", None, "meta.number", "images that are not here: deleted or left out; they come back when the file is ingested, or the other database merged, again"),
    ),
)

CALIBRATIONS = Table(
    "calibrations", "catalog", "the calibrations solved so far",
    (
        _key("calibration_id", "int64", "meta.id;phot.calib", "number of the calibration"),
        _c("snapshot", "int64", None, "meta.id", "the snapshot that brought it"),
        _c("kind", "string", None, "meta.code", "nominal, relcal, relastro or merge"),
        _c("bands", "string", None, "instr.bandpass", "bands solved, comma-separated"),
        _c("n_images", "int64", None, "meta.number", "images solved"),
        _c("n_measurements", "int64", None, "meta.number", "measurements that entered the solution"),
        _c("chi2", "float64", None, "stat.fit.chi2", "reduced chi-square"),
        _c("report", "string", None, "meta.note", "convergence, gauges, rejections, as JSON"),
    ),
)

TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        OBJECT_SEEDS, OBJECT_ALIASES, OBJECTS, OBJECT_BANDS, MEASUREMENTS, MEASUREMENTS_CAL, IMAGES, IMAGES_CAL, EXPOSURES, PHOTCODES,
        CELLS, HOSTS, SNAPSHOTS, INGEST_LOG, CALIBRATIONS,
    )
}
