"""Data releases: a snapshot written for others, so far as a HATS collection that LSDB opens."""

from .collection import ReleaseReport, release

__all__ = ["ReleaseReport", "release"]
