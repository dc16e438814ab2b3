"""The page about mapping files, followed to the letter; then tables of other kinds, as its list says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from skydb.errors import DataError
from tests.ingest.tables import joined, mapping_of, read
from tests.test_docs import PROJECT, run_page

PAGE = PROJECT / "docs" / "how-to" / "map-a-table.md"
MAPPING = """
name = "t"
kind = "detections"
[file]
format = "{format}"
[photcode]
name = "X.g"
[time]
column = "time"
scale = "utc"
{time}
[measurements]
ra_raw = "ra"
dec_raw = "dec"
"""


def test_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = PAGE.read_text()
    table, mapping = re.search(r"```text\n(star,.*?)```", page, re.S), re.search(r"```toml\n(.*?)```", page, re.S)
    assert table is not None
    assert mapping is not None
    (tmp_path / "night.csv").write_text(table[1])
    (tmp_path / "night.toml").write_text(mapping[1])
    monkeypatch.chdir(tmp_path)
    run_page(PAGE)


def flux_table(path: Path) -> Path:
    """A FITS table with units of its own: radians, Julian dates, minutes, mJy."""
    columns = {
        "ra": np.radians([10.0]), "dec": np.radians([20.0]), "time": [2459000.75], "exposed": [2.0], "flux": [1.0],
        "err": [0.1],
    }  # fmt: skip
    table = Table(columns)
    for name, unit in {"ra": "rad", "dec": "rad", "time": "d", "exposed": "min", "flux": "mJy", "err": "mJy"}.items():
        table[name].unit = unit
    table.write(path)
    return path


def test_units_of_the_file_hold(tmp_path: Path) -> None:
    path = flux_table(tmp_path / "t.fits")
    text = MAPPING.format(format="fits", time='format = "jd"\nat = "mid"\nexptime = "exposed"')
    fluxes = ("inst_flux", "flux"), ("inst_flux_err", "err")
    on_sky = "".join(f'{name} = {{ column = "{column}", calibrated = true }}\n' for name, column in fluxes)
    chunk, = read(path, mapping_of(tmp_path, text + on_sky))
    found = chunk.detections.to_pylist()[0]
    assert (found["ra_raw"], found["dec_raw"]) == (pytest.approx(10.0), pytest.approx(20.0))
    assert found["inst_mag"] + 2.5 * np.log10(120) + 24.5 == pytest.approx(16.4, abs=1e-5)  # 1 mJy in AB magnitudes
    assert found["inst_mag_err"] == pytest.approx(0.10857, abs=1e-5)
    assert chunk.images["exptime"].to_pylist() == [120.0]
    with pytest.raises(DataError, match=r"'mJy' does not convert to count; .* or set calibrated = true"):
        read(path, mapping_of(tmp_path, text + 'inst_flux = "flux"\n'))


def test_nulls_of_parquet_stay_nulls_and_are_not_counted(tmp_path: Path) -> None:
    columns = {
        "ra": [1.0, 2.0, None], "dec": [1.0, 2.0, 3.0], "time": [1590904800] * 3, "mag": [-7.0, None, -8.0],
        "err": [None, 0.1, 0.1],
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    text = MAPPING.format(format="parquet", time='format = "unix"\nat = "start"')
    chunks = read(tmp_path / "t.parquet", mapping_of(tmp_path, text + 'inst_mag = "mag"\ninst_mag_err = "err"\n'))
    assert joined(chunks)["inst_mag"].to_pylist() == [-7.0, None]
    assert joined(chunks)["inst_mag_err"].to_pylist() == [None, pytest.approx(0.1)]
    assert (chunks[0].rejected, chunks[0].n_nulled) == ({"no_position": 1}, 0)
