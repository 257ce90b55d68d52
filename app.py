"""The Gradio app: what `make demo`, `python app.py` and a Hugging Face Space run. `python app.py --help` lists its flags."""

import os
import signal
import sys

from demo import configuration, ui
from demo.service import Service

service = Service(configuration.read(sys.argv[1:] if __name__ == "__main__" else [], os.environ))
demo = ui.build(service)

if __name__ == "__main__":
    # The first process of a container ignores what it has no handler for.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The page answers first; PyTorch and the model, which take longer, are loaded behind it.
    ui.launch(demo, service, prevent_thread_lock=True)
    warming = service.warm_up()
    demo.block_thread()  # until it is interrupted
    warming.join(20)  # libraries that are being loaded do not survive the end of the process
    service.close()
