"""The label catalogue: what an ECG can be found to have, in Japanese, and what the state of a label in a record may be."""

from ecgclip.labels.catalogue import NEGATIVE, POSITIVE, UNKNOWN, Catalogue, Label

__all__ = ["NEGATIVE", "POSITIVE", "UNKNOWN", "Catalogue", "Label"]
