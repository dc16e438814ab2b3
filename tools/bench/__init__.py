"""The benchmarks: skydb and its peers side by side, on the same rows, in one run."""

from .run import BenchReport, bench

__all__ = ["BenchReport", "bench"]
