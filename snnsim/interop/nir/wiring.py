"""The wiring of a NIR graph: who receives what from whom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import nir

from snnsim.errors import ConfigError


def flattened(graph: nir.NIRGraph) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return the nodes and edges of a graph, in which subgraphs are replaced by what is in them."""
    nodes: dict[str, Any] = dict(graph.nodes)
    edges = [tuple(edge) for edge in graph.edges]
    for name, inner in graph.nodes.items():
        if not isinstance(inner, nir.NIRGraph):
            continue
        below, within = flattened(inner)
        del nodes[name]
        nodes |= {f"{name}.{key}": node for key, node in below.items()}
        edges += [(f"{name}.{a}", f"{name}.{b}") for a, b in within]
        ends = {
            kind: [f"{name}.{key}" for key, node in below.items() if isinstance(node, kind)]
            for kind in (nir.Input, nir.Output)
        }
        if any(len(found) != 1 for found in ends.values()):
            raise ConfigError(f"the subgraph {name} must have one input and one output")
        entry, leaving = ends[nir.Input][0], ends[nir.Output][0]
        edges = [(leaving if a == name else a, entry if b == name else b) for a, b in edges]
    return nodes, edges


class Wiring:
    """A ``Wiring`` is a graph that shrinks while parts of it are recognised.

    Attributes:
        nodes: the nodes by name; recognised parts are nodes as well.
        entry, leaving: the names of input and output.

    Raises:
        ConfigError: if the graph has not one input and one output, an edge leads nowhere, or a node
            is not between input and output.
    """

    def __init__(self, graph: nir.NIRGraph):
        if not isinstance(graph, nir.NIRGraph):
            raise ConfigError(
                f"the graph is a {type(graph).__name__} but must be a nir.NIRGraph; nir.read(path) "
                "reads one from a file"
            )
        self.nodes, edges = flattened(graph)
        self._after: dict[str, list[str]] = {name: [] for name in self.nodes}
        self._before: dict[str, list[str]] = {name: [] for name in self.nodes}
        for source, target in edges:
            if source not in self.nodes or target not in self.nodes:
                raise ConfigError(f"the graph has an edge {source} -> {target} to no node")
            if target in self._after[source]:
                raise ConfigError(f"the graph has the edge {source} -> {target} twice")
            self._after[source].append(target)
            self._before[target].append(source)
        self.entry, self.leaving = self._end(nir.Input), self._end(nir.Output)
        self._drop_inner_ends()
        reached = self._reached(self.entry, self._after)
        leading = self._reached(self.leaving, self._before)
        for name in self.nodes:
            if name not in reached or name not in leading:
                side = "input" if name not in reached else "output"
                raise ConfigError(f"node {name} has no path to the {side} of the graph")

    def _end(self, kind: Any) -> str:
        outer = [n for n, node in self.nodes.items() if isinstance(node, kind) and self._is_end(n)]
        if len(outer) != 1:
            what = "input" if kind is nir.Input else "output"
            raise ConfigError(f"the graph has {len(outer)} {what}s but must have one")
        return outer[0]

    def _is_end(self, name: str) -> bool:
        """Whether a node is an end of the whole graph, not of a subgraph that was opened."""
        beyond = self._before if isinstance(self.nodes[name], nir.Input) else self._after
        return not beyond[name]

    def _drop_inner_ends(self) -> None:
        for name in list(self.nodes):
            inner = isinstance(self.nodes[name], nir.Input | nir.Output)
            if inner and name not in (self.entry, self.leaving):
                self.bypass(name)

    def _reached(self, start: str, step: dict[str, list[str]]) -> set[str]:
        found, todo = {start}, [start]
        while todo:
            new = [name for name in step[todo.pop()] if name not in found]
            found.update(new)
            todo += new
        return found

    def after(self, name: str) -> list[str]:
        """Return the nodes that receive what a node puts out."""
        return self._after[name]

    def before(self, name: str) -> list[str]:
        """Return the nodes from which a node receives its input."""
        return self._before[name]

    def bypass(self, name: str) -> None:
        """Remove a node that passes on what it receives."""
        sources, targets = self._before[name], self._after[name]
        self.remove([name])
        for source in sources:
            for target in targets:
                if target in self._after[source]:
                    raise ConfigError(
                        f"{target} would receive {source} twice where {name} is left out"
                    )
                self._after[source].append(target)
                self._before[target].append(source)

    def remove(self, names: Iterable[str]) -> None:
        """Remove nodes and their edges."""
        for name in names:
            for target in self._after.pop(name):
                if target != name:
                    self._before[target].remove(name)
            for source in self._before.pop(name):
                if source in self._after:
                    self._after[source].remove(name)
            del self.nodes[name]

    def merge(self, names: Iterable[str], entry: str, leaving: str, node: Any) -> None:
        """Replace nodes by one, under the name of the node ``leaving``.

        Args:
            names: the nodes.
            entry: the one that receives what comes from outside.
            leaving: the one whose output leads outside.
            node: what stands for them.
        """
        within = set(names)
        sources = [name for name in self._before[entry] if name not in within]
        targets = [name for name in self._after[leaving] if name not in within]
        self.remove(within)
        self.nodes[leaving] = node
        self._before[leaving], self._after[leaving] = sources, targets
        for source in sources:
            self._after[source].append(leaving)
        for target in targets:
            self._before[target].append(leaving)

    def of_kind(self, kind: Any) -> Iterator[tuple[str, Any]]:
        """Yield the nodes of a kind, which may be merged meanwhile."""
        for name in list(self.nodes):
            if name in self.nodes and isinstance(self.nodes[name], kind):
                yield name, self.nodes[name]

    def loop(self) -> list[str]:
        """Return the nodes of a loop, or nothing if there is none."""
        left = {name: len(sources) for name, sources in self._before.items()}
        ready = [name for name, count in left.items() if not count]
        while ready:
            name = ready.pop()
            del left[name]
            for target in self._after[name]:
                left[target] -= 1
                if not left[target]:
                    ready.append(target)
        if not left:
            return []
        path = [next(iter(left))]
        while path.count(path[-1]) == 1:  # backwards: each that is left has one before it
            path.append(next(n for n in self._before[path[-1]] if n in left))
        return path[path.index(path[-1]) : -1][::-1]

    def join_after(self, name: str) -> str:
        """Return the first node through which every path from a node leads; without loops."""
        order = self._sorted()
        later = order[order.index(name) + 1 :]
        passed = {name: {name}}  # to each node, the nodes on all paths to it
        for each in later:
            from_here = [passed[s] for s in self._before[each] if s in passed]
            if from_here:
                passed[each] = set.intersection(*from_here) | {each}
        on_all = passed[self.leaving]
        return next(each for each in later if each in on_all)

    def _sorted(self) -> list[str]:
        left = {name: len(sources) for name, sources in self._before.items()}
        order = [name for name, count in left.items() if not count]
        for name in order:
            for target in self._after[name]:
                left[target] -= 1
                if not left[target]:
                    order.append(target)
        return order
