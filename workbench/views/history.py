"""The history of the frameworks as data, and drawn.

The data are in ``data/history.json``: systems, lines of descent, generations, and
the events of the three pillars that are usually credited.  Years are those of the
first public release, or of what the note says.
"""

from __future__ import annotations

import functools
import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from workbench.errors import GraphError, unknown_name

if TYPE_CHECKING:
    from workbench.views.pictures import Picture


@dataclass(frozen=True)
class Generation:
    """One generation: what it made easy, what it made hard, and the era here that rebuilds it."""

    name: str
    title: str
    years: str
    era: str
    easy: str
    hard: str


@dataclass(frozen=True)
class System:
    """One framework or library; ``generation`` names a :class:`Generation`."""

    name: str
    year: int
    home: str
    generation: str
    idea: str
    note: str = ""


@dataclass(frozen=True)
class Descent:
    """A line of descent between two systems; ``kind`` is a key of :attr:`History.kinds`."""

    ancestor: str
    descendant: str
    kind: str


@dataclass(frozen=True)
class Event:
    """What happened to one of the three other pillars: data, compute or algorithms."""

    year: int
    pillar: str
    what: str


@dataclass(frozen=True)
class History:
    """The whole story.

    Attributes
    ----------
    generations : dict of name to Generation
        In order.
    systems : dict of name to System
        Within a generation by year.
    kinds : dict of str to str
        Kinds of descent, and how to say each of them of the descendant.
    descent : tuple of Descent
    events : tuple of Event

    Raises
    ------
    UnknownNameError
        If a system's generation, or an end or the kind of a line, is not there.
    GraphError
        If a system descends from itself or from a younger one.
    """

    generations: dict[str, Generation]
    systems: dict[str, System]
    kinds: dict[str, str]
    descent: tuple[Descent, ...]
    events: tuple[Event, ...]

    def __post_init__(self) -> None:
        for system in self.systems.values():
            if system.generation not in self.generations:
                raise unknown_name("history", "generation", system.generation, self.generations)
        for line in self.descent:
            if line.kind not in self.kinds:
                raise unknown_name("history", "kind of descent", line.kind, self.kinds)
            old, new = self.system(line.ancestor), self.system(line.descendant)
            if new.year < old.year or new is old:
                raise GraphError("history", f"{new.name} cannot descend from {old.name}",
                                 given=f"{new.name} {new.year}, {old.name} {old.year}",
                                 expected="an ancestor that is no younger")  # fmt: skip

    def system(self, name: str) -> System:
        """Return a system by name.

        Raises
        ------
        UnknownNameError
            With the nearest name, if there is none of this one.
        """
        if name not in self.systems:
            raise unknown_name("history", "system", name, self.systems)
        return self.systems[name]

    def parents(self, name: str) -> list[str]:
        """Return the systems that one system descends from directly."""
        self.system(name)
        return [line.ancestor for line in self.descent if line.descendant == name]

    def children(self, name: str) -> list[str]:
        """Return the systems that descend directly from one system."""
        self.system(name)
        return [line.descendant for line in self.descent if line.ancestor == name]

    def ancestors(self, name: str) -> list[str]:
        """Return every system that one system descends from, the oldest first."""
        return self._by_year(self._reach(name, self.parents))

    def descendants(self, name: str) -> list[str]:
        """Return every system that descends from one system, the oldest first."""
        return self._by_year(self._reach(name, self.children))

    def line(self, ancestor: str, descendant: str) -> list[str]:
        """Return a shortest line of descent, both ends included; empty if there is none."""
        self.system(descendant)
        reached = self._reach(ancestor, self.children) | {ancestor: ancestor}
        if descendant not in reached:
            return []
        line = [descendant]
        while line[-1] != ancestor:
            line.append(reached[line[-1]])
        return line[::-1]

    def _reach(self, name: str, step: Any) -> dict[str, str]:
        """Return every system reached, and from which; nearest first."""
        reached: dict[str, str] = {}
        waiting = deque([self.system(name).name])
        while waiting:
            here = waiting.popleft()
            for there in step(here):
                if there not in reached:
                    reached[there] = here
                    waiting.append(there)
        return reached

    def _by_year(self, names: Iterable[str]) -> list[str]:
        return sorted(names, key=lambda name: (self.systems[name].year, name))


@functools.cache
def load() -> History:
    """Return the history that comes with the package."""
    text = (resources.files("workbench.views") / "data" / "history.json").read_text("utf-8")
    data = json.loads(text)
    generations = [Generation(**each) for each in data["generations"]]
    systems = [System(**each) for each in data["systems"]]
    return History(
        generations={each.name: each for each in generations},
        systems={each.name: each for each in systems},
        kinds=data["kinds"],
        descent=tuple(Descent(line["from"], line["to"], line["kind"]) for line in data["descent"]),
        events=tuple(Event(**each) for each in data["events"]),
    )


def timeline(
    trace: str | None = None,
    *,
    generations: Iterable[str] | None = None,
    history: History | None = None,
) -> Picture:
    """Draw the systems by year, in one lane a generation, with their lines of descent.

    Parameters
    ----------
    trace : str, optional
        A system; its ancestors and descendants are drawn strongly and all others pale.
    generations : iterable of str, optional
        Names of the generations to draw; default all.
    history : History, optional
        Another story than :func:`load`'s.

    Returns
    -------
    Picture
        A matplotlib figure that shows itself in a notebook.

    Raises
    ------
    UnknownNameError
        For a system or a generation that is not there.
    MissingDependencyError
        Without matplotlib.
    """
    from workbench.views.history_figure import draw

    story = load() if history is None else history
    chosen = list(story.generations) if generations is None else list(generations)
    for name in chosen:
        if name not in story.generations:
            raise unknown_name("timeline", "generation", name, story.generations)
    if trace is not None:
        story.system(trace)
    return draw(story, trace, [name for name in story.generations if name in chosen])
