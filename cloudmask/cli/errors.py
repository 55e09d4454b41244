"""What every command line here has in common: one clear line for bad input, and an exit code."""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

QUIET_SECONDS = 5.0
"""how long a rank that leaves the talking to rank 0 waits before it exits, where ranks do not leave
together"""
LEAVING_SECONDS = 5.0
"""how long a rank that has failed waits for the others to leave as well, before it ends them"""
RANK_VARIABLES = ("HOROVOD_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID")
STOPPED = 75
"""exit code of work that was told to stop and can go on: EX_TEMPFAIL of sysexits.h (try again)"""

OUR_OWN = ("cloudmask", "scaling", "seaice")
EXTRAS = {
    **{"tensorflow": "train", "keras": "train", "mpi4py": "mpi", "scipy": "fits"},
    **{"matplotlib": "report", "jinja2": "report", "mlperf_logging": "mllog"},
    **{"cv2": "seaice", "pyspark": "spark"},
    **{"pyogrio": "seaice", "shapely": "seaice"},
    **{"zarr": "zarr", "fsspec": "zarr"},
    **{"satpy": "products", "xarray": "products", "netCDF4": "products", "h5netcdf": "masks"},
    **{"pyproj": "masks", "rasterio": "geotiff", "PIL": "report"},
}
"""the extra that brings a library, for those that nobody asks for with care"""


class UsageError(ValueError):
    """A command line or configuration file that cannot be used; the message is one line."""


class AgreedError(ValueError):
    """An error that is raised on every rank alike, so that rank 0 alone need say it."""


class StoppedError(AgreedError):
    """Not a failure: the work was told to stop, and what is done is safe."""


@dataclass
class _Leaving:
    """How this rank ends."""

    together: bool = False
    """all ranks meet at the end"""
    code: int = 0
    unsaid: tuple[str, object] | None = None
    """program and error that rank 0 is to tell of"""


_leaving = _Leaving()


def launched_rank() -> int:
    """This process's rank as its launcher told it, before anything is started; 0 if alone.

    Where ranks come and go, train/start.py keeps HOROVOD_RANK to what it has become.
    """
    for name in RANK_VARIABLES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def run(
    main: Callable[[Sequence[str]], int],
    words: Sequence[str],
    *,
    program: str,
    wait: Callable[[float], object] = time.sleep,
) -> int:
    """Call main and turn what users can cause into a line on stderr and an exit code.

    0 done, 1 failed, 2 the command line is wrong, 75 told to stop and ready to go on, 130
    interrupted. A fault of our own keeps its traceback. A rank that leaves the talking to rank 0
    calls `wait` before it ends, unless the ranks leave together anyhow.
    """
    _leaving.unsaid = None
    _leaving.code = 1  # of whatever else ends this rank
    try:
        _leaving.code = _run(main, words, program, wait)
    except SystemExit as error:
        _leaving.code = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise
    return _leaving.code


def _run(
    main: Callable[[Sequence[str]], int],
    words: Sequence[str],
    program: str,
    wait: Callable[[float], object],
) -> int:
    try:
        return main(words)
    except (UsageError, AgreedError) as error:
        code = 2 if isinstance(error, UsageError) else 1
        code = STOPPED if isinstance(error, StoppedError) else code
        return _say_once(program, error, code, wait)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError) as error:
        line = describe(error) if isinstance(error, OSError) else str(error)
        return _say_everywhere(program, line)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", *OUR_OWN):
            raise
        advice = missing(library, EXTRAS.get(library, "all"))
        return _say_everywhere(program, advice)
    except KeyboardInterrupt as error:
        line = str(error) or "interrupted"
        return _say_once(program, line, 130, wait)


def leave_together(met: Callable[[float | None], bool], abort: Callable[[int], object]) -> None:
    """Let this process end only with all other ranks, or end them. To be called once.

    `met` says that this rank leaves, and whether all others do within some seconds (None: however
    long it takes). A rank that fails while the others go on would wait for them at the end, and
    they for it in their work, for ever: then `abort` ends all. Those that fail as well, or learn of
    a failure, have time to tell of it and to put things away.
    """
    _leaving.together = True
    atexit.register(_leave, met, abort)


def _leave(met: Callable[[float | None], bool], abort: Callable[[int], object]) -> None:
    if met(LEAVING_SECONDS if _leaving.code else None):
        return
    if _leaving.unsaid:  # what this rank alone has met, against expectation
        _say_everywhere(*_leaving.unsaid)
    abort(_leaving.code)


def missing(library: str, extra: str) -> str:
    """What to say of a library that is not installed, and which of our extras brings it.

    The extras are had from the checkout alone: on the package index our name is another project's.
    """
    return f"{library} is not installed: pip install '.[{extra}]' in the checkout of cloudmask"


@contextlib.contextmanager
def the_same_on_all_ranks() -> Iterator[None]:
    """For reading what every rank reads alike: rank 0 alone tells of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise AgreedError(str(error)) from None


@contextlib.contextmanager
def loading_tensorflow() -> Iterator[None]:
    """Keep what TensorFlow's libraries print while they are loaded, unless loading fails.

    Every rank would print the same lines about its build, from C++, past any log level. Python
    collects no garbage meanwhile: of thousands of new modules there is none, and looking for it is
    a fifth of the time.

    Keras comes with TensorFlow below it, whatever the user has chosen for other programs.
    ValueError where another one has loaded it otherwise in this process.
    """
    loaded = sys.modules.get("keras")
    if loaded is not None and (backend := loaded.config.backend()) != "tensorflow":
        raise ValueError(
            f"Keras is loaded with the backend {backend} in this process, and networks here need "
            "TensorFlow: set KERAS_BACKEND=tensorflow before Keras is imported"
        )
    os.environ.update(KERAS_BACKEND="tensorflow", TF_USE_LEGACY_KERAS="0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # of its own log only what is wrong
    sys.stderr.flush()
    collecting = gc.isenabled()
    gc.disable()
    with tempfile.TemporaryFile() as told:
        kept = os.dup(2)
        os.dup2(told.fileno(), 2)
        try:
            yield
        except BaseException:
            told.seek(0)
            os.write(kept, told.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            if collecting:
                gc.enable()


def describe(error: OSError) -> str:
    """An OSError as one line that names the file and, where it is known, the way out."""
    hints = {
        errno.ENOSPC: "the disk is full: make room and run the same command again",
        errno.EDQUOT: "the quota is used up: make room and run the same command again",
        errno.EFBIG: "the file would be larger than is allowed: raise the limit (ulimit -f)",
        errno.EACCES: "no permission: choose another folder",
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.ENOTDIR: "a part of that path is a file: choose another folder",
    }
    what = hints.get(error.errno or 0, error.strerror or str(error))
    return f"{error.filename}: {what}" if error.filename else str(what)


def _say_everywhere(program: str, error: object) -> int:
    """Of what this rank alone may know, which then is named."""
    rank = launched_rank()
    _print(program, f"error on rank {rank}" if rank else "error", error)
    return 1


def _say_once(program: str, error: object, code: int, wait: Callable[[float], object]) -> int:
    """Of what all ranks know. A launcher ends all of them a moment after the first one fails, and
    rank 0 may be slower."""
    if launched_rank() == 0:
        _print(program, "error", error)
    else:
        _leaving.unsaid = (program, error)
        if not _leaving.together:
            wait(QUIET_SECONDS)
    return code


def _print(program: str, kind: str, error: object) -> None:
    print(f"{program}: {kind}: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
