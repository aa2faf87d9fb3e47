"""The report: what a run found, as one page for people and as JSON for programs.

pytest's reports → ledger (cells) → record (`report.json`) → Markdown and HTML. Nothing here measures anything.
"""
