"""From a model under test to numbers: trajectories, items, edit quality, integrity."""
