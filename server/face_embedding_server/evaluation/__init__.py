"""Evaluation: how well embeddings tell faces apart, on pairs of which it is known."""
