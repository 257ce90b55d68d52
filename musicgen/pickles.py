"""Reading PyTorch files without running code from them: tensors, numbers, texts and containers of these."""

from __future__ import annotations

import os
import pickle
from typing import Any

import numpy as np
import torch

from musicgen.errors import CheckpointError


def read(file: str | os.PathLike[str]) -> Any:
    """What a file of `torch.save` holds, on the CPU. It may hold NumPy's scalars, as laion_clap's checkpoints do.

    Raises:
        CheckpointError: the file is missing, damaged, or needs more than data to be read.
    """
    scalar = np.float64(0).__reduce__()[0]
    # NumPy 1 wrote its scalars under the first name, NumPy 2 writes them under the second; PyTorch goes by names.
    scalars = [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar")]
    allowed: list[Any] = [*scalars, np.dtype, *{type(np.dtype(kind)) for kind in ("f4", "f8", "i8")}]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{file}: no such file") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file}: refused: this pickle needs more than tensors to load, and could run code"
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError) as error:
        raise CheckpointError(f"{file}: damaged or not a PyTorch file ({error})") from error
