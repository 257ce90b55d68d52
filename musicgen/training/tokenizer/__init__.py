"""Training of audio tokenisers: recipe + audio -> a folder that transformers' EncodecModel (or DacModel) loads.

    data (crops) -> encodec | dac (around quantiser) -> losses, balance -> loop (steps, checkpoints, the exported folder)

It knows nothing of language models: they meet the exported folder only.
"""
