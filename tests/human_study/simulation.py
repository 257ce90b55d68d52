"""Raters drawn from the CrowdMOS model, honest and careless: the truth that intervals and screening are held against.

`python -m tests.human_study.simulation` prints the confusion table of docs/human_study.md.
"""

import numpy as np

from human_study.analysis import screening, screening_rules
from human_study.analysis.ratings import Rating, StudyData


def draw(rng, workers, samples, each, mu, worker_sd, sample_sd, residual_sd):
    """Z [workers, samples]: every sample rated by `each` workers, the work spread evenly; NaN elsewhere."""
    z = mu + rng.normal(0, worker_sd, (workers, 1)) + rng.normal(0, sample_sd, (1, samples))
    z = z + rng.normal(0, residual_sd, (workers, samples))
    start = rng.permutation(workers)
    mask = np.zeros((workers, samples), bool)
    for sample in range(samples):
        mask[start[(sample * each + np.arange(each)) % workers], sample] = True
    return np.where(mask, z, np.nan)


def study(rng, honest=40, careless=8, items=30, pages=15, mus=None, residual_sd=14, worker_sd=5, sample_sd=7):
    """(StudyData, names of the careless raters). Honest raters hear differences and find the hidden reference; a third of the
    careless click at random, a third leave all sliders near 50, a third invert the scale."""
    mus = mus or {"good": 75, "fair": 60, "anchor 3500 Hz": 30, "anchor 7000 Hz": 55, "reference": 95}
    # Recordings are alike in quality, systems are not.
    spreads = {system: 2 if system == "reference" else sample_sd for system in mus}
    truth = {(system, item): mu + rng.normal(0, spreads[system]) for system, mu in mus.items() for item in range(items)}
    out, bad = [], []
    for number in range(honest + careless):
        name = f"r{number:03d}"
        kind = (number - honest) % 3 if number >= honest else None
        if kind is not None:
            bad.append(name)
        bias = rng.normal(0, worker_sd)
        for item in rng.choice(items, pages, replace=False):
            for system in mus:
                role = "reference" if system == "reference" else "anchor" if system.startswith("anchor") else "system"
                spread = 4 if system == "reference" else residual_sd
                mean = truth[system, item] + (0 if system == "reference" else bias)
                value = rng.normal(mean, spread)
                if kind == 0:
                    value = rng.uniform(1, 100)
                elif kind == 1:
                    value = rng.normal(50, 3)
                elif kind == 2:
                    value = 100 - value
                value = float(np.clip(round(value), 1, 100))
                out.append(Rating(name, "OVL", f"i{item}", system, role, value, 1.0, 30.0))
    return StudyData(tuple(out)), bad


def confusion(protocol, studies, seed, **design):
    """(careless found, careless, honest lost, honest) over simulated studies."""
    rng = np.random.default_rng(seed)
    found = planted = lost = honest = 0
    for _ in range(studies):
        data, bad = study(rng, **design)
        out = {e.rater for e in screening.screen(data, protocol).exclusions if e.rating is None}
        found, planted = found + len(out & set(bad)), planted + len(bad)
        lost, honest = lost + len(out - set(bad)), honest + len(data.raters) - len(bad)
    return found, planted, lost, honest


def main():
    """The confusion table, for each step alone and for the default protocol."""
    alone = [{"step": "hidden_reference", "mode": mode} for mode in screening_rules.REFERENCE_MODES]
    names = ("crowdmos_correlation", "crowdmos_strict", "crowdmos_outliers", "bs1534_reference", "bs1534_anchor")
    protocols = [None, *([step] for step in alone), *([{"step": name}] for name in names)]
    for protocol in protocols:
        name = "default protocol" if protocol is None else " ".join(protocol[0].values())
        cells = [name]
        for residual in (14, 20):
            found, planted, lost, honest = confusion(protocol, 100, seed=11, residual_sd=residual)
            cells += [f"{found} of {planted}", f"{lost} of {honest}"]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
