# The demo in a container, for the CPU:
#     docker build -t musicgen . && docker run --rm -p 7860:7860 -v musicgen-models:/models musicgen
# With a GPU, PyPI's PyTorch, which brings CUDA:
#     docker build -t musicgen --build-arg TORCH_INDEX= . && docker run --rm --gpus all -p 7860:7860 musicgen
# Limits are environment variables: -e MUSICGEN_DEMO_MAX_DURATION=60 (docs/demo.md).
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN useradd --create-home visitor && mkdir /models && chown visitor /models
# Numba's threads.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt -r requirements.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"}
COPY app.py LICENSE README.md ./
COPY demo demo
COPY musicgen musicgen

USER visitor
ENV GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860 HF_HOME=/models PYTHONUNBUFFERED=1
VOLUME /models
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/config', timeout=5)"
CMD ["python", "app.py"]
