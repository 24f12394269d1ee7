"""Plays the platforms that the relay speaks to, on a loopback port and with faults, for tests and for trying out."""

from trunkline.simulators.platforms import PLATFORMS
from trunkline.simulators.server import Simulator

__all__ = ["PLATFORMS", "Simulator"]
