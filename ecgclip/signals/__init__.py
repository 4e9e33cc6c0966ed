"""One record: reading, leads, resampling, augmentation, plotting. Light to import: torch only in the modules that need it."""

from ecgclip.signals.leads import LEADS
from ecgclip.signals.readers import read_record
from ecgclip.signals.record import Record

__all__ = ["LEADS", "Record", "read_record"]
