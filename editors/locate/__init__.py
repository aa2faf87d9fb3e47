"""What ROME, MEMIT and their relatives share: keys, optimized values, closed-form updates."""
