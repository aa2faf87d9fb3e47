"""An example of a method of one's own under editgate."""
