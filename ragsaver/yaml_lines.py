"""On which line of a YAML file does each key stand, and which stands twice? For errors that name the place."""

from collections.abc import Iterable, Iterator
from typing import Any

import yaml

Keys = tuple[str, ...]

# An alias costs a few characters and stands for all that it names: ten lines of ten make a million keys.
_MAX_KEYS = 100_000
_MAX_DEPTH = 64


def read_lines(text: str, loader: Any) -> tuple[Any, list[tuple[Keys, int]]]:
    """What a YAML text says, and where in it: each key and each place in a list, with its line, from 1; a key that
    stands twice comes twice.

    :param loader: a class of PyYAML's that makes the values.
    :raises YAMLError: if it is none, if something holds itself by an alias, or if its aliases or its depth make more
        of it than a person would write.
    """
    reading = loader(text)
    try:
        root = reading.get_single_node()
        found = list(_lines_of(root))
        return None if root is None else reading.construct_document(root), found
    except RecursionError:
        raise _too_deep(reading.get_mark()) from None
    finally:
        reading.dispose()


def twice(found: Iterable[tuple[Keys, int]]) -> tuple[Keys, int] | None:
    """The first key that stands where it stood before, with its line: YAML takes the last one and says nothing.

    :param found: as `read_lines` gives it.
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


def _too_deep(mark: yaml.Mark) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=f"more than {_MAX_DEPTH} levels lie in each other", problem_mark=mark)


def _lines_of(root: yaml.Node | None) -> Iterator[tuple[Keys, int]]:
    outermost = root
    for count, (path, at) in enumerate(_places(root)):
        if len(path) == 1:
            outermost = at
        if count == _MAX_KEYS and outermost:
            raise yaml.MarkedYAMLError(
                problem=f"its aliases make more than {_MAX_KEYS} keys of it", problem_mark=outermost.start_mark
            )
        yield path, at.start_mark.line + 1


def _places(
    node: yaml.Node | None, path: Keys = (), above: tuple[yaml.Node, ...] = ()
) -> Iterator[tuple[Keys, yaml.Node]]:
    """Each key and each place in a list, with what says where it stands."""
    if node in above:
        raise yaml.MarkedYAMLError(problem="what an alias names holds that alias", problem_mark=above[-1].start_mark)
    if len(path) > _MAX_DEPTH and node:
        raise _too_deep(node.start_mark)
    inside: Iterable[tuple[str, yaml.Node, yaml.Node]] = ()
    if isinstance(node, yaml.MappingNode):
        inside = ((str(key.value), key, value) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        inside = ((str(number), value, value) for number, value in enumerate(node.value))
    for name, at, value in inside:
        here = (*path, name)
        yield here, at
        yield from _places(value, here, (*above, node) if node else above)
