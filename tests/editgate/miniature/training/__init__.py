"""Training the miniatures."""
