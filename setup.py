"""Which folders become which packages; all else that the build needs stands in pyproject.toml.

The repository's folders `demo`, `evaluation` and `human_study` have names that are too generic for an environment that is
shared with others: in the wheel they are musicgen_demo, musicgen_evaluation and musicgen_human_study
(musicgen/optional_packages.py).
"""

from setuptools import find_packages, setup

FOLDERS = {"musicgen": "musicgen"} | {f"musicgen_{name}": name for name in ("demo", "evaluation", "human_study")}

packages = [
    package + found.removeprefix(folder)
    for package, folder in FOLDERS.items()
    for found in find_packages(include=[folder, f"{folder}.*"])
]
setup(packages=packages, package_dir=FOLDERS)
