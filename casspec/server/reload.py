"""Another profile for a server that goes on serving: prepared beside the step thread, taken between two steps.

Requests under way end on the engines they began on. A profile that cannot be used changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.lean.quantization import free_bytes
from casspec.runtime.model.target import TargetModel
from casspec.server.engines import Methods
from casspec.server.errors import ApiError
from casspec.server.service import Service
from casspec.storage.errors import CasspecError, UnsupportedOption

_log = logging.getLogger("casspec")

SHARE = 0.8
"""Of the memory that is free, for what a new profile's drafters need beside."""


class Reloader:
    """Of one server.

    Args:
        prepare: makes the methods anew, from what is stored now, on a thread of its own.
        say: tells the operator.
    """

    def __init__(self, service: Service, prepare: Callable[[TargetModel], Methods], say: Callable[[str], None]) -> None:
        self._service, self._prepare, self._say = service, prepare, say
        self._busy = False
        self._task: asyncio.Task[None] | None = None

    async def reload(self) -> str:
        """Prepares and swaps; what is served now, in a line. Raises ApiError where it cannot be, and then nothing changed."""
        self._service.check_ready()
        if self._busy:
            raise ApiError(409, "a reload is under way: wait for it", code="reload_under_way")
        self._busy = True
        try:
            methods = await asyncio.to_thread(self._prepare, self._service.engines.target)
            if methods.decoder.profile is None and self._service.engines.decoder.profile is not None:
                raise UnsupportedOption("none that fits is found now; `casspec profiles list` shows what is stored")
            await self._swapped(methods)
        except Exception as error:
            why = (
                " ".join(str(error).split()) if isinstance(error, CasspecError) else f"{type(error).__name__}: {error}"
            )
            line = f"reload: the profile stays as it was: {why}"
            self._say(line)
            if not isinstance(error, CasspecError):
                _log.error("a reload failed", exc_info=error)
            raise ApiError(409, line, code="reload_failed") from error
        finally:
            self._busy = False
        line = f"reload: {served(methods)}"
        self._say(line)
        return line

    def soon(self) -> None:
        """The same at a signal: what comes of it is said."""

        async def reload() -> None:
            try:
                await self.reload()
            except ApiError as error:
                if error.code != "reload_failed":
                    self._say(f"reload: {error.message}")

        self._task = asyncio.get_running_loop().create_task(reload())

    async def _swapped(self, methods: Methods) -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def swap(engines: object) -> None:
            self._service.engines.swap(methods)
            loop.call_soon_threadsafe(done.set)

        self._service.steps.call(swap)
        await done.wait()


def served(methods: Methods) -> str:
    """Profile and method by mode, in a line."""
    decoder = methods.decoder
    profile = decoder.profile
    held = "no profile" if profile is None else f"profile {profile.profile_id}"
    return f"{held}, greedy by {decoder.method_in('greedy')}, sampling by {decoder.method_in('sample')}"


def check_memory(profile: LoadedProfile | None, target: TargetModel) -> None:
    """Raises UnsupportedOption where the drafters of a profile would take more memory than is free."""
    if profile is None or profile.document is None:
        return
    precisions = {drafter.quantization.precision for drafter in profile.document.drafters if drafter.kind == "self"}
    needed = sum(target.extra_bytes(one) for one in precisions if not target.is_prepared(one))
    free = free_bytes(target.device)
    if free is not None and needed > SHARE * free:
        raise UnsupportedOption(
            f"profile {profile.document.profile_id} has drafters that take {needed / 2**20:,.0f} MiB beside the model and "
            f"{free / 2**20:,.0f} MiB are free; calibrate with --max-extra-bytes, or serve on a machine with more memory"
        )
