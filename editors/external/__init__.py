"""External methods (other packages' classes and functions) behind the `Editor` interface."""
