"""Scores of a database against the truth of a simulated survey: zero points and association.

Inputs are Arrow tables and arrays, so that the same functions serve databases, benchmarks and tests. The truth
tables are those that `skydb.tools.simulate` writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from skydb.errors import DataError

BLEND, SPURIOUS = 4, 8
"""Bits of `flags` in the truth of detections."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ZeroPointScore:
    """How well zero points were solved; mag, one constant per band and component removed.

    `rms` is of error = estimate - truth; `bound_ratio` is `rms` over the rms of the Cramer-Rao bounds, NaN where
    none were given; pulls are error over stated error, NaN where none were stated: `pull_width` is their standard
    deviation, `pull_kurtosis` the excess over a Gaussian's. `by_group` has the rms of every (band, component),
    `removed` the constant that was taken from its errors.
    """

    n_images: int
    n_missing: int
    rms: float
    worst: float
    bound_ratio: float
    pull_mean: float
    pull_width: float
    pull_kurtosis: float
    by_group: dict[tuple[str, str], float]
    removed: dict[tuple[str, str], float]
    error: Array


@dataclass(frozen=True)
class AssociationScore:
    """How well detections were joined into objects.

    An object is right if its unblended detections are of exactly one star and are all of that star's.
    `fraction_right` is of the objects that hold any unblended detection of a star; `merges` are objects of several
    stars, `splits` stars in several objects, `spurious` objects of nothing but spurious detections,
    `contaminated` right ones that hold some, `missing` unblended detections of the truth that have no object.
    """

    n_objects: int
    n_stars: int
    fraction_right: float
    merges: int
    splits: int
    spurious: int
    contaminated: int
    missing: int


def score_zero_points(
    images: pa.Table,
    truth: pa.Table,
    *,
    value: str = "zero_point",
    true_value: str = "zero_point_true",
    bound: str | None = None,
) -> ZeroPointScore:
    """Compare solved zero points with the true ones.

    Parameters
    ----------
    images : columns `name` and `value`; also `bound`, and `mcal_err` (mag) for the pulls where there is one
        One row per image; rows with a NULL value are not solved, and count as missing.
    truth : the truth table `chips`: columns `name`, `band`, `component`, `true_value`
    value, true_value : names of the columns to compare
    bound : name of the column of `images` with each image's Cramer-Rao error, mag

    Raises
    ------
    DataError
        An image is not in the truth, or no image is solved.
    """
    row = _rows_in_truth(images, truth, ("name",))
    estimate = _floats(images, value)
    solved = np.isfinite(estimate)
    if not solved.any():
        raise DataError("no image has a zero point", value, "run relcal first")
    row = row[solved]
    band, component = (np.asarray(truth.column(n).to_pylist(), dtype=object)[row] for n in ("band", "component"))
    groups, group = np.unique([f"{b}\0{c}" for b, c in zip(band, component, strict=True)], return_inverse=True)
    error = estimate[solved] - _floats(truth, true_value)[row]
    constant = _group_means(error, group)
    error = error - constant[group]
    stated = _floats(images, "mcal_err")[solved] if "mcal_err" in images.column_names else np.full(error.size, np.nan)
    limits = _floats(images, bound)[solved] if bound else np.full(error.size, np.nan)
    names = [(name.split("\0")[0], name.split("\0")[1]) for name in groups]
    return ZeroPointScore(
        error.size, truth.num_rows - error.size, _rms(error), float(np.abs(error).max()), _rms(error) / _rms(limits),
        *_pull_moments(error, stated), {name: _rms(error[group == k]) for k, name in enumerate(names)},
        dict(zip(names, constant.tolist(), strict=True)), error,
    )


def score_association(measurements: pa.Table, truth: pa.Table) -> AssociationScore:
    """Compare a database's objects with the true stars.

    Parameters
    ----------
    measurements : columns `image` (the images' `name`), `det_id`, `object_id`
    truth : columns `image`, `det_id`, `star_id`, `flags`, as `read_detection_truth` gives them

    Raises
    ------
    DataError
        A measurement is not in the truth, or is there twice.
    """
    row = _rows_in_truth(measurements, truth, ("image", "det_id"))
    flags = truth.column("flags").to_numpy()
    clean = (flags & (SPURIOUS | BLEND)) == 0
    star = truth.column("star_id").to_numpy()
    stars, times = np.unique(star[clean], return_counts=True)
    tally = AssociationTally(times)
    tally.add(measurements.column("object_id").to_numpy(), np.searchsorted(stars, star[row]), flags[row])
    return tally.score()


class AssociationTally:
    """The association score of a database that is looked at part by part; no object may lie in two parts."""

    def __init__(self, times: NDArray[np.int64]) -> None:
        """Begin with the number of unblended detections of every star, (S,)."""
        self._times = times
        self._objects_of_star = np.zeros(times.size, dtype=np.int32)
        self._sums = dict.fromkeys(("objects", "judged", "right", "merges", "spurious", "contaminated", "clean"), 0)

    def add(self, object_id: NDArray[np.int64], star: NDArray[np.int64], flags: NDArray[np.int32]) -> None:
        """Count some objects.

        Parameters
        ----------
        object_id : (N,)
            The object of every measurement.
        star : (N,)
            Its true star, a row of `times`; any number where `flags` say that it is blended or spurious.
        flags : (N,)
            Its flags in the truth.
        """
        objects, at = np.unique(object_id, return_inverse=True)
        real, clean = (flags & SPURIOUS) == 0, (flags & (SPURIOUS | BLEND)) == 0
        pair_object, pair_star, count = _counted_pairs(at[clean], star[clean])
        stars_of_object = np.bincount(pair_object, minlength=objects.size)
        right = pair_object[(count == self._times[pair_star]) & (stars_of_object[pair_object] == 1)]
        real_in, spurious_in = (np.bincount(at[which], minlength=objects.size) for which in (real, ~real))
        np.add.at(self._objects_of_star, pair_star, 1)
        counted = {
            "objects": objects.size, "judged": (stars_of_object > 0).sum(), "right": right.size,
            "merges": (stars_of_object > 1).sum(), "spurious": (real_in == 0).sum(),
            "contaminated": (spurious_in[right] > 0).sum(), "clean": clean.sum(),
        }
        self._sums = {name: total + int(counted[name]) for name, total in self._sums.items()}

    def score(self) -> AssociationScore:
        """Return the score of all that was added."""
        n = self._sums
        return AssociationScore(
            n["objects"], int((self._times > 0).sum()), n["right"] / n["judged"] if n["judged"] else float("nan"),
            merges=n["merges"], splits=int((self._objects_of_star > 1).sum()), spurious=n["spurious"],
            contaminated=n["contaminated"], missing=int(self._times.sum()) - n["clean"],
        )


def read_detection_truth(survey: str | Path) -> pa.Table:
    """Read the truth of all detections of a simulated survey, for `score_association`.

    Parameters
    ----------
    survey : the folder that `simulate` wrote

    Returns
    -------
    truth : `image` (as the database names it), `det_id`, `star_id`, `blend_id`, `mag_true`, `flags`
    """
    files = sorted((Path(survey) / "truth" / "detections").glob("*.parquet"))
    if not files:
        raise DataError("no truth of detections", str(survey), "give the folder that skydb simulate wrote")
    return pa.concat_tables([_named_images(path.stem, pq.read_table(path)) for path in files]).unify_dictionaries()


def _named_images(exposure: str, rows: pa.Table) -> pa.Table:
    """Replace the columns `exposure` and `chip` by `image`."""
    chip = rows.column("chip").combine_chunks().dictionary_encode()
    names = [f"{exposure}.smf[{name}.hdr]" for name in chip.dictionary.to_pylist()]
    image = pa.DictionaryArray.from_arrays(chip.indices.cast(pa.int32()), pa.array(names, pa.string()))
    return rows.drop_columns(["exposure", "chip"]).add_column(0, "image", image)


def _rows_in_truth(rows: pa.Table, truth: pa.Table, keys: Sequence[str]) -> NDArray[np.int64]:
    """The row of the truth that each row is about; `keys` are a name and perhaps a number."""
    numbers: dict[str, int] = {}
    known, asked = (_keys(table, keys, numbers) for table in (truth, rows))
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known[order], asked), max(known.size - 1, 0))
    lost = np.flatnonzero(known[order][place] != asked) if known.size else np.arange(asked.size)
    if lost.size:
        example = rows.select(list(keys)).slice(int(lost[0]), 1).to_pylist()[0]
        raise DataError(f"{lost.size} rows are not in the truth", str(example), "give the truth of the same survey")
    if np.unique(asked).size != asked.size or np.unique(known).size != known.size:
        raise DataError("a key occurs twice", ", ".join(keys), "give every measurement and image once")
    return np.asarray(order[place], dtype=np.int64)


def _keys(table: pa.Table, keys: Sequence[str], numbers: dict[str, int]) -> NDArray[np.int64]:
    """One integer per row: the number of its name in `numbers`, which grows, and of its second key below that."""
    name = table.column(keys[0]).unify_dictionaries().combine_chunks()
    encoded = name if pa.types.is_dictionary(name.type) else name.dictionary_encode()
    number = np.array([numbers.setdefault(n, len(numbers)) for n in encoded.dictionary.to_pylist()], dtype=np.int64)
    first = number[encoded.indices.to_numpy(zero_copy_only=False)]
    if len(keys) == 1:
        return np.asarray(first, dtype=np.int64)
    return np.asarray((first << 32) + table.column(keys[1]).to_numpy(), dtype=np.int64)


def _counted_pairs(first: NDArray[Any], second: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Distinct pairs, and how often each occurs."""
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    new = np.flatnonzero(np.r_[True, (np.diff(first) != 0) | (np.diff(second) != 0)][: first.size])
    return first[new], second[new], np.diff(np.r_[new, first.size])


def _floats(table: pa.Table, name: str) -> Array:
    """A column as float64, NULL as NaN."""
    return np.asarray(table.column(name).cast(pa.float64()).to_numpy(), dtype=np.float64)


def _group_means(value: Array, group: NDArray[np.int64]) -> Array:
    return np.asarray(np.bincount(group, weights=value) / np.bincount(group))


def _rms(value: Array) -> float:
    return float(np.sqrt(np.mean(value**2)))


def _pull_moments(error: Array, stated: Array) -> tuple[float, float, float]:
    """Mean, standard deviation and excess kurtosis of error / stated error."""
    known = np.isfinite(stated) & (stated > 0.0)
    if not known.any():
        return float("nan"), float("nan"), float("nan")
    pull = error[known] / stated[known]
    centred = pull - pull.mean()
    variance = float(np.mean(centred**2))
    kurtosis = float(np.mean(centred**4)) / variance**2 - 3.0 if variance > 0.0 else float("nan")
    return float(pull.mean()), variance**0.5, kurtosis
