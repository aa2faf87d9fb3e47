"""Somebody else's method behind the same contract."""
