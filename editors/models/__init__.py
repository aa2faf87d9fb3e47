"""Access to a language model: which module is which, tokens, forward passes, covariances, gradients."""
