"""Running a model: tokenized requests in, log-likelihoods and generations out."""
