# The demo in a container, for the CPU:
#     docker build -t musicgen .
#     docker run --rm -p 7860:7860 -v musicgen-models:/models -v musicgen-cache:/cache musicgen
# With a GPU, PyPI's PyTorch, which brings CUDA:
#     docker build -t musicgen --build-arg TORCH_INDEX= .
#     docker run --rm --gpus all -p 7860:7860 -v musicgen-models:/models -v musicgen-cache:/cache musicgen
# /models keeps what comes from the hub, /cache what was compiled for this processor; both must be writable for the visitor.
# Limits are environment variables: -e MUSICGEN_DEMO_MAX_DURATION=60 (docs/demo.md).
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN useradd --create-home visitor && install -d -o visitor -g visitor /models /cache
# Numba's threads; with CUDA also the compiler that Triton starts its kernels by.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 $([ -n "$TORCH_INDEX" ] || echo gcc libc6-dev) \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt -r requirements.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"}
COPY app.py LICENSE README.md ./
COPY demo demo
COPY musicgen musicgen

USER visitor
# USER: PyTorch asks for the user's name, and a number that `docker run --user` gives has none.
ENV USER=visitor GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860 HF_HOME=/models XDG_CACHE_HOME=/cache \
    TRITON_HOME=/cache PYTHONUNBUFFERED=1
VOLUME /models /cache
EXPOSE 7860
# Open without a login too.
HEALTHCHECK --start-period=60s CMD python -c "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['GRADIO_SERVER_PORT'] + '/gradio_api/app_id', timeout=5)"
CMD ["python", "app.py"]
