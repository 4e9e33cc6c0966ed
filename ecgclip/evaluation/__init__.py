"""Evaluation as pure functions on tensors: embeddings and label states in, numbers out. No Lightning, no files."""

PROTOCOL = 2
"""Version of the published protocol (README). Raise it whenever a change makes figures incomparable with those before it."""
