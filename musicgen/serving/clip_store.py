"""The clips of a server in its private folder: unguessable paths, conversion between formats, and expiry.

Temporary files, uploads and other files of the program are in this folder too, and expire as clips do.
"""

from __future__ import annotations

import contextlib
import filecmp
import glob
import logging
import math
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen import provenance
from musicgen.errors import InputError
from musicgen.serving.disk_usage import DiskUsage
from musicgen.serving.index import Index
from musicgen.serving.private_folder import LOCK
from musicgen.serving.servers import Servers

if TYPE_CHECKING:
    from musicgen.audio import Audio
    from musicgen.content_credentials import Signer

log = logging.getLogger(__name__)

FORMATS = ("flac", "wav", "mp3", "ogg")
SHARE = 0.5
"""The share of the space that the files of one network may use."""
FILE_BYTES = 8_192
"""Bytes on disk besides a file's contents: the rest of a block, and its folder."""


def _named(file: Path) -> str:
    """The pattern of the files of that name, each in a folder of its own."""
    return f"*/{glob.escape(file.name)}"


def _size(file: Path) -> int:
    """The approximate size of a file on disk."""
    return file.lstat().st_size + FILE_BYTES


_EXPIRED = "the clip has expired on the server: make it again from its settings"


class NoSpace(InputError):
    """The server has no space for a file."""


class Expired(InputError):
    """A clip has expired."""


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Convert errors of a full disk or a missing file to messages for visitors, which name no folder of the server."""
    try:
        yield
    except (OSError, InputError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError):
            raise
        if isinstance(cause, FileNotFoundError):
            raise Expired(_EXPIRED) from error
        log.error("a file of a visitor cannot be stored: %s", error)
        raise NoSpace(
            f"the server cannot store the clip ({cause.strerror or 'an error of its disk'}): try again later"
        ) from error


class ClipStore:
    """The clips in a private folder. A background thread deletes what has expired.

    All files in the folder expire as clips do, including incomplete uploads and copies of files that no page refers to.

    The size of all files is a running total (`disk_usage`): what the store writes and receives is added, and the thread counts
    anew what others (Gradio) have written and deleted. The files of one network take at most SHARE of the space; "" is a
    network without a limit of its own. Servers that share the folder share its index, and so the limits.

    Args:
        folder: the private folder, which is created if necessary.
        hours: the time after which a file expires.
        max_bytes: what the files may take together.
        signer: signs the clips; None for no signatures.
        copies: the folder inside it to which the server copies clips, as Gradio does; None if it does not.
        index: where the sizes are kept; None for a store of this process alone.
        servers: that share the folder and its index; None for this process alone.
    """

    def __init__(
        self,
        folder: Path,
        hours: float,
        max_bytes: float = math.inf,
        signer: Signer | None = None,
        copies: Path | None = None,
        index: Index | None = None,
        servers: Servers | None = None,
    ) -> None:
        self.folder, self.seconds, self.max_bytes, self.signer = folder, hours * 3600, max_bytes, signer
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.clips_folder = folder / "clips"
        self._copies = copies
        self.index, self.servers = index or Index(), servers or Servers()
        self.usage = DiskUsage(self.index, self.servers, self.seconds)
        self._shared: dict[Path, Path] = {}
        """File of the program -> the copy of it that visitors get."""
        self.count()
        self._closed = threading.Event()
        threading.Thread(target=self._delete_expired_periodically, daemon=True, name="clip-expiry").start()

    def new_path(self, name: str, network: str = "") -> Path:
        """A new path that cannot be guessed: its folder's name has 128 random bits.

        Args:
            name: of the file, under which visitors download it.
            network: for whose share the files in the folder count.
        """
        return self.new_folder(network) / name

    def new_folder(self, network: str = "") -> Path:
        """A new folder, of the same kind."""
        folder = self.clips_folder / secrets.token_hex(16)
        with writing():
            self.clips_folder.mkdir(mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700)
        if network:
            self.usage.set_owner(folder.name, network)
        return folder

    def used_bytes(self) -> int:
        """Size of all files together, as far as it is known without looking at them."""
        return self.usage.used()

    def count(self) -> int:
        """Count the size of all files together anew: a scan of the folder.

        Returns:
            Bytes.
        """
        return self.usage.counted(self._count)

    def _count(self) -> int:
        total = 0
        for path in self.folder.rglob("*"):
            with contextlib.suppress(OSError):
                total += 0 if path.is_dir() or path == self.folder / LOCK else _size(path)
        return total

    def _check_room(self, size: int, network: str, what: str, used: int, own: int) -> None:
        size += FILE_BYTES
        if used + size > self.max_bytes:
            raise NoSpace(f"the disk space for {what} is used up on the server: try again in an hour")
        if network and own + size > SHARE * self.max_bytes:
            raise NoSpace(
                f"the files of your network take the {SHARE * self.max_bytes / 1e6:.0f} MB that one network may have on the "
                f"server: delete clips, or try again in {self.seconds / 3600:.3g} hours"
            )

    def reserve(self, size: int, network: str = "") -> None:
        """Keep space for a file that is about to be written, until `release`.

        Args:
            size: bytes.
            network: whose file it is.

        Raises:
            InputError: there is no room for it.
        """
        self.usage.reserve(network, size, partial(self._check_room, size, network, "uploads"))

    def release(self, size: int, written: int, files: int = 1, network: str = "") -> None:
        """End a reservation: the files are written, or will not be.

        Args:
            size: bytes that were reserved.
            written: bytes that the files hold.
            files: their number.
            network: whose files they are.
        """
        self.usage.release(network, size, written + files * FILE_BYTES if written else 0, time.time())

    def check_space(self, network: str = "") -> None:
        """Raises InputError where the files of all, or of one network, take all that they may."""
        self.usage.check(network, partial(self._check_room, 0, network, "clips"))

    def write(self, path: Path, clip: Audio, tags: Mapping[str, str]) -> None:
        """Write a clip to a file that only its owner can read.

        Args:
            path: the file; its suffix selects the format.
            clip: the audio.
            tags: of the file, by name.

        Raises:
            InputError: the disk is full.
        """
        from musicgen import content_credentials

        with writing():
            content_credentials.write(path, clip, tags, self.signer)
        self._keep(path)

    def copy(self, file: Path) -> Path:
        """A copy of a file of the program, under the same name: all visitors get the same one, which expires after its last
        use."""
        path = self._shared.get(file)
        if path is not None and path.is_file():
            path.touch()
            return path
        path = self._shared[file] = self.new_path(file.name)
        with writing():
            shutil.copyfile(file, path)
        self._keep(path)
        return path

    def convert(self, clip: Path, extension: str) -> Path:
        """Convert a clip, its tags included, to another format.

        Args:
            clip: the clip's file.
            extension: one of FORMATS.

        Returns:
            The converted file, beside the clip. An existing one is reused.

        Raises:
            InputError: for an unknown format, an expired clip, and a disk without space.
        """
        from musicgen import audio, content_credentials

        if extension not in FORMATS:
            raise InputError(f"unknown format {extension!r}: one of {', '.join(FORMATS)}")

        def write(target: Path) -> None:
            tags = provenance.of_tags(audio.read_tags(clip))
            content_credentials.write(target, audio.read(clip), tags, self.signer)

        return self.derive(clip, f".{extension}", write)

    def derive(self, clip: Path, suffix: str, write: Callable[[Path], None]) -> Path:
        """A file that is derived from a clip.

        Args:
            clip: the clip's file.
            suffix: of the file, with its dot.
            write: writes the file to the path that it is given.

        Returns:
            The file, beside the clip. An existing one is reused.

        Raises:
            InputError: for an expired clip, and a disk without space.
        """
        target = clip.with_suffix(suffix)
        if not target.is_file():
            if not clip.is_file():
                raise Expired(_EXPIRED)
            self.check_space(self._network_of(clip))
            with writing():
                write(target)
            self._keep(target)
        return target

    def delete(self, clip: Path) -> None:
        """Delete a clip in all formats, and the copies of it unless another clip is the same, byte for byte.

        Args:
            clip: the clip's file.
        """
        network = self._network_of(clip)
        with contextlib.suppress(FileNotFoundError):  # another process deletes it at the same time
            for file in list(clip.parent.iterdir()):
                self._delete_copies(file, network)
                self._unlink(file, network)
        shutil.rmtree(clip.parent, ignore_errors=True)

    def _delete_copies(self, file: Path, network: str) -> None:
        if self._copies is None or any(
            other != file and filecmp.cmp(file, other, shallow=False) for other in self.clips_folder.glob(_named(file))
        ):
            return
        for copy in self._copies.glob(_named(file)):
            if filecmp.cmp(file, copy, shallow=False):
                self._unlink(copy, network)

    def holds(self, path: str) -> bool:
        """Whether a path that a browser remembers is a file of this store: an upload or a clip, and not a link out of it."""
        try:
            resolved = Path(path).resolve()
            return resolved.is_file() and resolved.is_relative_to(self.folder.resolve())
        except (OSError, ValueError):
            return False

    def delete_expired(self, now: float | None = None) -> int:
        """Delete expired files, and expired folders that are empty, and count what is left.

        Args:
            now: seconds since the epoch; the current time if None.

        Returns:
            The number of deleted files.
        """
        oldest, deleted = (time.time() if now is None else now) - self.seconds, 0
        for path in sorted(self.folder.rglob("*"), key=lambda path: len(path.parts), reverse=True):
            try:
                if path.name == LOCK and path.parent == self.folder:
                    continue
                if path.is_symlink() or path.is_file():
                    if path.lstat().st_mtime < oldest:
                        path.unlink()
                        deleted += 1
                elif path.stat().st_mtime < oldest:
                    path.rmdir()  # fails unless it is empty
            except OSError:
                pass
        self.usage.forget(lambda name: (self.clips_folder / name).exists(), time.time() if now is None else now)
        self.count()
        return deleted

    def _keep(self, path: Path) -> None:
        """Count a file that has been written, which only its owner may read."""
        path.chmod(0o600)
        self.usage.add(self._network_of(path), _size(path) * (1 if self._copies is None else 2), time.time())

    def _network_of(self, clip: Path) -> str:
        return self.usage.owner(clip.parent.name)

    def _unlink(self, file: Path, network: str) -> None:
        with contextlib.suppress(OSError):  # it has just expired
            size, made = _size(file), file.lstat().st_mtime
            file.unlink()
            self.usage.add(network, -size, made)

    def close(self) -> None:
        """End the background thread."""
        self._closed.set()

    def _delete_expired_periodically(self) -> None:
        while not self._closed.wait(min(300.0, max(1.0, self.seconds / 4))):
            self.delete_expired()
