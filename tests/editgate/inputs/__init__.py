"""What a run reads: models, editors, edits, benchmarks and their documents."""
