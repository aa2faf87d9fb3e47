"""The report: what a run found, as one page for people and as JSON for programs.

pytest's reports → `collector` (cells) → `run_report` (`report.json`) → Markdown and HTML. The terminal's tables, the
Markdown and the page show the same cells with the same marks: `presentation`. Nothing here measures anything.
"""
