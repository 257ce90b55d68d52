"""LoRA adapters that visitors train on their own clips, where the operator allows it. It depends neither on Gradio nor, in the
page's process, on PyTorch.

    request.py     what to train on what, checked          captions.py   texts from file names, measured tempo and key
    run.py         a training: its folder, and its state   recipe.py     the recipe of `musicgen.training.lm` for it
    trainings.py   the job queue of trainings              process.py    starts, follows and ends the process of a training
    worker.py      what runs in that process               messages.py   what the two tell each other
"""
