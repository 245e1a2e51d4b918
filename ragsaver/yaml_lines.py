"""On which line of a YAML file does each key stand, and which stands twice? For errors that name the place."""

from collections.abc import Iterable, Iterator

import yaml

Keys = tuple[str, ...]


def lines_of(node: yaml.Node | None, path: Keys = (), above: tuple[yaml.Node, ...] = ()) -> Iterator[tuple[Keys, int]]:
    """Each key and each place in a list, with its line, from 1; a key that stands twice comes twice.

    :param node: as `yaml.compose` gives it; None for an empty file.
    :raises YAMLError: if something holds itself, by an alias.
    """
    if node in above:
        raise yaml.MarkedYAMLError(problem="what an alias names holds that alias", problem_mark=above[-1].start_mark)
    inside: Iterable[tuple[str, yaml.Node, yaml.Node]] = ()
    if isinstance(node, yaml.MappingNode):
        inside = ((str(key.value), key, value) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        inside = ((str(number), value, value) for number, value in enumerate(node.value))
    for name, at, value in inside:
        here = (*path, name)
        yield here, at.start_mark.line + 1
        yield from lines_of(value, here, (*above, node) if node else above)


def twice(found: Iterable[tuple[Keys, int]]) -> tuple[Keys, int] | None:
    """The first key that stands where it stood before, with its line: YAML takes the last one and says nothing.

    :param found: as `lines_of` gives it.
    """
    seen: set[Keys] = set()
    for path, line in found:
        if path in seen:
            return path, line
        seen.add(path)
    return None


def said_of(error: yaml.YAMLError) -> tuple[str, int | None]:
    """What is wrong with a text that is no YAML, and on which line, from 1, where that is known."""
    mark = getattr(error, "problem_mark", None)
    return f"is not valid YAML: {getattr(error, 'problem', None) or error}", mark.line + 1 if mark else None
