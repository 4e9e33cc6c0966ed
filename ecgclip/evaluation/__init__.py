"""Evaluation as pure functions on tensors: embeddings and label states in, numbers out. No Lightning, no files."""
