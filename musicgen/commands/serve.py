"""Serve the HTTP API: create generations, follow them, stream their audio, and download clips. On 127.0.0.1 by default."""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen import extras, file_descriptor_limit, logs, plugins, signals
from musicgen.commands import marks
from musicgen.errors import InputError
from musicgen.serving import flags, hosts
from musicgen.serving.limits import Limits

if TYPE_CHECKING:
    from musicgen.serving.engines.base import EngineClient
    from musicgen.serving.engines.ray_serve import Replicas
    from musicgen.serving.engines.replica import ReplicaSettings
    from musicgen.serving.web.keys import Keys

PREFIX = "MUSICGEN_SERVE_"
DEFAULTS = Limits(per_visitor=36, per_address=36)
"""A client of the API is a program, which asks for many clips: as many as may wait and run."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_flags(parser, os.environ)


def add_flags(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    """Add the flags, with the environment's values as their defaults."""
    flag = flags.flag_adder(parser, environment, PREFIX)
    flag("host", str, "127.0.0.1", "address to listen on (%(default)s)")
    flag("port", int, 8650, "port to listen on; 0 for any that is free (%(default)s)")
    flag("hosts", str, "", "names under which clients reach the server besides this machine's: 'music.example.org'")
    flag(
        "state",
        Path,
        None,
        "a folder for clips, uploads and accepted requests, which the next server takes up; servers may share it. Without it "
        "they are gone at the end",
    )
    flag("drain-seconds", float, 600.0, "seconds that accepted generations have to end after SIGTERM (%(default)s)")
    flags.add_limits(flag, DEFAULTS)
    flags.add_models(flag)
    flags.add_marks(flag)
    flag(
        "replicas",
        str,
        "",
        "replicas of the engine, run by Ray Serve: auto (one per GPU, or per --cores cores), a number, or a range "
        "such as 1:4 (without it: this process is the engine)",
    )
    flag("address", str, "", "address of a Ray cluster: auto, or HOST:PORT (without it: this machine)")
    flag("cores", int, 0, "cores of a replica without a GPU (4, or all if there are fewer)")
    parser.add_argument(
        "--plan", type=float, metavar="RATE",
        help="print the predicted waiting times for the first audio at a load of RATE clips per second, and how many replicas "
        "are enough, and exit",
    )  # fmt: skip
    parser.add_argument(
        "--plan-durations", default="10", metavar="SECONDS", help="durations of the clips, separated by commas (10)"
    )
    parser.add_argument(
        "--plan-first-sound",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="time within which 95 %% of the clips must start to play (2)",
    )
    parser.add_argument(
        "--plan-speed",
        metavar="MS:MS",
        help="milliseconds of a step, and of each further clip in it, instead of measuring them",
    )
    flags.add_switch(
        parser, environment, PREFIX, "watermark", False, "add AudioSeal's inaudible watermark to every clip"
    )
    flags.add_switch(
        parser, environment, PREFIX, "downloads", None, "clients may start downloads of models (without the flag: only if the "
        "server is reachable from this machine only)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    from musicgen.serving.web import keys, server, supervisor

    flags.check(arguments)
    if not 0 <= arguments.port < 65_536:
        raise InputError(f"--port is {arguments.port}: it must be a port, from 1 to 65535, or 0")
    known = keys.read(os.environ)
    local = hosts.is_loopback(arguments.host)
    if not local and not known:
        raise InputError(
            f"--host is {arguments.host}: others reach the server then, and it has no keys. Set {keys.VARIABLE}='NAME:KEY', "
            "a key of 16 characters or more for each client"
        )
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    signals.interrupt_on_termination()
    logs.use_one_line_records()
    file_descriptor_limit.raise_limit()
    plugins.load_plugins(flags.separated(arguments.plugin))
    os.umask(0o077)
    if arguments.plan is not None:
        print("\n".join(plan(arguments)))
        return 0
    inherited = supervisor.inherited()
    if inherited is not None:
        serve(arguments, arguments.state, inherited, known, local)
        return 0
    with _state_folder(arguments.state) as folder, server.listen(arguments.host, arguments.port) as listening:
        if arguments.replicas:
            _ray_options(arguments)  # what is wrong with them is said before another process is started
            return supervisor.supervise([sys.executable, *sys.orig_argv[1:], "--state", str(folder)], listening)
        serve(arguments, folder, listening, known, local)
    return 0


def plan(arguments: argparse.Namespace) -> list[str]:
    """The lines of the plan that the flags ask for; the speed is measured in this process unless it is given."""
    from musicgen.serving import capacity, capacity_plan

    load = capacity.Load(arguments.plan, capacity_plan.parse_durations(arguments.plan_durations))
    if arguments.plan_speed is not None:
        speed = capacity_plan.parse_speed(arguments.plan_speed)
    else:
        engine = build_engine(arguments)
        engine.prepare()
        speed = capacity_plan.measure(engine, engine.catalog.default(), arguments.workers)
        engine.close()
    count = int(arguments.replicas) if arguments.replicas.isdigit() else 1
    return capacity_plan.table(load, speed, arguments.workers, sorted({1, 2, 4, 8, count}), arguments.plan_first_sound)


def serve(arguments: argparse.Namespace, folder: Path, listening: socket.socket, known: Keys, local: bool) -> None:
    """Serve until a signal ends it.

    Args:
        arguments: parsed.
        folder: of clips, uploads and accepted requests.
        listening: the socket.
        known: the keys of the clients.
        local: whether only this machine reaches the server.
    """
    from musicgen.serving.web import assembly, server

    limits = flags.limits_of(arguments)
    signer = marks.signer(arguments.c2pa_certificate, arguments.c2pa_key)
    watermark = None
    if arguments.watermark:
        from musicgen.checkpoint import audioseal

        watermark = audioseal.load()
    with contextlib.ExitStack() as stack:
        engine = build_engine(arguments)
        api = assembly.assemble(
            engine,
            folder,
            limits,
            known,
            (
                *hosts.default_hosts(arguments.host, socket.gethostname(), os.environ),
                *flags.separated(arguments.hosts.lower()),
            ),
            workers=arguments.workers * engine.max_replicas,
            downloads=local if arguments.downloads is None else arguments.downloads,
            signer=signer,
            watermark=watermark,
        )
        service = api.service
        stack.callback(service.close, warm_up_timeout=2)
        service.warm_up()
        recovered = api.generations.recover()
        print(f"MusicGen API: {server.address_of(listening)}/v1  (description: /openapi.json)", flush=True)
        if recovered:
            print(f"{recovered} generations of a server that has ended are taken up", flush=True)
        server.Server(api.app, api.generations, arguments.drain_seconds).run(sockets=[listening])
    if service.is_warming_up:
        # Libraries are being imported in its thread. The interpreter's own end would wait for that, or crash in it.
        sys.stdout.flush()
        os._exit(0)


def build_engine(arguments: argparse.Namespace) -> EngineClient:
    """The engine that the flags ask for."""
    from musicgen.serving.engines.local import LocalEngine
    from musicgen.serving.models import ModelCatalog

    if arguments.replicas:
        from musicgen.serving.engines.ray_serve import RayEngine

        return RayEngine(*_ray_options(arguments), arguments.address)
    for name in ("address", "cores"):
        if getattr(arguments, name):
            raise InputError(f"--{name} is for --replicas: without it, clips are generated in this process")
    catalog = ModelCatalog(arguments.folder, flags.separated(arguments.models), arguments.adapters)
    variations = arguments.max_variations
    return LocalEngine(
        catalog,
        arguments.device,
        max_models=arguments.loaded,
        # A generation's variations leave the others their slots.
        slots=arguments.workers + variations - 1,
        queue=arguments.workers * variations,
    )


def _ray_options(arguments: argparse.Namespace) -> tuple[ReplicaSettings, Replicas]:
    from musicgen.serving.engines.ray_serve import CORES, Replicas
    from musicgen.serving.engines.replica import ReplicaSettings

    for package in ("ray", "ray.serve"):
        extras.load(package, "cluster", "--replicas")
    settings = ReplicaSettings(
        models=flags.separated(arguments.models),
        model_folder=arguments.folder,
        adapter_folder=arguments.adapters,
        device=arguments.device,
        max_models=arguments.loaded,
        slots=arguments.workers,
        threads=arguments.cores or min(CORES, os.cpu_count() or 1),
        plugins=flags.separated(arguments.plugin),
    )
    return settings, Replicas.parse(arguments.replicas)


@contextlib.contextmanager
def _state_folder(given: Path | None) -> Iterator[Path]:
    from musicgen.serving import private_folder

    if given is not None:
        try:
            (given / "servers").mkdir(mode=0o700, parents=True, exist_ok=True)
            (given / "store").mkdir(mode=0o700, exist_ok=True)
            if not os.access(given / "store", os.W_OK):
                raise PermissionError(errno.EACCES, "it is not writable")
        except OSError as error:
            raise InputError(f"--state {given}: no folder for the server ({error.strerror})") from error
        yield given
        return
    temporary = private_folder.create()
    try:
        yield Path(temporary.name)
    finally:
        temporary.cleanup()
