"""What every method shares: the contract, edits, hyperparameters, weights that can be undone, the registry."""
