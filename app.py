"""The Gradio app: what `make demo`, `python app.py` and a Hugging Face Space run. `python app.py --help` lists its flags."""

import os
import sys

from demo import configuration
from demo.__main__ import build, main

if __name__ == "__main__":
    sys.exit(main())

demo, _ = build(configuration.read([], os.environ))  # for Gradio's own reloader, which imports it
