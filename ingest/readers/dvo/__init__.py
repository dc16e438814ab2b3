"""A DVO database: its image, measurement, photcode and region tables, read as one input.

Facts of the layouts: libautocode's definitions (def/*-ps1-v6.d) and its generator in ps-ipp/ipp-trunk-20250502. It
writes no TZERO: unsigned numbers are raw bits. Integers that mean NaN are the largest of their type.
"""
