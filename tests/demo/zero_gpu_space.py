"""app.py as on a ZeroGPU Space, with the real `spaces` package, on a machine without a GPU: run by test_zero_gpu.py.

`spaces` itself keeps the weights that were put on "cuda" in a file, asks for a GPU over HTTP and forks. Only the two steps of
the fork that need a GPU's driver are other ones here: nothing is initialised, and the weights go from the file to the CPU.
"""

import mmap
import sys
from pathlib import Path

import torch

import demo.__main__
from demo.gradio_folders import GradioFolders
from musicgen.serving import private_folder


def move(callback=None) -> None:  # noqa: ARG001 (called so)
    """As `spaces.zero.torch.packing.pack_to_cuda`, which reads tensor after tensor, each at the start of a page."""
    from spaces.zero.torch import patching

    for pack in patching.tensor_packs:
        with Path(pack.path()).open("rb") as file:
            content = torch.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), dtype=torch.uint8)
        offset = 0
        for tensor, size, aligned in [*(one for batch in pack.batches for one in batch), *pack.big_tensors]:
            flat = content[offset : offset + size].clone().view(tensor.dtype)
            for fake in pack.fakes[tensor]:
                fake.data = flat.as_strided(tensor.shape, tensor.stride())
            offset += aligned


def main() -> int:
    # Before Gradio is imported, which `spaces` imports: the service does the same.
    folder = private_folder.create()
    GradioFolders(Path(folder.name))
    import spaces.zero.torch

    spaces.zero.torch.init = lambda uuid: None  # noqa: ARG005
    spaces.zero.torch.move = move
    return demo.__main__.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
