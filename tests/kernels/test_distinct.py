import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from skydb.kernels.distinct import distinct, is_among

NUMBERS = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5)).map(lambda v: np.array(v, dtype=np.int64))


@settings(deadline=None)
@given(NUMBERS, NUMBERS)
def test_sets_are_those_of_python(values, others):
    assert distinct(values).tolist() == sorted(set(values.tolist()))
    assert is_among(values, distinct(others)).tolist() == [v in set(others.tolist()) for v in values.tolist()]
    assert distinct(values).dtype == np.int64
