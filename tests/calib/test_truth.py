"""What relcal makes of simulated surveys, from files to `images_cal`, against the truth that only the score reads."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

import skydb
from skydb.photcodes import import_photcodes
from skydb.tools.cli import main
from skydb.tools.score import read_detection_truth, score_zero_points
from skydb.tools.score_database import image_zero_points
from skydb.tools.simulate import SWITCHES, simulate

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]

DRAWS, DETECTIONS = 50, 20_000
BUT_NOISE = sorted(set(SWITCHES) - {"noise"})
MEDIUM = int(os.environ.get("SKYDB_SCALE_DETECTIONS", "12500000"))
"""Detections of the medium survey; fewer to see that its test works."""

READ_NOISE, POGSON, MAX_MAG_ERR = 2.0, 2.5 / np.log(10.0), 0.05
SATURATED = 32


@pytest.mark.slow
def test_zero_points_and_their_errors_reach_the_cramer_rao_bound(tmp_path: Path) -> None:
    """Surveys of nothing but white noise: a single one scatters by 0.1 or more, and takes two seconds."""
    draws = [noise_draw(tmp_path / str(seed), seed) for seed in range(1, DRAWS + 1)]
    for name in draws[0]:
        values = [draw[name] for draw in draws]
        mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / DRAWS**0.5
        print(f"{name}: {mean:.3f} ± {error:.3f} from {DRAWS} draws")
        assert 0.95 < mean < 1.05, name
        assert error < 0.025, f"{name}: too few draws to tell"


def noise_draw(folder: Path, seed: int) -> dict[str, float]:
    """Simulate a survey, solve it, and score it against its truth; its files are removed."""
    sim = folder / "sim"
    simulate(sim, preset="small", detections=DETECTIONS, seed=seed, without=BUT_NOISE)
    db = skydb.create(folder / "s.sky")
    import_photcodes(db, sim / "photcodes.dat")
    skydb.addstar(db, sorted((sim / "exposures").glob("*.smf")), workers=1)
    skydb.relcal(db, workers=1)
    images = image_zero_points(db.snapshot(), sim / "truth")
    with skydb.connect(db) as connection:
        entering = connection.sql(
            "SELECT i.name AS image, det_id FROM measurements m JOIN images i USING (image_id)"
            " JOIN photcodes p ON p.code = m.code WHERE psf_qf > 0.85"
            " AND photflags & (photometry_bad_mask | photometry_poor_mask) = 0"
        ).arrow()
    limit = cramer_rao_errors(sim, entering)
    images = images.append_column("limit", pa.array([limit[name] for name in images.column("name").to_pylist()]))
    shutil.rmtree(folder)
    score = score_zero_points(images, images, bound="limit")
    assert (score.n_images, score.n_missing) == (len(limit), 0)
    return {
        "rms error / rms bound": score.bound_ratio,
        "rms of error / bound": float(np.sqrt(np.mean((score.error / images.column("limit").to_numpy()) ** 2))),
        "width of the pulls": score.pull_width,
    }


def cramer_rao_errors(sim: Path, entering: pa.Table) -> dict[str, float]:
    """The least errors of the images' zero points, mag, about the mean of those that they share stars with.

    Parameters
    ----------
    sim : the simulated survey; stars and noise are from its truth, nothing from what was measured or solved
    entering : columns `image`, `det_id`: the measurements that flags and `psf_qf` let in
    """
    truth = read_detection_truth(sim).join(entering, ["image", "det_id"], join_type="inner")
    chips = pq.read_table(sim / "truth" / "chips.parquet")
    names = np.asarray(chips.column("name").to_pylist())
    row = np.searchsorted(np.sort(names), np.asarray(truth.column("image").cast(pa.string()).to_pylist()))
    image = np.argsort(names)[row]
    error = true_errors(sim, chips, image, truth.column("mag_true").to_numpy())
    good = (error <= MAX_MAG_ERR) & ((truth.column("flags").to_numpy() & SATURATED) == 0)
    band = np.asarray(chips.column("band").to_pylist())
    _, star = np.unique(
        [f"{s} {b}" for s, b in zip(truth.column("star_id").to_pylist(), band[image], strict=True)], return_inverse=True
    )
    normal = image_equations(image[good], star[good], error[good] ** -2, len(names))
    # The inverse that leaves constants out is the covariance about each component's plain mean.
    covariance = np.linalg.pinv(normal, rcond=1e-12, hermitian=True)
    return dict(zip(names.tolist(), np.sqrt(np.diag(covariance)).tolist(), strict=True))


def image_equations(image: Ints, star: Ints, weight: F64, n_images: int) -> F64:
    """Normal matrix of the images, (n, n) mag**-2, every star an unknown that is eliminated."""
    rows = np.arange(image.size)
    of_image = csr_array((np.ones(image.size), (rows, image)), shape=(image.size, n_images))
    of_star = csr_array((np.ones(image.size), (rows, star)))
    total = np.bincount(star, weights=weight)
    link = of_image.T @ diags_array(weight) @ of_star
    eliminated = link @ diags_array(np.divide(1.0, total, where=total > 0, out=np.zeros(total.size))) @ link.T
    return np.asarray((of_image.T @ diags_array(weight) @ of_image - eliminated).toarray())


def true_errors(sim: Path, chips: pa.Table, image: Ints, mag: F64) -> F64:
    """Errors of PSF magnitudes by photons, sky and read-out, mag; all chips of this camera see alike."""
    exposures = {e["exposure"]: e for e in pq.read_table(sim / "truth" / "exposures.parquet").to_pylist()}
    mine = [exposures[name] for name in chips.column("exposure").to_pylist()]
    sigma, sky, exptime = (np.array([e[n] for e in mine])[image] for n in ("fwhm_pixels", "sky", "exptime"))
    zero_point = chips.column("zero_point_true").to_numpy()[image]
    counts = exptime * 10.0 ** (0.4 * (zero_point - mag))
    background = 4.0 * np.pi * (sigma / 2.3548) ** 2 * (sky * exptime + READ_NOISE**2)
    return np.asarray(POGSON * np.sqrt(counts + background) / counts)


@pytest.fixture
def big_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that is emptied at the end: pytest keeps those of three runs."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.scale
def test_medium_survey_is_calibrated_to_three_mmag_and_its_stars_are_told_apart(
    big_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the commands that anybody would type; six minutes and 8 GB of disk at full size."""
    sim, db = str(big_folder / "sim"), str(big_folder / "m.sky")
    size = ["--preset", "medium", "--detections", str(MEDIUM)]
    assert main(["simulate", sim, *size, "--without", "flats,clouds"]) == 0
    assert main(["create", db]) == 0
    assert main(["photcodes", db, "--import", f"{sim}/photcodes.dat"]) == 0
    assert main(["addstar", db, *sorted(map(str, Path(sim, "exposures").glob("*.smf")))]) == 0
    assert main(["relcal", db]) == 0
    capfd.readouterr()
    assert main(["score", db, sim, "--json"]) == 0
    score = json.loads(capfd.readouterr().out)
    exposures, found = score["zero_points"]["exposures"], score["association"]
    print(json.dumps({"exposures": exposures, "association": found}, indent=1))
    assert exposures["rms_mmag"] <= 3.0
    assert found["missing"] == 0
    assert found["fraction_right"] > 0.995
    assert found["merges"] < 4e-4 * found["n_stars"]
    assert found["splits"] < 2e-3 * found["n_stars"]
