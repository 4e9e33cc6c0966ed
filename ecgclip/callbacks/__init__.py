"""Lightning callbacks: evaluation during and after training, timing."""

from ecgclip.callbacks.few_shot import FewShotEvaluation
from ecgclip.callbacks.timing import Timing
from ecgclip.callbacks.zero_shot import ZeroShotEvaluation

__all__ = ["FewShotEvaluation", "Timing", "ZeroShotEvaluation"]
