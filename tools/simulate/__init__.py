"""The survey simulator: exposures as psphot writes them, of a sky whose truth is kept apart."""

from .presets import PRESETS, SWITCHES
from .run import SimulationSummary, simulate

__all__ = ["PRESETS", "SWITCHES", "SimulationSummary", "simulate"]
