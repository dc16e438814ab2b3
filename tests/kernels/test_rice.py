import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.kernels.rice import rice_decoded
from tests.ingest.packed import rice_coded

DTYPES = {1: "u1", 2: "i2", 4: "i4"}


@pytest.mark.parametrize("n_bytes", [1, 2, 4])
@settings(deadline=None)
@given(data=st.data())
def test_decodes_what_the_plain_coder_codes(n_bytes, data):
    low, high = (int(limit(np.iinfo(DTYPES[n_bytes]))) for limit in (lambda i: i.min, lambda i: i.max))
    numbers = st.one_of(st.integers(low, high), st.integers(0, 3), st.sampled_from([low, high]))
    values = data.draw(st.lists(numbers, max_size=100))
    decoded = rice_decoded(rice_coded(values, n_bytes), len(values), n_bytes)
    assert decoded.dtype == DTYPES[n_bytes]
    assert decoded.tolist() == values


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4"])
@pytest.mark.parametrize("width", [0, 1, 30, 1e9])
def test_decodes_what_astropy_codes(dtype, width, tmp_path):
    """Its compressed images hold the same code, one row of pixels at a time."""
    info = np.iinfo(dtype)
    pixels = np.random.default_rng(3).normal(100, width, (9, 1001)).clip(info.min, info.max).astype(dtype)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels, compression_type="RICE_1")]).writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", disable_image_compression=True) as hdus:
        settings = {hdus[1].header[f"ZNAME{k}"]: hdus[1].header[f"ZVAL{k}"] for k in (1, 2)}
        assert settings == {"BLOCKSIZE": 32, "BYTEPIX": np.dtype(dtype).itemsize}
        rows = [bytes(row) for row in hdus[1].data["COMPRESSED_DATA"]]
    decoded = np.array([rice_decoded(row, 1001, np.dtype(dtype).itemsize) for row in rows])
    assert np.array_equal(decoded, pixels)


def test_code_that_ends_early_gives_nothing():
    coded = rice_coded(range(0, 4000, 13), 4)
    for n in range(len(coded)):
        assert rice_decoded(coded[:n], len(range(0, 4000, 13)), 4) is None
    assert rice_decoded(b"", 0, 4).tolist() == []
