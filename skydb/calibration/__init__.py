"""Calibration as data: the models, and how they are applied."""
