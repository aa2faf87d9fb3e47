"""Loads the plugin; nothing else."""

pytest_plugins = ["editgate.plugin", "pytester"]
