"""Any task of lm-eval as a benchmark: found by name, group or file, taken apart, and judged by one metric."""
