"""All registries of an installation together: the catalogue of facts that rules may use."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.problems import Malformed, Problem

from .fields import FactSpec, Registry


class Registries:
    """The registry documents of an installation; names, sources and facts are unique among them, or it is Malformed."""

    def __init__(self, registries: Iterable[Registry]) -> None:
        self.registries = tuple(registries)
        self.catalogue: dict[str, FactSpec] = {}
        problems = []
        names: set[str] = set()
        sources: dict[str, str] = {}
        told: dict[str, str] = {}
        for registry in self.registries:
            if registry.name in names:
                problems.append(Problem(registry.name, f"two registry documents are named {registry.name!r}", "Give each its own name."))
            names.add(registry.name)
            owner = sources.setdefault(registry.source, registry.name)
            if owner != registry.name:
                problems.append(Problem(registry.name, f"the source {registry.source!r} is the registry {owner!r} already", "Give each its own source."))
            for name in registry.fact_names():
                other = told.setdefault(name, registry.name)
                if other != registry.name:
                    problems.append(Problem(registry.name, f"the fact {name!r} is told by the registry {other!r} already", "Give it another name with `fact:`."))
            self.catalogue.update((spec.name, spec) for spec in registry.facts())
        if problems:
            raise Malformed(problems)
