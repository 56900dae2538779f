"""Methods by id: the built-in ones, those of installed distributions, and those registered while the program runs.

A distribution declares a method as an entry point. Its name is the method id, its value a subclass of `Policy`:

    [project.entry-points."casspec.methods"]
    pair-repeat = "my_package.policy:PairRepeat"

Entry points are looked for once, when somebody first asks for a method that is not built in, or for all of them. One that cannot be
used is warned of in a line that names its distribution; all other methods work as before.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points

from casspec.runtime.policies.base import Policy
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import AUTO

ENTRY_POINT_GROUP = "casspec.methods"
"""The group of entry points."""

RESERVED = {"all", AUTO}
"""What `--methods` and `--method` mean otherwise."""

_log = logging.getLogger("casspec")


def declared_methods() -> Iterable[EntryPoint]:
    """Entry points of all installed distributions."""
    return entry_points(group=ENTRY_POINT_GROUP)


class MethodRegistry:
    """All methods.

    Args:
        built_in: by id; nobody else may take these ids.
        declared: finds the entry points.
    """

    def __init__(
        self, built_in: Mapping[str, type[Policy]], declared: Callable[[], Iterable[EntryPoint]] = declared_methods
    ) -> None:
        self._built_in = built_in
        self._find = declared
        self._declared: dict[str, EntryPoint] | None = None
        self._loaded: dict[str, type[Policy]] | None = None
        self._refusals: dict[str, str] = {}
        self._registered: dict[str, type[Policy]] = {}

    def register(self, name: str, policy: type[Policy]) -> None:
        """Adds a method. Raises UnsupportedOption for an id that is taken or cannot be one, and for a class that is no policy."""
        fault = fault_of_name(name) or self._taken(name, policy) or fault_of_class(policy)
        if fault:
            raise UnsupportedOption(f"method '{name}' cannot be registered: {fault}")
        self._registered[name] = policy

    def all(self) -> dict[str, type[Policy]]:
        """Every method that works here, the built-in ones first."""
        if self._loaded is None:
            self._loaded = {}  # before anything is imported: what is may ask for methods itself
            for name, entry_point in self._entry_points().items():
                self._load(name, entry_point)
        return {**self._built_in, **self._loaded, **self._registered}

    def find(self, name: str) -> type[Policy]:
        """The method of this id. Raises UnsupportedOption where there is none, or none that works."""
        found = self._built_in.get(name) or self._registered.get(name)
        if found is not None:
            return found
        every = self.all()
        if name in every:
            return every[name]
        raise UnsupportedOption(self._refusals.get(name) or f"unknown method '{name}'; methods: {', '.join(every)}")

    def _taken(self, name: str, policy: type[Policy]) -> str | None:
        """Who but `policy` has the id already; nothing is imported to find out."""
        if name in self._built_in:
            return "a built-in method has this id, choose another"
        if name in self._registered:
            return f"{self._registered[name].__qualname__} is registered under this id, choose another"
        declared = self._entry_points().get(name)
        if declared is None or declared.value == f"{policy.__module__}:{policy.__qualname__}":
            return None
        return f"{_distribution(declared)} declares this id, choose another"

    def _entry_points(self) -> dict[str, EntryPoint]:
        """By id; of two that declare one id the first counts, and a built-in method before either."""
        if self._declared is None:
            self._declared = {}
            for entry_point in self._find():
                name = entry_point.name
                taken = "a built-in method has this id" if name in self._built_in else None
                if name in self._declared:
                    taken = f"{_distribution(self._declared[name])} declares this id too"
                if fault := fault_of_name(name) or taken:
                    _log.warning("%s", _refusal(name, entry_point, fault))
                else:
                    self._declared[name] = entry_point
        return self._declared

    def _load(self, name: str, entry_point: EntryPoint) -> None:
        """Imports a method, or notes why it cannot be used."""
        assert self._loaded is not None
        try:
            policy = entry_point.load()
        except Exception as error:  # whatever a foreign module raises when it is imported
            fault: str | None = f"{entry_point.value} cannot be imported ({_in_a_line(error)})"
        else:
            fault = fault_of_class(policy)
        if fault is None:
            self._loaded[name] = policy
        else:
            self._refusals[name] = _refusal(name, entry_point, fault)
            _log.warning("%s", self._refusals[name])


def fault_of_name(name: str) -> str | None:
    """Why this cannot be a method id; None for one that can."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name) or name in RESERVED:
        return (
            "an id is letters, digits, hyphens, dots and underscores, begins with a letter or digit, and is not 'all'"
        )
    return None


def fault_of_class(policy: object) -> str | None:
    """Why this is no method; None for one that is."""
    if not (isinstance(policy, type) and issubclass(policy, Policy)):
        return f"{policy!r} is no subclass of casspec.runtime.policies.base.Policy"
    if policy.draft is Policy.draft:
        return f"{policy.__qualname__} has no `draft` of its own"
    summary = getattr(policy, "summary", None)
    if not isinstance(summary, str) or not summary or "\n" in summary:
        return f"{policy.__qualname__} needs a `summary`, one line of text"
    return None


def _refusal(name: str, entry_point: EntryPoint, fault: str) -> str:
    return f"method '{name}' of {_distribution(entry_point)} cannot be used: {fault}"


def _distribution(entry_point: EntryPoint) -> str:
    dist = entry_point.dist
    return f"distribution '{dist.name}'" if dist is not None else "an unnamed distribution"


def _in_a_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
