"""The paper's findings, rerun on the composed corpus: each a file of rows and claims, each number traceable to its run."""
