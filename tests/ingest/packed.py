"""FITS files whose tables are compressed for a test, tile by tile: slow and plain (FITS standard 4.0, 10.3)."""

import gzip

import numpy as np
from astropy.io import fits

RICE = {1: (3, 6), 2: (4, 14), 4: (5, 25)}


def rice_coded(values, n_bytes):
    """Whole numbers as text of bits, and that as bytes: each block of 32 in the shortest of the ways that there are."""
    width, stored = RICE[n_bytes]
    size = 8 * n_bytes
    values = [int(v) % (1 << size) for v in values]
    bits = f"{values[0]:0{size}b}" if values else ""
    last = values[0] if values else 0
    for first in range(0, len(values), 32):
        folded = []
        for value in values[first:first + 32]:
            difference = (value - last + (1 << size - 1)) % (1 << size) - (1 << size - 1)
            folded.append(2 * difference if difference >= 0 else -2 * difference - 1)
            last = value
        ways = {0: f"{0:0{width}b}"} if not any(folded) else {}
        ways[stored + 1] = f"{stored + 1:0{width}b}" + "".join(f"{f:0{size}b}" for f in folded)
        for low in range(stored):
            if max(folded) >> low < 1000:
                words = ("0" * (f >> low) + "1" + (f"{f % (1 << low):0{low}b}" if low else "") for f in folded)
                ways[low + 1] = f"{low + 1:0{width}b}" + "".join(words)
        bits += min(ways.values(), key=len)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))


def coded(column, codec):
    """The values of one column of one tile, a big-endian array, as they lie in the heap."""
    plain = np.ascontiguousarray(column).tobytes()
    element = {"S": 1, "c": column.dtype.itemsize // 2}.get(column.dtype.kind, column.dtype.itemsize)
    if codec == "NOCOMPRESS":
        return plain
    if codec == "GZIP_1":
        return gzip.compress(plain)
    if codec == "GZIP_2":
        return gzip.compress(np.frombuffer(plain, "u1").reshape(-1, element).T.tobytes())
    return rice_coded(column.astype(column.dtype.newbyteorder("=")).ravel(), column.dtype.itemsize)


def codec_of(letter):
    """What fpack takes by default, by the type of the column."""
    return {**dict.fromkeys("BIJ", "RICE_1"), **dict.fromkeys("LXA", "GZIP_1")}.get(letter, "GZIP_2")


def packed_hdu(hdu, tile_rows, codecs=codec_of):
    """A binary table of astropy's, compressed."""
    raw = np.frombuffer(hdu.data.tobytes(), dtype=hdu.data.dtype.newbyteorder(">"))
    names = raw.dtype.names
    kinds = [codecs(column.format.lstrip("0123456789")[0]) for column in hdu.columns]
    heap, places = b"", []
    for first in range(0, len(raw), tile_rows):
        for name, codec in zip(names, kinds, strict=True):
            part = coded(raw[name][first:first + tile_rows], codec)
            places.append((len(part), len(heap)))
            heap += part
    header = fits.Header([
        ("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", 16 * len(names)),
        ("NAXIS2", -(-len(raw) // tile_rows)), ("PCOUNT", len(heap)), ("GCOUNT", 1), ("TFIELDS", len(names)),
        ("ZTABLE", True), ("ZTILELEN", tile_rows), ("ZNAXIS1", raw.dtype.itemsize), ("ZNAXIS2", len(raw)),
        ("ZPCOUNT", 0),
    ])  # fmt: skip
    for card in hdu.header.cards[8:]:
        header.append((f"Z{card.keyword[1:]}" if card.keyword.startswith("TFORM") else card.keyword, card.value))
    for number, codec in enumerate(kinds, 1):
        header[f"TFORM{number}"] = "1QB(9)"
        header[f"ZCTYP{number}"] = codec
    return header, np.array(places, ">i8").tobytes() + heap


def write_packed(path, plain, tile_rows=7, codecs=codec_of):
    """Write a FITS file again with all its binary tables compressed."""
    with fits.open(plain, memmap=False) as hdus, path.open("wb") as file:
        for hdu in hdus:
            if isinstance(hdu, fits.BinTableHDU):
                header, data = packed_hdu(hdu, tile_rows, codecs)
                file.write(header.tostring().encode() + data + bytes(-len(data) % 2880))
            else:
                file.write(hdu.header.tostring().encode())
    return path
