"""Training of audio tokenisers: recipe + audio -> a folder that transformers' EncodecModel (or DacModel) loads.

    data (crops) -> encodec | dac, quantiser -> losses, loss_balancer -> train_step -> trainer (validation, checkpoints, export)

Language models use the exported folder only.
"""
