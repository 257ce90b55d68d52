"""The Gradio app: what `make demo`, `python app.py` and a Hugging Face Space run. `python app.py --help` lists its flags."""

import sys

from demo.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
