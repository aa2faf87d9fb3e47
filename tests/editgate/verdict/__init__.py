"""From two lists of items to a verdict, and from a verdict to a cell."""
