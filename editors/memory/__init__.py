"""What SERAC, GRACE and IKE share: models that answer some prompts from a memory."""
