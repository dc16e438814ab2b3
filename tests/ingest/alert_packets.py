"""Alert packets of ZTF and LSST, written with fastavro in the schemas that both have published.

ZTF: github.com/ZwickyTransientFacility/ztf-avro-alert, `schema/` (version 3.2). LSST: github.com/lsst/alert_packet,
`lsst.v11_0.diaSource.avsc` and `lsst.v11_1.alert.avsc`. A `?` marks a field that may be NULL.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fastavro

ZTF_BOTH = """
    diffmaglim:float? pdiffimfilename:string? programpi:string? programid:int tblid:long? nid:int? rcid:int? field:int?
    xpos:float? ypos:float? chipsf:float? magap:float? sigmagap:float? distnr:float? magnr:float? sigmagnr:float?
    chinr:float? sharpnr:float? sky:float? magdiff:float? fwhm:float? classtar:float? mindtoedge:float?
    magfromlim:float? seeratio:float? aimage:float? bimage:float? aimagerat:float? bimagerat:float? elong:float?
    nneg:int? nbad:int? rb:float? ssdistnr:float? ssmagnr:float? ssnamenr:string? sumrat:float? magapbig:float?
    sigmagapbig:float? scorr:double? magzpsci:float? magzpsciunc:float? magzpscirms:float? clrcoeff:float?
    clrcounc:float? rbversion:string
"""
ZTF_CANDIDATE = (
    "jd:double fid:int pid:long candid:long isdiffpos:string ra:double dec:double magpsf:float sigmapsf:float"
    " ranr:double decnr:double ndethist:int ncovhist:int jdstarthist:double? jdendhist:double? tooflag:int?"
    " nmtchps:int rfid:long jdstartref:double jdendref:double nframesref:int dsnrms:float? ssnrms:float? dsdiff:float?"
    " nmatches:int zpclrcov:float? zpmed:float? clrmed:float? clrrms:float? neargaia:float? neargaiabright:float?"
    " maggaia:float? maggaiabright:float? exptime:float?" + ZTF_BOTH
)
ZTF_PREVIOUS = (
    "jd:double fid:int pid:long candid:long? isdiffpos:string? ra:double? dec:double? magpsf:float? sigmapsf:float?"
    " ranr:double? decnr:double?" + ZTF_BOTH
)
LSST_SOURCE = """
    diaSourceId:long visit:long detector:int diaObjectId:long? ssObjectId:long? parentDiaSourceId:long?
    midpointMjdTai:double ra:double raErr:float? dec:double decErr:float? ra_dec_Cov:float? x:float xErr:float?
    y:float yErr:float? centroid_flag:boolean? apFlux:float? apFluxErr:float? apFlux_flag:boolean?
    apFlux_flag_apertureTruncated:boolean? isNegative:boolean? snr:float? psfFlux:float? psfFluxErr:float?
    psfLnL:float? psfChi2:float? psfNdata:int psfFlux_flag:boolean? psfFlux_flag_edge:boolean? trailFlux:float?
    trailNdata:int dipoleMeanFlux:float? dipoleNdata:int scienceFlux:float? scienceFluxErr:float? templateFlux:float?
    ixx:float? iyy:float? ixy:float? extendedness:float? reliability:float? band:string? isDipole:boolean?
    timeProcessedMjdTai:double timeWithdrawnMjdTai:double? bboxSize:int pixelFlags:boolean?
    pixelFlags_saturated:boolean? glint_trail:boolean?
"""
JD = 2459000.75
"""A start: JD = MJD 59000.25, 2020-05-31T06:00:00 UTC."""

Record = dict[str, Any]


def record(name: str, fields: str, *, without: Iterable[str] = ()) -> Record:
    """A record's schema, of its fields written as name:type."""
    declared = []
    for word in fields.split():
        field, kind = word.split(":")
        if field not in without:
            null = kind.endswith("?")
            declared.append({"name": field, "type": ["null", kind[:-1]] if null else kind})
    return {"type": "record", "name": name, "fields": declared}


def ztf_schema(*, without: Iterable[str] = ()) -> Record:
    """The schema of a packet of ZTF; `without` some fields of the candidate, as older versions are."""
    cutout = {"type": "record", "name": "ztf.alert.cutout",
              "fields": [{"name": "fileName", "type": "string"}, {"name": "stampData", "type": "bytes"}]}  # fmt: skip
    previous = {"type": "array", "items": record("ztf.alert.prv_candidate", ZTF_PREVIOUS)}
    return {"type": "record", "namespace": "ztf", "name": "alert", "fields": [
        {"name": "schemavsn", "type": "string"}, {"name": "publisher", "type": "string"},
        {"name": "objectId", "type": "string"}, {"name": "candid", "type": "long"},
        {"name": "candidate", "type": ["null", record("ztf.alert.candidate", ZTF_CANDIDATE, without=without)]},
        {"name": "prv_candidates", "type": ["null", previous]},
        {"name": "cutoutScience", "type": ["null", cutout]},
        {"name": "cutoutTemplate", "type": ["null", "ztf.alert.cutout"]},
    ]}  # fmt: skip


def lsst_schema() -> Record:
    """The schema of a packet of LSST: earlier sources are of the type of the first."""
    return {"type": "record", "namespace": "lsst.v11_1", "name": "alert", "fields": [
        {"name": "diaSourceId", "type": "long"},
        {"name": "diaSource", "type": record("lsst.v11_1.diaSource", LSST_SOURCE)},
        {"name": "prvDiaSources", "type": ["null", {"type": "array", "items": "lsst.v11_1.diaSource"}]},
        {"name": "cutoutDifference", "type": ["null", "bytes"]},
    ]}  # fmt: skip


def candidate(candid: int, **values: Any) -> Record:
    """A candidate of ZTF in r, positive, of 19 mag, on readout channel 5 of field 600."""
    counts = ("programid", "ndethist", "ncovhist", "nmtchps", "rfid", "nframesref", "nmatches")
    return {
        **dict.fromkeys(counts, 0), "candid": candid,
        "jd": JD, "fid": 2, "pid": 1_247_250_000_515, "isdiffpos": "t", "ra": 150.0, "dec": 2.0,
        "magpsf": 19.0, "sigmapsf": 0.1, "ranr": 150.0, "decnr": 2.0, "jdstartref": JD - 700,
        "jdendref": JD - 500, "rbversion": "t17_f5_c3", "rcid": 5, "field": 600, "xpos": 100.5, "ypos": 200.25,
        "magap": 18.9, "diffmaglim": 20.5, "sky": 6.0, "exptime": 30.0, **values,
    }  # fmt: skip


def limit(**values: Any) -> Record:
    """An upper limit among the previous candidates: no source was found on that image."""
    absent = ("candid", "isdiffpos", "ra", "dec", "magpsf", "sigmapsf", "ranr", "decnr", "xpos", "ypos", "magap")
    return {**candidate(0), **dict.fromkeys(absent), **values}


def ztf_packet(trigger: Record | None, *previous: Record) -> Record:
    """A packet of ZTF with small cutouts."""
    cutout = {"fileName": "a.fits.gz", "stampData": b"\x1f\x8b" * 50}
    return {
        "schemavsn": "3.2", "publisher": "ZTF", "objectId": "ZTF20abcdefg", "candid": (trigger or {}).get("candid", 0),
        "candidate": trigger, "prv_candidates": list(previous) or None, "cutoutScience": cutout,
        "cutoutTemplate": cutout,
    }  # fmt: skip


def source(number: int, **values: Any) -> Record:
    """A source of LSST in i of 1000 nJy, on detector 94 of visit 2026070100123."""
    return {
        "diaSourceId": number, "visit": 2026070100123, "detector": 94, "midpointMjdTai": 61222.1, "ra": 150.0,
        "dec": 2.0, "x": 10.5, "y": 20.5, "xErr": 0.1, "yErr": 0.2, "psfFlux": 1000.0, "psfFluxErr": 20.0,
        "apFlux": 1100.0, "apFluxErr": 50.0, "psfChi2": 900.0, "psfNdata": 1681, "trailNdata": 0, "dipoleNdata": 0,
        "band": "i", "timeProcessedMjdTai": 61222.2, "bboxSize": 21, **values,
    }  # fmt: skip


def lsst_packet(trigger: Record, *previous: Record) -> Record:
    """A packet of LSST with a small cutout."""
    return {
        "diaSourceId": trigger["diaSourceId"], "diaSource": trigger, "prvDiaSources": list(previous) or None,
        "cutoutDifference": b"SIMPLE",
    }  # fmt: skip


def container(packets: Iterable[Record], schema: Record | None = None, *, codec: str = "null") -> bytes:
    """A container file of packets, of ZTF unless a schema is given."""
    stream = io.BytesIO()
    parsed = fastavro.parse_schema(schema or ztf_schema())
    fastavro.writer(stream, parsed, packets, codec=codec)
    return stream.getvalue()


def archive(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    """A tar archive of files; `mode` is tarfile's (`w:gz`)."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]  # the mode is no literal
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path
