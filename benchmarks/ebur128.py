"""Loudness and true peak measured by FFmpeg's filter ebur128, independently of pyloudnorm and of this project's
oversampling."""

import math
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph

from musicgen.audio import Audio


def measure(clip: Audio) -> tuple[float, float]:
    """(integrated loudness in LUFS, true peak in dBTP) of a clip with one or two channels."""
    layout = {1: "mono", 2: "stereo"}[clip.wave.shape[0]]
    graph = Graph()
    source = graph.add_abuffer(
        sample_rate=clip.rate, format="fltp", layout=layout, time_base=Fraction(1, clip.rate)
    )  # fmt: skip
    meter, sink = graph.add("ebur128", "peak=true:metadata=1:framelog=quiet"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(clip.wave.numpy()), format="fltp", layout=layout)
    frame.rate, frame.pts = clip.rate, 0
    source.push(frame)
    source.push(None)
    levels = {}
    while True:
        try:
            levels = dict(sink.pull().metadata)
        except av.EOFError:
            break
    return float(levels["lavfi.r128.I"]), 20 * math.log10(float(levels["lavfi.r128.true_peak"]))
