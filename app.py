"""The Gradio app: what `make demo`, `python app.py` and a Hugging Face Space run. `python app.py --help` lists its flags."""

import os
import sys

from demo import configuration, ui
from demo.service import Service

service = Service(configuration.read(sys.argv[1:] if __name__ == "__main__" else [], os.environ))
demo = ui.build(service)

if __name__ == "__main__":
    service.warm_up()
    ui.launch(demo, service)
