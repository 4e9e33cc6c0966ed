"""LightningDataModules: ECGs with Japanese text."""

from data_modules.archive import ArchiveDataModule
from data_modules.base import ECGDataModule
from data_modules.ptbxl import PTBXLDataModule
from data_modules.public import PublicDataModule
from data_modules.simulated import SimulatedDataModule

__all__ = ["ArchiveDataModule", "ECGDataModule", "PTBXLDataModule", "PublicDataModule", "SimulatedDataModule"]
