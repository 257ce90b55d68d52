"""The paper's experiments, reproduced at small scale on the synthetic corpus: a plan for each, with rows and claims."""
