"""Study design and preparation: STUDY.yaml, the stimuli, and the study folder that is served."""
