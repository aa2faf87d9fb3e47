"""What a run needs, as a list of tasks: made from the collected cases, divided, worked, and estimated."""
