"""What was computed is kept, and under which key."""
