"""What SERAC, GRACE, WISE, IKE and retrieval share: models that answer some prompts from a memory."""
