"""Contrastive learning between 12-lead ECGs and Japanese diagnostic text."""

__version__ = "0.1.0"
