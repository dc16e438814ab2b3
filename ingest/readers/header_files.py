"""The header of an image that stands beside a list of its stars: the image itself, or its header as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skydb.errors import DataError

from .fits_cards import CARD, Header
from .fits_tables import FitsFile, Hdu, open_fits
from .interface import MissingError

TEXT, IMAGES = (".hdr", ".head"), (".fits", ".fit", ".fts", ".fits.fz")
LARGEST_HEADER = 1 << 20
CUT_NAME = 23
"""IRAF writes so many characters of an image's name, and leaves the rest out: such a name may be another's."""
_LIST = re.compile(r"\.(als|alf|nst|ap|mag|pk)(\.\d+)?$", re.I)
_EXTENSION = re.compile(r"\[([^\[\]]*)\]$")


@dataclass(frozen=True)
class FoundHeader:
    """The header of an image, that of its exposure where it is one of several, and where they stand."""

    header: Header
    exposure: Header | None
    where: str


def header_beside(path: Path, image: str = "") -> FoundHeader:
    """Return the header that belongs to a list of stars.

    It is looked for in the list's folder: `a.als` and `a.fits.als.1` belong to `a.hdr`, `a.head`, `a.fits` …, else to
    the file that the list names as its `image`, of which an extension may be named (`a.fits[3]`).

    Raises
    ------
    DataError
        There is none, it cannot be read, the list is of a section, or of a file with several images and none is named.
    """
    extension = _extension(path, image)
    names = list(dict.fromkeys(name for name in _names(path, image) if name))
    for name in names:
        for suffix in (*TEXT, *IMAGES):
            beside = path.with_name(name + suffix)
            if beside.is_file():
                return _text_header(beside) if suffix in TEXT else _image_header(beside, extension)
    todo = (
        f"put the image, or its header as text, beside it: {names[0]}.fits or {names[0]}.hdr; positions in pixels need"
        " its astrometry, and the stars its time, exposure time and size"
    )
    raise MissingError("there is no header of its image", str(path), todo)


def _extension(path: Path, image: str) -> str:
    """Return the extension that the name of an image ends in; empty where it names none."""
    found = _EXTENSION.search(image)
    if found is None:
        return ""
    if ":" in found[1] or "*" in found[1]:
        what = f"the stars are of a section of the image ({image}), whose pixels are counted from its corner"
        raise DataError(what, str(path), "measure the whole image, or one that was cut out with its astrometry")
    return found[1].split(",")[0].strip()


def _names(path: Path, image: str) -> Iterator[str]:
    """Yield the names that an image's file may have, without suffix: after the list, after what the list says."""
    of_image = re.split(r"[/$!]", _EXTENSION.sub("", image))[-1] if len(image) < CUT_NAME else ""
    for name in (_LIST.sub("", path.name), path.stem, of_image):
        yield next((name.removesuffix(s) for s in (*IMAGES[::-1], ".imh") if name.endswith(s)), name)


def _text_header(path: Path) -> FoundHeader:
    """Read cards of 80 characters, or lines."""
    with path.open("rb") as file:
        content = file.read(LARGEST_HEADER + 1)
    if len(content) > LARGEST_HEADER:
        raise DataError("it is larger than any header", str(path), "give the header alone, as text")
    text = content.decode("latin-1")
    if "\n" in text:
        text = "".join(line.rstrip("\r")[:CARD].ljust(CARD) for line in text.split("\n"))
    return FoundHeader(Header.of_text(text), None, str(path))


def _image_header(path: Path, extension: str) -> FoundHeader:
    file = open_fits(path)
    hdu = _named(file, extension) if extension else _only_image(file)
    first = file.hdus[0]
    return FoundHeader(hdu.header, None if hdu is first else first.header, hdu.where)


def _named(file: FitsFile, extension: str) -> Hdu:
    for number, hdu in enumerate(file.hdus):
        if extension in (str(number), hdu.word("EXTNAME")):
            return hdu
    known = ", ".join(h.word("EXTNAME") or str(n) for n, h in enumerate(file.hdus))
    raise DataError(f"no extension {extension!r}", str(file.path), f"known: {known}")


def _only_image(file: FitsFile) -> Hdu:
    images = [hdu for hdu in file.hdus if hdu.get("NAXIS") == 2 and _is_image(hdu)]
    if len(images) != 1:
        todo = "give the header of the one that was measured, as text (.hdr)"
        raise DataError(f"{len(images)} images are in it, and the list names none", str(file.path), todo)
    return images[0]


def _is_image(hdu: Hdu) -> bool:
    return hdu.word("XTENSION") in ("", "IMAGE") or hdu.get("ZIMAGE") is True
