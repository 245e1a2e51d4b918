"""Is this file meant to be left out? `.ragsaverignore` files and globs, both with the meaning that git gives them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ragsaver.errors import UsageError

IGNORE_FILE = ".ragsaverignore"


@dataclass(frozen=True, slots=True)
class Patterns:
    """Lines of a `.gitignore`, the last one first, each with what it says of what it matches.

    They are asked for one file or folder at a time, from the top down, as git does it. That a pattern matches a
    folder above says nothing: there another pattern may have taken it back.
    """

    lines: tuple[tuple[re.Pattern[str], bool], ...]

    @classmethod
    def of(cls, lines: Sequence[str], where: str) -> "Patterns":
        """:raises UsageError: if a line is no pattern."""
        # Imported where used: most listings have no patterns.
        from pathspec import GitIgnoreSpec

        try:
            compiled = GitIgnoreSpec.from_lines(map(_spelled_out, lines)).patterns
        except (ValueError, re.error) as error:
            raise UsageError(str(error), where=where, remedy="Write patterns as in a .gitignore file") from error
        return cls(
            tuple(
                (one.regex, one.include)
                for one in reversed(list(compiled))
                if isinstance(one.regex, re.Pattern) and one.include is not None
            )
        )

    def verdict(self, name: str) -> bool | None:
        """Whether the patterns match the file or folder itself; None if none of them says anything.

        :param name: relative to where the patterns stand; a folder's ends in a slash.
        """
        bare = name.rstrip("/")
        for regex, says in self.lines:
            if _matches(regex, name, bare):
                return says
        return None


def _spelled_out(line: str) -> str:
    """`a/**/` means the folders inside `a` to git, and `a` itself to pathspec: written so that both agree."""
    bare = line.rstrip()
    return f"{bare}*/" if bare.endswith("/**/") else line


def _matches(regex: re.Pattern[str], name: str, bare: str) -> bool:
    """Whether a pattern matches the path itself, and not only a folder above it.

    pathspec's expressions have one named group: the slash after a folder that the pattern matches.
    """
    mark = next(iter(regex.groupindex), None)
    match = regex.search(bare)
    if match is not None and (mark is None or match[mark] is None):
        return True
    if mark is None or name == bare:
        return False
    return any(match.start(mark) == len(bare) for match in regex.finditer(name))


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """The rules of the ignore files from the top down to one folder, the deepest first: the nearest one decides.

    Each has the length of its folder's path with the slash, which is cut off before its patterns are asked.
    """

    levels: tuple[tuple[int, Patterns], ...] = ()

    def ignore(self, path: str) -> bool:
        """Whether a file or folder is left out.

        :param path: absolute; a folder's ends in a slash. Its folder must not be left out itself.
        """
        for start, patterns in self.levels:
            verdict = patterns.verdict(path[start:])
            if verdict is not None:
                return verdict
        return False

    def below(self, folder: str, text: str) -> "IgnoreRules":
        """These and the rules of an ignore file in the folder.

        :param folder: absolute, with a slash at its end.
        :raises UsageError: if a line is no pattern.
        """
        patterns = Patterns.of(text.splitlines(), folder + IGNORE_FILE)
        return IgnoreRules(((len(folder), patterns), *self.levels))


@dataclass(frozen=True, slots=True)
class Selection:
    """What the caller's globs let through, by names relative to the place that was named."""

    include: Patterns | None = None
    exclude: Patterns | None = None

    @classmethod
    def of(cls, include: Sequence[str], exclude: Sequence[str]) -> "Selection":
        """From globs as they stand in a `.gitignore`.

        :raises UsageError: if one is no glob.
        """
        return cls(
            Patterns.of(include, "--include") if include else None,
            Patterns.of(exclude, "--exclude") if exclude else None,
        )

    def enters(self, folder: str) -> bool:
        """Whether a folder, whose name ends in a slash, is looked into, if the one above it is."""
        return self.exclude is None or not self.exclude.verdict(folder)

    def takes(self, name: str) -> bool:
        """Whether a file is taken, if its folders are entered."""
        if self.exclude is not None and self.exclude.verdict(name):
            return False
        return self.include is None or any(map(self.include.verdict, _way_to(name)))

    def takes_all_the_way(self, name: str) -> bool:
        """Whether a file is taken and each of its folders is entered."""
        return (self.exclude is None or not any(map(self.exclude.verdict, _way_to(name)))) and self.takes(name)


def _way_to(name: str) -> Iterator[str]:
    """The folders from the top down to a file, then the file."""
    yield from (name[: end + 1] for end, letter in enumerate(name) if letter == "/")
    yield name
