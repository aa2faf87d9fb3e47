"""The report as data: the flipped items, tables as CSV and LaTeX, and the schemas of both JSON files."""
