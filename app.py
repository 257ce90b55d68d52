"""The Gradio app: what `make demo`, `python app.py` and a Hugging Face Space run."""

from demo import ui
from demo.service import Service

service = Service()
demo = ui.build(service)

if __name__ == "__main__":
    ui.launch(demo)
