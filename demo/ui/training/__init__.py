"""The section of the page in which visitors train LoRA adapters, if the operator allows it (`service.trainings`).

panel.py   its components          events.py   their event handlers          status.py   progress and loss curve of a training
"""
