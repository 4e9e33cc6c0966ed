"""``ecgclip benchmark``: recipes by seeds on PTB-XL within one budget, as one table."""

from ecgclip.benchmark.command import benchmark

__all__ = ["benchmark"]
