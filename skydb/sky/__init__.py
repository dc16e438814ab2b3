"""Geometry of the sky: arrays in, arrays out."""
