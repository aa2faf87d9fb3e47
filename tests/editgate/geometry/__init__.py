"""How large an edit is, beside its matrix and that matrix's inputs: `python -m editgate.geometry`.

A locate-then-edit method hides its change where the model's own keys are few. How much room there is (the spectrum of
the second moment of the keys) and how much of it one edit takes decide whether damage on a small model is of the kind
that large models suffer.
"""
