"""Is this file meant to be left out? `.ragsaverignore` files and globs, both with the meaning that git gives them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ragsaver.errors import UsageError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE = ".ragsaverignore"


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """The rules of the ignore files from the top down to one folder, the deepest first: the nearest one decides.

    Each has the length of its folder's path with the slash, which is cut off before its patterns are asked.
    """

    levels: tuple[tuple[int, "GitIgnoreSpec"], ...] = ()

    def ignore(self, path: str) -> bool:
        """Whether a file or folder is left out.

        :param path: absolute; a folder's ends in a slash. Its folder must not be left out itself.
        """
        for start, spec in self.levels:
            verdict = spec.check_file(path[start:]).include
            if verdict is not None:
                return verdict
        return False

    def below(self, folder: str, text: str) -> "IgnoreRules":
        """These and the rules of an ignore file in the folder.

        :param folder: absolute, with a slash at its end.
        :raises UsageError: if a line is no pattern.
        """
        spec = _compile(text.splitlines(), folder + IGNORE_FILE)
        return IgnoreRules(((len(folder), spec), *self.levels))


@dataclass(frozen=True, slots=True)
class Selection:
    """What the caller's globs let through, by names relative to the root that was named."""

    include: "GitIgnoreSpec | None" = None
    exclude: "GitIgnoreSpec | None" = None

    @classmethod
    def of(cls, include: Sequence[str], exclude: Sequence[str]) -> "Selection":
        """From globs as they stand in a `.gitignore`.

        :raises UsageError: if one is no glob.
        """
        return cls(
            _compile(include, "--include") if include else None,
            _compile(exclude, "--exclude") if exclude else None,
        )

    def takes(self, name: str) -> bool:
        """Whether a file is taken, if its folders are entered."""
        if self.exclude is not None and self.exclude.match_file(name):
            return False
        return self.include is None or self.include.match_file(name)

    def enters(self, folder: str) -> bool:
        """Whether a folder, whose name ends in a slash, is looked into."""
        return self.exclude is None or not self.exclude.match_file(folder)

    def takes_all_the_way(self, name: str) -> bool:
        """Whether a file is taken and each of its folders is entered."""
        folders = (name[: end + 1] for end, letter in enumerate(name) if letter == "/")
        return (self.exclude is None or all(map(self.enters, folders))) and self.takes(name)


def _compile(lines: Sequence[str], where: str) -> "GitIgnoreSpec":
    # Imported where used: most listings have no patterns.
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise UsageError(str(error), where=where, remedy="Write patterns as in a .gitignore file") from error
