"""What a terminal shows at the end of a run: at most 60 lines that hold the answer, details on demand before them."""
