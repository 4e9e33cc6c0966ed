"""Lightning callbacks: evaluation during and after training, timing."""

from ecgclip.callbacks.averaging import AveragedWeights
from ecgclip.callbacks.few_shot import FewShotEvaluation
from ecgclip.callbacks.timing import Timing
from ecgclip.callbacks.zero_shot import ZeroShotEvaluation

__all__ = ["AveragedWeights", "FewShotEvaluation", "Timing", "ZeroShotEvaluation"]
