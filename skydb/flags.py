"""Flag bits by name, with their meanings: DVO's own bits, so that its users' masks keep working.

Queries, plots and the flags reference read this one table. `decode(ImageFlags, 0x202)` names the bits of a value.
`ORIGINS` says which bits rows have, so that nobody waits for one that is never set.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntFlag, StrEnum


class Flags(IntFlag):
    """A set of named bits; every member is declared with its value and its meaning."""

    meaning: str

    def __new__(cls, value: int, meaning: str = "") -> Flags:
        """Keep the meaning beside the value."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class Origin(StrEnum):
    """Whether rows have a bit, and from where."""

    STORED = "stored"
    USER = "by user"
    DERIVED = "derived"
    UNSET = "never yet"


class ImageFlags(Flags):
    """`images_cal.flags`: how the calibration of an image went."""

    PHOTOM_NOCAL = 0x1, "the user asks that its photometry is not calibrated"
    PHOTOM_POOR = 0x2, "the zero point is poor: its error or its offset is too large"
    PHOTOM_SKIP = 0x4, "the user marks its photometry as bad"
    PHOTOM_FEW = 0x8, "too few measurements for a zero point"
    ASTROM_NOCAL = 0x10, "the user asks that its astrometry is not calibrated"
    ASTROM_POOR = 0x20, "the astrometric fit is poor"
    ASTROM_FAIL = 0x40, "the astrometric fit failed; the earlier solution stays"
    ASTROM_SKIP = 0x80, "the user marks its astrometry as bad"
    ASTROM_FEW = 0x100, "too few measurements for an astrometric fit"
    PHOTOM_UBERCAL = 0x200, "the zero point is external (ubercal) and kept fixed"
    ASTROM_GMM = 0x400, "the astrometry was fitted with the galactic motion model"
    MOSAIC_POOR = 0x800, "the exposure's zero point is poor"
    NIGHT_POOR = 0x1000, "the night is not photometric"
    TGROUP_PHOTCAL = 0x2000, "the zero point comes from its night"
    MOSAIC_PHOTCAL = 0x4000, "the zero point comes from its exposure"
    IMAGE_PHOTCAL = 0x8000, "the zero point is its own"


class MeasurementFlags(Flags):
    """`measurements_cal.db_flags`: what the database found out about a measurement, and what it was used for."""

    NOCAL = 0x1, "not used for calibration (relcal's own)"
    POOR_PHOTOM = 0x2, "photometry is poor (deprecated in DVO)"
    SKIP_PHOTOM = 0x4, "photometry is not used (deprecated in DVO)"
    AREA = 0x8, "outside the part of the chip that calibrates (relcal's own)"
    POOR_ASTROM = 0x10, "outlier of the mean position"
    SKIP_ASTROM = 0x20, "not used for astrometry"
    USED_OBJ = 0x40, "selected for the mean position of its object"
    USED_CHIP = 0x80, "used in the astrometric fit of its image"
    BLEND_MEAS = 0x100, "more than one object lay within the association radius"
    BLEND_OBJ = 0x200, "more than one detection of the image lay within the association radius"
    WARP_USED = 0x400, "warp measurement used in a mean"
    UNMASKED_ASTRO = 0x800, "kept by the robust fit of the mean position"
    BLEND_MEAS_X = 0x1000, "blended with an object of another table (DVO)"
    ARTIFACT = 0x2000, "likely an artifact"
    SYNTH_MAG = 0x4000, "synthetic magnitude"
    PHOTOM_UBERCAL = 0x8000, "its image has an external (ubercal) zero point"
    STACK_PRIMARY = 0x10000, "from the primary skycell of its stack"
    STACK_PHOT_SRC = 0x20000, "supplies the stack photometry of its object"
    ICRF_QSO = 0x40000, "quasar of the ICRF"
    IMAGE_EPOCH = 0x80000, "proper motion was applied for the image's epoch"
    PHOTOM_PSF = 0x100000, "used in the mean PSF magnitude"
    PHOTOM_APER = 0x200000, "used in the mean aperture magnitude"
    PHOTOM_KRON = 0x400000, "used in the mean Kron magnitude"
    MASKED_PSF = 0x1000000, "outlier of the mean PSF magnitude"
    MASKED_APER = 0x2000000, "outlier of the mean aperture magnitude"
    MASKED_KRON = 0x4000000, "outlier of the mean Kron magnitude"
    OBJECT_HAS_2MASS = 0x10000000, "its object has a 2MASS measurement"
    OBJECT_HAS_GAIA = 0x20000000, "its object has a Gaia measurement"
    OBJECT_HAS_TYCHO = 0x40000000, "its object has a Tycho measurement"


class ObjectFlags(Flags):
    """`objects.flags`: what an object is, and how its position was found."""

    FEW = 0x1, "too few measurements (deprecated in DVO)"
    POOR = 0x2, "poor measurements (deprecated in DVO)"
    ICRF_QSO = 0x4, "quasar of the ICRF"
    HERN_QSO_P60 = 0x8, "quasar, probability 60% (Hernitschek)"
    HERN_QSO_P05 = 0x10, "quasar, probability 5% (Hernitschek)"
    HERN_RRL_P60 = 0x20, "RR Lyrae star, probability 60% (Hernitschek)"
    HERN_RRL_P05 = 0x40, "RR Lyrae star, probability 5% (Hernitschek)"
    HERN_VARIABLE = 0x80, "variable (Hernitschek)"
    TRANSIENT = 0x100, "transient"
    HAS_SOLSYS_DET = 0x200, "at least one measurement is of a known solar-system object"
    MOST_SOLSYS_DET = 0x400, "most measurements are of known solar-system objects"
    LARGE_PM = 0x800, "large proper motion"
    RAW_AVE = 0x1000, "plain mean position, no fit"
    FIT_AVE = 0x2000, "a mean position was fitted"
    FIT_PM = 0x4000, "a proper motion was fitted"
    FIT_PAR = 0x8000, "a parallax was fitted"
    USE_AVE = 0x10000, "the mean position is the one given"
    USE_PM = 0x20000, "the fit with proper motion is the one given"
    USE_PAR = 0x40000, "the fit with parallax is the one given"
    NO_MEAN_ASTROM = 0x80000, "no usable position: the association position is given"
    STACK_FOR_MEAN = 0x100000, "no single-exposure position is usable: the stack's is given"
    MEAN_FOR_STACK = 0x200000, "the mean position stands in for the stack's"
    BAD_PM = 0x400000, "the proper-motion fit was rejected"
    EXT = 0x800000, "extended in the survey's own data"
    EXT_ALT = 0x1000000, "extended in external data"
    GOOD = 0x2000000, "good measurement in the survey's own data"
    GOOD_ALT = 0x4000000, "good measurement in external data"
    GOOD_STACK = 0x8000000, "good object in the stack, more than one stack"
    BEST_STACK = 0x10000000, "the primary stack measurements are the best ones"
    SUSPECT_STACK = 0x20000000, "suspect object in the stack"
    BAD_STACK = 0x40000000, "poor object in the stack"


class ObjectBandFlags(Flags):
    """`object_bands.flags`: what the mean of an object in one band and source is made of."""

    STAR_FEW = 0x1, "too few measurements to calibrate with"
    STAR_POOR = 0x2, "too much scatter to calibrate with"
    USE_SYNTH = 0x4, "synthetic photometry entered the mean"
    USE_UBERCAL = 0x8, "measurements of ubercal images entered the mean"
    HAS_PS1 = 0x10, "has Pan-STARRS1 single-exposure photometry"
    HAS_PS1_STACK = 0x20, "has Pan-STARRS1 stack photometry"
    HAS_TYCHO = 0x40, "has Tycho photometry"
    FIX_SYNTH = 0x80, "the mean is fixed to synthetic photometry"
    RANK_0 = 0x100, "the best PSF magnitudes are clean, and only clean ones are averaged"
    RANK_1 = 0x200, "the best PSF magnitudes have a poor flag of their photcode"
    RANK_2 = 0x400, "the best PSF magnitudes have psf_qf of 0.85 or less"
    RANK_3 = 0x800, "the best PSF magnitudes have a bad flag of their photcode"
    RANK_4 = 0x1000, "no usable PSF magnitude"
    OBJ_EXT_PSPS = 0x2000, "extended; the copy within 16 bits that PSPS reads"
    STACK_PRIMARY = 0x4000, "has a measurement of a primary stack"
    STACK_BESTDET = 0x8000, "the best stack measurement is a detection"
    STACK_PRIMDET = 0x10000, "the primary stack measurement is a detection"
    STACK_PRIMARY_MULTIPLE = 0x20000, "has several primary stack measurements"
    HAS_SDSS = 0x100000, "has SDSS photometry"
    HAS_HSC = 0x200000, "has HSC photometry"
    HAS_CFH = 0x400000, "has CFHT photometry"
    HAS_DES = 0x800000, "has DES photometry"
    OBJ_EXT = 0x1000000, "extended in this band: more than half of its detections are"


class PhotFlags(Flags):
    """`measurements.photflags`: psphot's FLAGS (PM_SOURCE_MODE). Other sources keep their own bits there."""

    PSFMODEL = 0x1, "has a PSF fit, linear or not"
    EXTMODEL = 0x2, "has an extended-model fit"
    FITTED = 0x4, "a non-linear fit was run"
    FAIL = 0x8, "the non-linear fit failed"
    POOR = 0x10, "the fit converged, poorly"
    PAIR = 0x20, "fitted as a pair of PSFs"
    PSFSTAR = 0x40, "used to build the PSF model"
    SATSTAR = 0x80, "the peak of the model is saturated"
    BLEND = 0x100, "blended"
    EXTERNAL = 0x200, "the position was supplied"
    BADPSF = 0x400, "no good PSF for the object"
    DEFECT = 0x800, "likely a defect"
    SATURATED = 0x1000, "saturated pixels or a bleed"
    CR_LIMIT = 0x2000, "CR_NSIGMA over its limit: likely a cosmic ray"
    EXT_LIMIT = 0x4000, "EXT_NSIGMA over its limit: extended"
    MOMENTS_FAILURE = 0x8000, "no moments"
    SKY_FAILURE = 0x10000, "no local sky"
    SKYVAR_FAILURE = 0x20000, "no variance of the local sky"
    BELOW_MOMENTS_SN = 0x40000, "too faint for moments"
    BIG_RADIUS = 0x100000, "moments of large radius were tried"
    AP_MAGS = 0x200000, "has an aperture magnitude"
    BLEND_FIT = 0x400000, "fitted as a blend"
    EXTENDED_FIT = 0x800000, "the full extended fit is used"
    EXTENDED_STATS = 0x1000000, "extended aperture statistics done"
    LINEAR_FIT = 0x2000000, "linear fit"
    NONLINEAR_FIT = 0x4000000, "non-linear fit"
    RADIAL_FLUX = 0x8000000, "radial fluxes done"
    SIZE_SKIPPED = 0x10000000, "size not determined"
    ON_SPIKE = 0x20000000, "the peak lies on a diffraction spike"
    ON_GHOST = 0x40000000, "the peak lies on a ghost or glint"
    OFF_CHIP = 0x80000000, "the peak lies off the chip"


class PhotFlags2(Flags):
    """`measurements.photflags2`: psphot's FLAGS2 (PM_SOURCE_MODE2)."""

    DIFF_WITH_SINGLE = 0x1, "difference source matched in one input"
    DIFF_WITH_DOUBLE = 0x2, "difference source matched in both inputs"
    MATCHED = 0x4, "seeded from another image (forced)"
    ON_SPIKE = 0x8, "over 25% of its PSF-weighted pixels lie on a diffraction spike"
    ON_STARCORE = 0x10, "over 25% of its PSF-weighted pixels lie on a star's core"
    ON_BURNTOOL = 0x20, "over 25% of its PSF-weighted pixels lie on a burntool streak"
    ON_CONVPOOR = 0x40, "over 25% of its PSF-weighted pixels are poorly convolved"
    PASS1_SRC = 0x80, "found in the first pass"
    HAS_BRIGHTER_NEIGHBOR = 0x100, "not the brightest of its footprint"
    BRIGHT_NEIGHBOR_1 = 0x200, "a neighbour's flux over r² times its own exceeds 1"
    BRIGHT_NEIGHBOR_10 = 0x400, "a neighbour's flux over r² times its own exceeds 10"
    DIFF_SELF_MATCH = 0x800, "its positive match is itself"
    SATSTAR_PROFILE = 0x1000, "modelled with a radial profile"
    ECONTOUR_FEW_PTS = 0x2000, "too few points on the elliptical contour"
    RADBIN_NAN_CENTER = 0x4000, "the radial profile has no value at the centre"
    PETRO_NAN_CENTER = 0x8000, "the Petrosian profile has no value at the centre"
    PETRO_NO_PROFILE = 0x10000, "no Petrosian profile"
    PETRO_INSIG_RATIO = 0x20000, "the Petrosian ratio is insignificant"
    PETRO_RATIO_ZEROBIN = 0x40000, "the Petrosian ratio is reached in the first bin"
    EXT_FITS_RUN = 0x80000, "extended fits were run"
    EXT_FITS_FAIL = 0x100000, "at least one extended fit failed"
    EXT_FITS_RETRY = 0x200000, "an extended fit was tried again"
    EXT_FITS_NONE = 0x400000, "all extended fits failed"
    ON_GHOST = 0x800000, "over 25% of its PSF-weighted pixels lie on a ghost"
    ON_CROSSTALK = 0x1000000, "over 25% of its PSF-weighted pixels lie on crosstalk"
    ON_CTE = 0x2000000, "over 25% of its PSF-weighted pixels lie in a region of poor charge transfer"


FLAGS_OF_COLUMN: dict[str, type[Flags]] = {
    "images_cal.flags": ImageFlags,
    "measurements_cal.db_flags": MeasurementFlags,
    "objects.flags": ObjectFlags,
    "object_bands.flags": ObjectBandFlags,
    "measurements.photflags": PhotFlags,
    "measurements.photflags2": PhotFlags2,
}
"""Which class names the bits of which column."""


ORIGINS: dict[type[Flags], dict[Origin, Flags]] = {
    ImageFlags: {
        Origin.STORED: ImageFlags.PHOTOM_POOR | ImageFlags.PHOTOM_FEW | ImageFlags.IMAGE_PHOTCAL,
        Origin.USER: ImageFlags.PHOTOM_NOCAL | ImageFlags.PHOTOM_SKIP,
    },
    MeasurementFlags: {
        Origin.STORED: MeasurementFlags.BLEND_MEAS | MeasurementFlags.BLEND_OBJ,
        Origin.DERIVED: (
            MeasurementFlags.PHOTOM_PSF | MeasurementFlags.PHOTOM_APER | MeasurementFlags.PHOTOM_KRON
            | MeasurementFlags.MASKED_PSF | MeasurementFlags.MASKED_APER | MeasurementFlags.MASKED_KRON
            | MeasurementFlags.USED_OBJ | MeasurementFlags.UNMASKED_ASTRO | MeasurementFlags.POOR_ASTROM
            | MeasurementFlags.WARP_USED
        ),
    },
    ObjectFlags: {
        Origin.STORED: (
            ObjectFlags.FIT_AVE | ObjectFlags.USE_AVE | ObjectFlags.STACK_FOR_MEAN | ObjectFlags.NO_MEAN_ASTROM
        ),
    },
    ObjectBandFlags: {
        Origin.STORED: (
            ObjectBandFlags.RANK_0 | ObjectBandFlags.RANK_1 | ObjectBandFlags.RANK_2 | ObjectBandFlags.RANK_3
            | ObjectBandFlags.RANK_4
        ),
    },
    PhotFlags: {Origin.STORED: PhotFlags(0xFFFFFFFF)},
    PhotFlags2: {Origin.STORED: PhotFlags2(0xFFFFFFFF)},
}  # fmt: skip
"""Where the bits of each class come from; those of no origin are never set yet.

Raw flags are stored as the source gives them. What a user sets in `images_cal` is kept and obeyed, though no command
sets it yet. Derived bits depend on an object's other measurements (`docs/decisions/derived-flags.md`):
`skydb.calibration.means` finds them; light curves show them when asked, released ones always.
"""


def origin_of(flags: type[Flags], bit: int) -> Origin:
    """Return where one bit of a class comes from.

    Examples
    --------
    >>> origin_of(MeasurementFlags, MeasurementFlags.PHOTOM_PSF)
    <Origin.DERIVED: 'derived'>
    """
    return next((origin for origin, bits in ORIGINS[flags].items() if bits & bit), Origin.UNSET)


def flag_rows(flags: type[Flags]) -> Iterator[tuple[str, int, str]]:
    """Yield name, value and meaning of every flag of a class, lowest bit first."""
    for member in flags:
        yield str(member.name), int(member), member.meaning


def decode(flags: type[Flags], value: int) -> list[str]:
    """Return the names of the bits that are set, lowest first; a bit without a name appears as its hexadecimal value.

    Examples
    --------
    >>> decode(ImageFlags, 0x202)
    ['PHOTOM_POOR', 'PHOTOM_UBERCAL']
    >>> decode(MeasurementFlags, 0x800000)
    ['0x00800000']
    """
    names = {bit: name for name, bit, _ in flag_rows(flags)}
    bits = (1 << place for place in range(int(value).bit_length()))
    return [names.get(bit, f"0x{bit:08x}") for bit in bits if value & bit]
