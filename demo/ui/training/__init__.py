"""The page's section in which visitors train LoRA adapters, where the operator allows it (`service.trainings`).

panel.py   its components          events.py   their handlers          status.py   how far a training is, with its curve
"""
