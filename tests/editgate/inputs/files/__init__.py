"""Reads the files that users hand in, and says by file, place and field what is wrong with them."""
