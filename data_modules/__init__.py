"""LightningDataModules: ECGs with Japanese text."""

from data_modules.base import ECGDataModule
from data_modules.ptbxl import PTBXLDataModule
from data_modules.simulated import SimulatedDataModule

__all__ = ["ECGDataModule", "PTBXLDataModule", "SimulatedDataModule"]
