"""What the simulator is worth: its speed, whether every label shows what its textbook says, and how near it comes to real ECGs."""

from ecgclip.benchmark.simulator.command import bench_sim

__all__ = ["bench_sim"]
