"""What a run is about: the options, their profiles, the checked settings."""
