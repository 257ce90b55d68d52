"""Training of LoRA adapters by visitors on their own clips, if the operator allows it. The package does not depend on Gradio,
nor, in the page's process, on PyTorch.

    request.py     a training request and its validation   captions.py   texts from file names, estimated tempo and key
    run.py         a training: its folder, and its state   recipe.py     the recipe of `musicgen.training.lm` for it
    trainings.py   the job queue of trainings              process.py    starts, follows and ends the process of a training
    worker.py      the code of that process                messages.py   messages between the two processes
"""
