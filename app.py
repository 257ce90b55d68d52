"""The Gradio app: what `make demo`, `python app.py` and a Hugging Face Space run. `python app.py --help` lists its flags."""

import os
import sys

from demo import start

if __name__ == "__main__":
    sys.exit(start.main(sys.argv[1:], os.environ))
