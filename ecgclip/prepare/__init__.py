"""An archive on disk to a store: in parallel, going on from where it stopped, and saying what became of every file."""

from ecgclip.prepare.engine import Rejected, prepare
from ecgclip.prepare.split import SplitPlan

__all__ = ["Rejected", "SplitPlan", "prepare"]
