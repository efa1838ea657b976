"""The source of a ComfyUI, read without running it: classes, what they inherit, their methods.

A host is a folder, or a state of a git repository, written as `folder@ref`.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Host:
    """Where the source is.

    Attributes:
        folder: of the checkout.
        ref: commit, tag or branch in it; empty for the files as they lie there.
    """

    folder: Path
    ref: str = ""

    @classmethod
    def parse(cls, place: str) -> Host:
        """Of `folder` or `folder@ref`.

        Raises:
            FileNotFoundError: no ComfyUI there.
        """
        folder, _, ref = place.partition("@") if not Path(place).is_dir() else (place, "", "")
        host = cls(Path(folder).expanduser().absolute(), ref)
        if host.read("comfy/ldm/common_dit.py") is None:
            raise FileNotFoundError(
                f"{place} holds no ComfyUI. Give the folder of a checkout, or folder@ref for a commit, tag "
                "or branch of a git clone of it."
            )
        return host

    def read(self, path: str) -> str | None:
        """Text of a file, None where there is none."""
        if not self.ref:
            file = self.folder / path
            return file.read_text(encoding="utf-8") if file.is_file() else None
        shown = subprocess.run(
            ["git", "-C", str(self.folder), "show", f"{self.ref}:{path}"], capture_output=True, check=False
        )
        return shown.stdout.decode() if shown.returncode == 0 else None

    def __str__(self) -> str:
        return f"{self.folder}@{self.ref}" if self.ref else str(self.folder)


@dataclass(frozen=True)
class Class:
    """A class of a host.

    Attributes:
        host: which one.
        module: its module, dotted.
        node: its definition.
    """

    host: Host
    module: str
    node: ast.ClassDef

    @property
    def name(self) -> str:
        return self.node.name

    def method(self, name: str) -> ast.FunctionDef | None:
        """A method, its own or inherited."""
        return next((method for method in self.methods() if method.name == name), None)

    def methods(self) -> Iterator[ast.FunctionDef]:
        """Its own methods, then those that it inherits and does not replace, or calls by super()."""
        replaced: set[str] = set()
        for cls in self.line():
            for node in cls.node.body:
                if isinstance(node, ast.FunctionDef) and node.name not in replaced:
                    if f"super().{node.name}(" not in ast.unparse(node):
                        replaced.add(node.name)
                    yield node

    def line(self) -> Iterator[Class]:
        """Itself and the host's classes that it inherits from."""
        yield self
        for base in self.node.bases:
            found = find_class(self.host, self.module, ast.unparse(base))
            if found is not None:
                yield from found.line()


@cache
def tree(host: Host, module: str) -> ast.Module | None:
    """A module of the host, parsed; None where there is none."""
    stem = module.replace(".", "/")
    text = host.read(f"{stem}.py") or host.read(f"{stem}/__init__.py")
    return ast.parse(text) if text is not None else None


@cache
def find_class(host: Host, module: str, name: str) -> Class | None:
    """A class by the name that a module knows it by; None for what is not of the host, nn.Module say."""
    if "." in name:
        outer, _, inner = name.rpartition(".")
        outer = imports(host, module).get(outer, outer)
        return find_class(host, outer, inner) if tree(host, outer) else None
    parsed = tree(host, module)
    if parsed is None:
        return None
    for node in parsed.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return Class(host, module, node)
    outer, _, inner = imports(host, module).get(name, "").rpartition(".")
    return find_class(host, outer, inner) if outer and (outer, inner) != (module, name) else None


@cache
def imports(host: Host, module: str) -> dict[str, str]:
    """Full names of what a module imports, by the names that it knows them by."""
    return {
        alias.asname or alias.name: origin_of(node, alias.name, module)
        for node in ast.walk(tree(host, module) or ast.Module([], []))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }


def origin_of(node: ast.Import | ast.ImportFrom, name: str, module: str) -> str:
    """The full name of an imported thing."""
    if isinstance(node, ast.Import):
        return name
    parts = module.split(".")[: -node.level] if node.level else []
    return ".".join([*parts, *([node.module] if node.module else []), name])


def functions_called(host: Host, module: str, function: ast.FunctionDef) -> list[ast.FunctionDef]:
    """Functions of the same module that a function calls, directly or through one another."""
    parsed = tree(host, module) or ast.Module([], [])
    known = {node.name: node for node in parsed.body if isinstance(node, ast.FunctionDef)}
    found: dict[str, ast.FunctionDef] = {}
    waiting = [function]
    while waiting:
        names = {node.id for node in ast.walk(waiting.pop()) if isinstance(node, ast.Name)}
        for name in sorted(names & known.keys() - found.keys()):
            found[name] = known[name]
            waiting.append(known[name])
    return list(found.values())


def code(node: ast.AST) -> str:
    """Source without comments, formatting and docstrings, of which nothing depends."""
    copy = ast.parse(ast.unparse(node))
    for inner in ast.walk(copy):
        if isinstance(inner, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(inner) is not None:
            inner.body = inner.body[1:] or [ast.Pass()]
    return ast.unparse(copy)
