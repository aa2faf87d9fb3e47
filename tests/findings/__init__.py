"""The five questions of "Should We Really Edit Language Models?" (Li et al., NeurIPS 2024), asked of a model family.

A method's *sweep* over a model is what is left of each benchmark after N edits, in several orders of the edits; the
orders are what confidence intervals rest on. `claims` hold sweeps against what the paper says.
"""
