"""Scores on examples small enough to be counted by hand."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skydb.errors import DataError
from skydb.tools.score import read_detection_truth, score_association, score_zero_points


def truth_of_images(values, *, band=None, component=None):
    size = len(values)
    return pa.table({
        "name": [f"e{k}" for k in range(size)], "band": band or ["g"] * size, "component": component or ["a"] * size,
        "zero_point_true": pa.array(values, pa.float64()),
    })


def images(values, **extra):
    names = [f"e{k}" for k in range(len(values))]
    return pa.table({"name": names, "zero_point": pa.array(values, pa.float64()), **extra})


def test_one_constant_per_band_and_component_is_free():
    truth = truth_of_images([24.0, 24.1, 24.2, 24.3], band=["g", "g", "r", "r"])
    score = score_zero_points(images([25.0, 25.1, 24.2, 24.3]), truth)
    assert score.rms < 1e-12
    mixed = truth_of_images([24.0, 24.1, 24.2, 24.3])
    assert score_zero_points(images([25.0, 25.1, 24.2, 24.3]), mixed).rms == pytest.approx(0.5)


def test_errors_are_estimate_minus_truth():
    score = score_zero_points(images([24.01, 23.99]), truth_of_images([24.0, 24.0]))
    assert np.allclose(score.error, [0.01, -0.01])
    assert score.worst == pytest.approx(0.01)
    assert score.by_group == {("g", "a"): pytest.approx(0.01)}


def test_images_are_joined_by_name_not_by_order():
    truth = truth_of_images([24.0, 25.0, 26.0])
    assert score_zero_points(images([24.0, 25.0, 26.0]).take([2, 0, 1]), truth).rms < 1e-12


def test_unsolved_images_are_counted_as_missing():
    score = score_zero_points(images([24.0, None, 26.0]).slice(0, 3), truth_of_images([24.0, 25.0, 26.0, 27.0]))
    assert (score.n_images, score.n_missing) == (2, 2)
    with pytest.raises(DataError, match="no image"):
        score_zero_points(images([None, None]), truth_of_images([24.0, 25.0]))


def test_pulls_and_bound_compare_errors_with_what_was_stated():
    rng = np.random.default_rng(1)
    error = 0.01 * rng.standard_normal(20_000)
    table = images(24.0 + error, mcal_err=np.full(20_000, 0.01), cr=np.full(20_000, 0.005))
    score = score_zero_points(table, truth_of_images(np.full(20_000, 24.0)), bound="cr")
    assert score.pull_width == pytest.approx(1.0, abs=0.02)
    assert abs(score.pull_mean) < 1e-9
    assert abs(score.pull_kurtosis) < 0.1
    assert score.bound_ratio == pytest.approx(2.0, abs=0.04)


def test_an_image_that_the_truth_does_not_know_is_an_error():
    with pytest.raises(DataError, match="not in the truth"):
        score_zero_points(images([24.0, 24.0, 24.0]), truth_of_images([24.0, 24.0]))


def table(rows, names):
    return pa.table({n: list(column) for n, column in zip(names, zip(*rows, strict=True), strict=True)})


def truth_of_detections(*rows):
    """Rows (image, det_id, star, flags)."""
    return table(rows, ["image", "det_id", "star_id", "flags"])


def measured(*rows):
    """Rows (image, det_id, object)."""
    return table(rows, ["image", "det_id", "object_id"])


TWO_STARS = truth_of_detections(("a", 0, 1, 0), ("b", 0, 1, 0), ("a", 1, 2, 0), ("b", 1, 2, 0))


def test_perfect_objects_score_one():
    score = score_association(measured(("b", 1, 9), ("a", 0, 5), ("b", 0, 5), ("a", 1, 9)), TWO_STARS)
    assert score.fraction_right == 1.0
    assert (score.n_objects, score.n_stars, score.merges, score.splits, score.missing) == (2, 2, 0, 0, 0)


def test_a_merge_makes_one_wrong_object():
    score = score_association(measured(("a", 0, 5), ("b", 0, 5), ("a", 1, 5), ("b", 1, 5)), TWO_STARS)
    assert (score.fraction_right, score.merges, score.splits) == (0.0, 1, 0)


def test_a_split_makes_two_wrong_objects():
    score = score_association(measured(("a", 0, 5), ("b", 0, 6), ("a", 1, 9), ("b", 1, 9)), TWO_STARS)
    assert score.fraction_right == pytest.approx(1 / 3)
    assert (score.merges, score.splits) == (0, 1)


def test_a_swapped_detection_spoils_both_objects():
    score = score_association(measured(("a", 0, 5), ("b", 0, 9), ("a", 1, 9), ("b", 1, 5)), TWO_STARS)
    assert (score.fraction_right, score.merges, score.splits) == (0.0, 2, 2)


def test_blended_and_spurious_detections_do_not_spoil_an_object():
    truth = truth_of_detections(("a", 0, 1, 0), ("b", 0, 1, 4), ("c", 0, -1, 8), ("c", 1, -1, 8), ("d", 0, 2, 4))
    score = score_association(measured(("a", 0, 5), ("b", 0, 6), ("c", 0, 5), ("c", 1, 7), ("d", 0, 8)), truth)
    assert score.fraction_right == 1.0
    assert (score.n_objects, score.spurious, score.contaminated) == (4, 1, 1)


def test_detections_without_an_object_are_missing_and_make_theirs_wrong():
    score = score_association(measured(("a", 0, 5), ("a", 1, 9), ("b", 1, 9)), TWO_STARS)
    assert (score.fraction_right, score.missing) == (0.5, 1)


def test_a_measurement_twice_or_unknown_is_an_error():
    with pytest.raises(DataError, match="twice"):
        score_association(measured(("a", 0, 5), ("a", 0, 5)), TWO_STARS)
    with pytest.raises(DataError, match="not in the truth"):
        score_association(measured(("z", 0, 5)), TWO_STARS)


def test_association_agrees_with_counting_by_hand():
    rng = np.random.default_rng(3)
    for _ in range(20):
        size = 40
        star, flags = rng.integers(0, 8, size), rng.choice([0, 0, 0, 4, 8], size)
        star = np.where(flags == 8, -1, star)
        objects = np.where(rng.random(size) < 0.8, star, rng.integers(0, 10, size))
        truth = truth_of_detections(*[("a", d, int(star[d]), int(flags[d])) for d in range(size)])
        score = score_association(measured(*[("a", d, int(objects[d])) for d in range(size)]), truth)
        clean = flags == 0
        judged = [o for o in set(objects) if (clean & (objects == o)).any()]
        right = 0
        for o in judged:
            stars = set(star[clean & (objects == o)])
            right += len(stars) == 1 and all(objects[clean & (star == next(iter(stars)))] == o)
        assert score.fraction_right == pytest.approx(right / len(judged))


def test_the_truth_of_a_survey_scores_itself(tiny):
    truth = read_detection_truth(tiny())
    star = truth.column("star_id").to_numpy()
    perfect = truth.select(["image", "det_id"]).append_column("object_id", pa.array(star))
    shuffled = perfect.take(np.random.default_rng(1).permutation(len(star)))
    score = score_association(shuffled, truth)
    assert (score.fraction_right, score.merges, score.splits, score.missing) == (1.0, 0, 0, 0)
    assert score.spurious == 1  # all spurious detections have star -1
    chips = pq.read_table(tiny() / "truth" / "chips.parquet")
    assert set(truth.column("image").to_pylist()) <= set(chips.column("name").to_pylist())
    solved = chips.select(["name", "zero_point_true"]).rename_columns(["name", "zero_point"])
    assert score_zero_points(solved, chips).rms == 0.0


def test_a_folder_without_truth_is_refused(tmp_path):
    with pytest.raises(DataError, match="no truth"):
        read_detection_truth(tmp_path)
