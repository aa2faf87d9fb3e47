"""Parts that several editors share: tokens, anatomy, cached passes, the value search, solves, state."""
