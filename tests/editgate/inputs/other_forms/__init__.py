"""Models that are no directory of save_pretrained: each is made into one in the store, once, and loaded from there."""
