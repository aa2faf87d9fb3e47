"""How a run of pytest goes: what is selected and in which order, progress, signals, errors and recorded baselines."""
