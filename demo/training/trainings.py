"""The trainings of all visitors: one at a time, in the order of submission, within the limits of visitors and networks."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import threading
import time
import zipfile
from collections import OrderedDict
from pathlib import Path

from musicgen import extras
from musicgen.checkpoint.adapter_folders import CONFIG
from musicgen.errors import InputError, MusicGenError
from musicgen.file_names import words
from musicgen.folders import name_text
from musicgen.serving.adapters import AdapterCatalog
from musicgen.serving.clip_store import ClipStore
from musicgen.serving.job_queue import Job, JobQueue
from musicgen.serving.limits import Limits
from musicgen.serving.models import ModelCatalog

from .. import zero_gpu
from ..configuration import TrainingLimits
from . import captions, process, recipe
from .messages import Curve
from .request import TrainingClip, TrainingRequest, validate
from .run import Run, Snapshot, State

log = logging.getLogger(__name__)

PACKAGES = ("accelerate", "dadaptation", "fsspec", "peft", "tensorboard", "webdataset")
"""Of the extra `training`."""
MAX_VISITORS = 10_000
"""Whose trainings are known. The oldest are forgotten first."""
MAX_RUNS = 5
"""Of one visitor."""

TrainingJob = Job[Run, Snapshot]


class Trainings:
    """Trains adapters.

    Args:
        limits: of the page.
        training: of trainings.
        catalog: the models; its adapters get those that are trained.
        store: holds the uploads, and the folders of trainings, which expire as clips do.
        device: a PyTorch device, or "auto".
        kept: a folder of the operator that gets a copy of every adapter; None for none.

    Raises:
        InputError: where this machine cannot train.
    """

    def __init__(
        self,
        limits: Limits,
        training: TrainingLimits,
        catalog: ModelCatalog,
        store: ClipStore,
        device: str,
        kept: Path | None = None,
    ) -> None:
        missing = [name for name in PACKAGES if not extras.is_installed(name)]
        if missing:
            raise InputError(
                f'the training of adapters needs {missing[0]}, which is not installed: pip install "musicgen[training]"'
            )
        if zero_gpu.is_active():
            raise InputError(
                "adapters cannot be trained on ZeroGPU, whose GPU is there for single clips alone: choose other hardware, or "
                "do not allow it"
            )
        self.limits, self.training, self._catalog, self._store, self.kept = limits, training, catalog, store, kept
        self._device = "cpu" if device == "cpu" else "auto"
        self.job_queue: JobQueue[Run, Snapshot] = JobQueue(
            self._run_job,
            workers=1,
            max_waiting=training.queue,
            max_per_visitor=1,
            max_per_address=training.per_address,
            thing="training",
        )
        self._runs: OrderedDict[str, tuple[Run, ...]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def _adapters(self) -> AdapterCatalog:
        return self._catalog.adapters

    def propose(self, clips: list[tuple[Path, str]]) -> list[str]:
        """Captions for clips, whose tempo and key are measured.

        Args:
            clips: (file, name) of each.

        Raises:
            InputError: for too many clips, one that cannot be read, and too much sound.
        """
        self._check_number(len(clips))
        proposals, left = [], self.training.audio_seconds
        for file, name in clips:
            proposal = captions.propose(file, name, left)
            left -= proposal.seconds
            proposals.append(proposal.caption)
        return proposals

    def submit(self, visitor: str, request: TrainingRequest, network: str = "") -> TrainingJob:
        """Append a training to the queue.

        Args:
            visitor: the token of the page's visit.
            request: what to train on what.
            network: the visitor's, of `networks.network_of`; "" is not limited.

        Raises:
            InputError: for an invalid request, a clip that cannot be read, too much sound, and a disk without space.
            QueueFull: when the queue is full, or the visitor or the network has reached a limit.
        """
        self._check_number(len(request.clips))
        validate(request, self.training, self._catalog, self.limits.max_prompt)
        longest = self._check_sound(request.clips)
        self._store.check_space(network)
        run = Run(visitor, network, self._store.new_folder(network), request, longest)
        run.write_music()
        try:
            job = self.job_queue.submit(visitor, run, network)
        except MusicGenError:
            shutil.rmtree(run.folder, ignore_errors=True)
            raise
        self._add(run)
        return job

    def go_on(self, visitor: str, network: str = "") -> TrainingJob:
        """Append the visitor's newest training to the queue again, which goes on from its last checkpoint.

        Raises:
            InputError: there is none that could go on.
            QueueFull: as `submit`.
        """
        run = self.newest(visitor)
        if run is None or not run.snapshot.can_go_on:
            raise InputError("there is no training that could go on: start one")
        if run.seconds >= self._seconds:
            raise InputError(f"the training has used up the {self.training.minutes:g} minutes that it may take")
        if not run.output.is_dir() and not run.music.is_file():
            raise InputError("the training has expired on the server: start it again")
        run.network = network
        job = self.job_queue.submit(visitor, run, network)
        run.snapshot = dataclasses.replace(run.snapshot, state=State.WAITING, message="")
        return job

    def stop(self, visitor: str) -> int:
        """Stop a visitor's training after its next step; what it has learned is kept.

        Returns:
            The number of trainings.
        """
        jobs = self.job_queue.jobs_of(visitor)
        for job in jobs:
            job.stop()
        return len(jobs)

    def newest(self, visitor: str) -> Run | None:
        """The newest training of a visitor that has not expired, None without one."""
        with self._lock:
            runs = [run for run in self._runs.get(visitor, ()) if run.folder.is_dir()]
        return runs[-1] if runs else None

    def pack(self, visitor: str) -> Path:
        """The newest adapter of a visitor as a ZIP of PEFT's files.

        Raises:
            InputError: there is none.
        """
        run = self.newest(visitor)
        folder = None if run is None else run.adapters / run.snapshot.adapter
        if run is None or not run.snapshot.adapter or folder is None or not folder.is_dir():
            raise InputError("there is no adapter yet: train one")
        file = self._store.new_path(f"{run.snapshot.adapter}.zip", run.network)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.iterdir()):
                archive.write(path, f"{folder.name}/{path.name}")
        file.chmod(0o600)
        return file

    def close(self) -> None:
        """End all trainings."""
        self.job_queue.close()

    @property
    def _seconds(self) -> float:
        return 60 * self.training.minutes

    def _check_number(self, count: int) -> None:
        if count > self.training.clips:
            raise InputError(f"{count} clips to train on: {self.training.clips} at most")

    def _check_sound(self, clips: tuple[TrainingClip, ...]) -> float:
        """Read all clips to their ends: what cannot be trained on is said before the visitor waits for it.

        Returns:
            Seconds of the longest.
        """
        from musicgen import audio

        left, longest = self.training.audio_seconds, 0.0
        for clip in clips:
            try:
                seconds = audio.measure(clip.file, left).duration
            except InputError as error:
                reason = str(error).replace(str(clip.file), clip.name)
                if left < self.training.audio_seconds and "longer than" in reason:
                    reason = f"the clips are longer than {self.training.audio_seconds:g} s together: leave some out"
                raise InputError(reason) from error
            left, longest = left - seconds, max(longest, seconds)
        return longest

    def _add(self, run: Run) -> None:
        with self._lock:
            self._runs[run.owner] = (*self._runs.get(run.owner, ()), run)[-MAX_RUNS:]
            self._runs.move_to_end(run.owner)
            while len(self._runs) > MAX_VISITORS:
                self._runs.popitem(last=False)

    def _run_job(self, job: TrainingJob) -> None:
        run = job.payload
        size = round(self.training.mb * 1e6)
        before = run.size()
        try:
            self._store.reserve(size, run.network)
        except InputError as error:
            self._show(job, State.FAILED, message=str(error))
            raise
        begun = time.monotonic()
        try:
            run.touch()
            self._train(job, run)
        finally:
            run.seconds += time.monotonic() - begun
            run.touch()
            self._store.release(size, max(0, run.size() - before), 1, run.network)

    def _train(self, job: TrainingJob, run: Run) -> None:
        self._show(job, State.PREPARING)
        info = self._catalog.get(run.request.model)
        try:
            reason = process.train(
                recipe.values(run.request, info.source, run.music, run.longest),
                run.output,
                run.folder / "log.txt",
                self._device,
                seconds=self._seconds - run.seconds,
                cancellation=job.cancellation,
                abandoned=lambda: job.discarded,
                report=lambda curve: self._report(job, curve),
            )
        except MusicGenError as error:
            log.warning("a training failed: %s", error)
            self._offer(run)
            self._show(job, State.FAILED, message=str(error))
            return
        if job.discarded:
            return
        self._offer(run)
        done = run.snapshot.curve.step >= run.request.steps
        if done:
            run.forget_steps()
        self._show(job, State.DONE if done else State.STOPPED, message=reason)

    def _report(self, job: TrainingJob, curve: Curve) -> str:
        """Show how far a training is. Returns why it may not go on, "" where it may."""
        run = job.payload
        sample = run.newest_sample()
        run.snapshot = dataclasses.replace(run.snapshot, state=State.RUNNING, curve=curve, sample=sample)
        job.report(run.snapshot)
        used = run.size()
        if used > self.training.mb * 1e6:
            return f"its files take more than {self.training.mb:g} MB: choose a smaller model, or fewer clips"
        return ""

    def _show(self, job: TrainingJob, state: State, message: str = "") -> None:
        run = job.payload
        run.snapshot = dataclasses.replace(run.snapshot, state=state, message=message, sample=run.newest_sample())
        job.report(run.snapshot)

    def _offer(self, run: Run) -> None:
        """Add the adapter as it is now to those that its visitor can choose, under a name of its own: models that are loaded
        with an earlier one stay what they are."""
        written = run.output / "adapter"
        if not written.is_dir():
            return
        step = run.snapshot.curve.step
        name = f"{name_text(words(run.request.name))}-{run.id[:8]}-{step}"
        folder = run.adapters / name
        if not folder.exists():
            run.adapters.mkdir(mode=0o700, exist_ok=True)
            shutil.copytree(written, folder, dirs_exist_ok=True)
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            # As visitors know the model, and not where it lies.
            config["base_model_name_or_path"] = run.request.model
            (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            if self.kept is not None:
                shutil.copytree(folder, self.kept / name, dirs_exist_ok=True)
        self._adapters.add(name, folder, run.owner)
        run.snapshot = dataclasses.replace(run.snapshot, adapter=name)
