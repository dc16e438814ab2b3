"""Compiled loops over arrays that several folders share."""
