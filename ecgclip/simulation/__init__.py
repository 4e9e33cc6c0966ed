"""12-lead ECGs for every label of the catalogue ``ja98``, without a patient."""

from ecgclip.simulation.label_sets import draw_label_sets, left_open
from ecgclip.simulation.synthesis import simulate, simulate_blocks
from ecgclip.simulation.traits import DRAWABLE

__all__ = ["DRAWABLE", "draw_label_sets", "left_open", "simulate", "simulate_blocks"]
