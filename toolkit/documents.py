"""Reads a YAML file into nodes with line numbers, so that every error names its line. It knows no program's keys."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from toolkit.files import opened

if TYPE_CHECKING:
    from pathlib import Path

    import yaml

_MAX_BYTES = 4 << 20  # of one file; a thousand certificate targets take 0.2 MB


class ConfigError(Exception):
    """A configuration file is wrong: one line that says where, what, and what to do.

    Args:
        path: the file.
        line: of the file, from 1; None if no single line is wrong.
        problem: what is wrong, and what to do.
    """

    def __init__(self, path: Path, line: int | None, problem: str) -> None:
        super().__init__(f"{path}:{line}: {problem}" if line else f"{path}: {problem}")


class Entry(NamedTuple):
    """One key of a mapping and its value, with the key's line."""

    key: str
    line: int
    node: yaml.Node


def compose(path: Path, check: str = "the path") -> yaml.Node | None:
    """Read a file into nodes.

    Args:
        path: the file.
        check: what an operator should look at if the file cannot be read, e.g. the name of a flag.

    Returns the root, None for an empty file. Raises ConfigError.
    """
    import yaml  # noqa: PLC0415 - 1 MB that only a program with such a file pays

    try:
        with opened(path) as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ConfigError(path, None, f"is above {_MAX_BYTES >> 20} MiB; is this the right file?")
        return yaml.compose(data.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(path, None, f"{error.strerror}; check {check} and the file's permissions") from None
    except UnicodeDecodeError:
        raise ConfigError(path, None, "not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(path, mark.line + 1 if mark else None, f"not valid YAML: {error.problem}") from None
    except yaml.YAMLError:
        raise ConfigError(path, None, "not valid YAML: it holds a control character") from None
    except RecursionError:
        raise ConfigError(path, None, "not valid YAML: nested too deeply") from None


def entries(path: Path, node: yaml.Node | None, what: str, *, secret: bool = False) -> dict[str, Entry]:
    """Return the keys and values of a mapping, in order; an empty value is an empty mapping.

    Args:
        path: of the file, for errors.
        node: of the mapping.
        what: the mapping's name in errors, e.g. "tls_server_config".
        secret: whether its keys must not be logged, e.g. user names.

    Raises ConfigError.
    """
    import yaml  # noqa: PLC0415 - as above

    if node is None or is_null(node):
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(path, line_of(node), f"{what} must be a mapping of keys to values")
    found: dict[str, Entry] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(path, line_of(key), f"a key of {what} must be a single name, not a list or a mapping")
        name = str(key.value)
        if name in found:
            shown = "a key" if secret else repr(name)
            raise ConfigError(path, line_of(key), f"{shown} is given twice in {what}, first on line {found[name].line}")
        found[name] = Entry(name, line_of(key), value)
    return found


def is_null(node: yaml.Node) -> bool:
    """Tell whether the value is left out or `null`."""
    return node.tag == "tag:yaml.org,2002:null"


def scalar(node: yaml.Node) -> str | None:
    """Return the text of a single value as written in the file, "" for null; None for a list or a mapping."""
    import yaml  # noqa: PLC0415 - as above

    if not isinstance(node, yaml.ScalarNode):
        return None
    return "" if is_null(node) else str(node.value)


def line_of(node: yaml.Node) -> int:
    """Return the line on which a node begins, from 1."""
    return int(node.start_mark.line) + 1


class Section:
    """A mapping of a file with its keys checked; every error is one line with the file and the line number.

    Args:
        path: of the file, for errors.
        node: of the mapping.
        what: its kind, for errors, e.g. "a target"; if it has a `name`, errors show it, e.g. "target 'wss'".
        known: the keys it may have.

    Raises ConfigError for a key that is not known, and for an empty mapping.
    """

    def __init__(self, path: Path, node: yaml.Node | None, what: str, known: tuple[str, ...]) -> None:
        self.path, self._what = path, what
        self._line = line_of(node) if node else 1
        self.values: dict[str, Entry] = entries(path, node, what)
        if not self.values:
            self.wrong(None, f"must be a mapping with the keys {', '.join(known)}")
        if name := "name" in self.values and scalar(self.values["name"].node):
            self._what = f"{what.removeprefix('a ')} {name!r}"
        self.allow(known)

    def allow(self, known: tuple[str, ...], where: str = "") -> None:
        """Raise ConfigError for a key that is not among these; `where` says under which condition."""
        for key, value in self.values.items():
            if key not in known:
                close = get_close_matches(key, known, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
                self.wrong(None, f"has no key {key!r}{where}; {hint}", value.line)

    def wrong(self, key: str | None, problem: str, line: int | None = None) -> NoReturn:
        """Raise ConfigError about a key, or about the whole section."""
        if line is None:
            line = self.values[key].line if key in self.values else self._line
        raise ConfigError(self.path, line, f"{self._what}: {key} {problem}" if key else f"{self._what} {problem}")

    def text(self, key: str, default: str | None = None) -> str:
        """Return a single value; the default if the key is missing. Raises ConfigError."""
        if key not in self.values:
            if default is not None:
                return default
            self.wrong(key, "must be given, as one value")
        value = scalar(self.values[key].node)
        if value is None or not value.strip():
            self.wrong(key, "must be one value")
        if not value.isprintable():
            self.wrong(key, "holds a control character")
        return value

    def items(self, key: str) -> list[yaml.Node]:
        """Return the items of a list. Raises ConfigError."""
        node = self.values[key].node if key in self.values else None
        if node is None or node.tag != "tag:yaml.org,2002:seq":
            self.wrong(key, "must be a list")
        return list(node.value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of single values. Raises ConfigError."""
        found = []
        for node in self.items(key):
            value = scalar(node)
            if not value or not value.isprintable():
                self.wrong(key, "must be a list of texts")
            found.append(value)
        return tuple(found)
