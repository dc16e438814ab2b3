"""Calibration: selections, solvers, reports."""
