"""The paper's experiments at small scale on the synthetic corpus. Each has a plan with rows (models to train) and claims."""
