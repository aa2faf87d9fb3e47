"""Works the list of tasks on a Ray cluster; nothing here is imported without `--ray`."""
