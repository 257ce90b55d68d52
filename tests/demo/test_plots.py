"""Plots of audio and of melodies."""

import numpy as np

from demo import plots


def test_plots_show_the_audio() -> None:
    t = np.arange(64_000) / 32_000
    tone = np.stack([0.5 * np.sin(2 * np.pi * 1000 * t), np.zeros_like(t)]).astype(np.float32)
    wave = np.asarray(plots.waveform(tone, 32_000))[..., 3]
    half = plots.HEIGHT // 2
    assert wave[:half].sum() > 10 * wave[half:].sum()
    seen = np.asarray(plots.spectrogram(tone, 32_000))[..., 3].sum(axis=1)
    expected = plots.HEIGHT * (1 - np.log(1000 / 30) / np.log(16_000 / 30))
    assert abs(int(seen.argmax()) - expected) < 4
    grid = np.asarray(plots.chromagram([0, 11]))[..., 3]
    assert grid[-4, 5] > 0  # C at the bottom, first
    assert grid[4, plots.WIDTH - 5] > 0  # B at the top, last
    assert grid[4, 5] == 0
    over = np.asarray(plots.chroma_comparison([0, 11], [0, 5, 0, 11]))
    middle, edge = slice(4, None, 8), slice(0, None, 8)  # of the rows, B first
    columns = over[:, plots.WIDTH // 8 :: plots.WIDTH // 4]  # the middle of each frame
    bars = (columns[middle] == (*plots.ACCENT, 255)).all(axis=-1)
    assert [11 - int(column.argmax()) for column in bars.T] == [0, 5, 0, 11]
    assert (bars.sum(axis=0) == 1).all()
    cells = (columns[edge] == plots.REFERENCE_COLOR).all(axis=-1)
    assert [11 - int(column.argmax()) for column in cells.T] == [0, 11, 0, 11]  # the shorter one repeats
    for samples in (np.zeros((1, 10), np.float32), np.zeros((2, 3), np.float32)):
        plots.waveform(samples, 32_000)
        plots.spectrogram(samples, 32_000)
    assert plots.data_url(plots.chromagram([3])).startswith("data:image/png;base64,")
