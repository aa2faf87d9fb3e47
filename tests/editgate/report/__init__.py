"""The report: what a run found, as one page for people and as JSON for programs.

pytest's reports → `collector` (cells) → `conclusion` (how the run ended) → `run_report` (`report.json`) → terminal,
Markdown, annotations, JUnit and page. All begin with the conclusion, then safety, and show the same cells with the
same words: `presentation`. Nothing here measures anything.
"""
