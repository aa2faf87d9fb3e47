"""Hyperparameters for a model that nobody has tried: `python -m editgate.tune MODEL --editor rome --edits FILE`."""
