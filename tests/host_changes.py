"""What changed in a newer ComfyUI's model files that our family entries rely on.

    python tests/host_changes.py OLD NEW     two folders, or folder@ref for a state of a git clone
    python tests/host_changes.py             of the hosts that can be found, the two newest

For each entry of nodes/host/families*.py: is its class still there, are its lists of blocks, do the blocks
take the image and text tokens where the entry says, return what they did, and are they called as before?
Exit status: 0 nothing of it changed, 1 something did, 2 an entry does not hold any more.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).absolute().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "host")]

from comfy_host import PACK_NAME, find_hosts, host_version  # noqa: E402
from host_source import Class, Host, code, find_class, functions_called  # noqa: E402


@dataclass
class Relied:
    """What one entry relies on in one host.

    Attributes:
        facts: by what they are about.
        problems: why the entry does not hold in this host.
    """

    facts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def load_families() -> Any:
    """The family entries, loaded without the nodes, which need a running host."""
    for name in (PACK_NAME, f"{PACK_NAME}.nodes", f"{PACK_NAME}.nodes.host"):
        if name not in sys.modules:
            package = ModuleType(name)
            package.__path__ = [str(ROOT.joinpath(*name.split(".")[1:]))]
            sys.modules[name] = package
    return importlib.import_module(f"{PACK_NAME}.nodes.host.families").FAMILIES


def relied_on(host: Host, family: Any, name: str) -> Relied | None:
    """What an entry relies on of one of its classes; None where the host has no such class."""
    module, _, class_name = name.rpartition(".")
    cls = find_class(host, module, class_name)
    if cls is None:
        return None
    relied = Relied()
    for stage in family.stages:
        look_at_stage(relied, cls, stage)
    return relied


def look_at_stage(relied: Relied, model: Class, stage: Any) -> None:
    """One list of blocks: who holds it, how it is walked, what its blocks take and return."""
    *path, name = stage.blocks.split(".")
    for part in path:
        held = class_held(model, part)
        if held is None:
            relied.problems.append(f"{model.name} has no {part!r} of a known class")
            return
        model = held
    made = [node for function in all_functions(model) for node in assignments(function, name)]
    if not made:
        relied.problems.append(f"{model.name} makes no list {name!r}")
        return
    for method in model.methods():
        if method.name != "__init__" and any(is_attribute(node, name) for node in ast.walk(method)):
            relied.facts[f"{model.name}.{method.name}, which calls the blocks"] = code(method)
    blocks = block_classes(model, made, stage)
    if not blocks:
        relied.problems.append(f"the class of the blocks in {model.name}.{name} was not found")
    for block in blocks:
        look_at_block(relied, block, stage)


def all_functions(model: Class) -> Iterator[ast.FunctionDef]:
    """Methods of a class and of those that it inherits from, replaced ones too: constructors call them."""
    for cls in model.line():
        yield from (node for node in cls.node.body if isinstance(node, ast.FunctionDef))


def class_held(model: Class, name: str) -> Class | None:
    """The class of what a model holds under a name."""
    found = (
        find_class(model.host, cls.module, ast.unparse(call.func))
        for cls in model.line()
        for function in all_functions(cls)
        for value in assignments(function, name)
        for call in ast.walk(value)
        if isinstance(call, ast.Call)
    )
    return next((cls for cls in found if cls is not None), None)


def assignments(function: ast.FunctionDef, name: str) -> Iterator[ast.expr]:
    """What is assigned to self.name."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and any(is_attribute(target, name) for target in node.targets):
            yield node.value


def is_attribute(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == name and ast.unparse(node.value) == "self"


def block_classes(model: Class, made: list[ast.expr], stage: Any) -> list[Class]:
    """Classes of the blocks in a list: those named where it is made, else the constructors' that fit."""
    constructors = [function for function in all_functions(model) if function.name == "__init__"]
    named = classes_named(model, made)
    return named or [cls for cls in classes_named(model, constructors) if not misplaced(cls, stage)]


def classes_named(model: Class, nodes: Sequence[ast.AST]) -> list[Class]:
    """Classes with a forward of their own that are named in some code of a model."""
    names = dict.fromkeys(
        ast.unparse(inner)
        for node in nodes
        for inner in ast.walk(node)
        if isinstance(inner, (ast.Name, ast.Attribute))
    )
    found = [find_class(cls.host, cls.module, name) for cls in model.line() for name in names]
    return list({cls.name: cls for cls in found if cls is not None and cls.method("forward")}.values())


def misplaced(block: Class, stage: Any) -> list[str]:
    """Tokens that a block does not take where the entry says, in words."""
    forward = block.method("forward")
    if forward is None or forward.args.vararg is not None:
        return []
    names = argument_names(forward)
    return [
        f"{block.name}.forward takes ({', '.join(names)}), the entry has {name!r} at place {position}"
        for position, name in filter(None, (stage.image, stage.text))
        if name not in names or names.index(name) != position
    ]


def argument_names(function: ast.FunctionDef) -> list[str]:
    """Names in order, without self."""
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return [name for name in names if name != "self"]


def look_at_block(relied: Relied, block: Class, stage: Any) -> None:
    """What a block takes and returns."""
    forward = block.method("forward")
    assert forward is not None
    relied.problems += misplaced(block, stage)
    functions = [forward]
    if forward.args.vararg is not None:  # hands everything on to a function
        functions += functions_called(block.host, block.module, forward)
    for function in functions:
        label = f"{block.name}.forward" if function is forward else function.name
        relied.facts[f"{label} takes"] = ast.unparse(function.args).replace(", ", ",\n")
        returned = [ast.unparse(node.value) for node in ast.walk(function) if is_answer(node)]
        relied.facts[f"{label} returns"] = "\n".join(returned)


def is_answer(node: ast.AST) -> bool:
    return isinstance(node, ast.Return) and node.value is not None


def full_name(name: str) -> str:
    return name if name.startswith("comfy.") else f"comfy.ldm.{name}"


def compare(old: Relied | None, new: Relied | None) -> tuple[list[str], int]:
    """Lines that say what changed, and the exit status that they call for."""
    if new is None:
        return (["not in the new host; it was in the old one"], 2) if old else ([], 0)
    lines = [f"the entry does not hold: {problem}" for problem in new.problems]
    status = 2 if lines else 0
    if old is None:
        return [*lines, "new"], status
    for about in dict.fromkeys((*old.facts, *new.facts)):
        before, after = (relied.facts.get(about, "") for relied in (old, new))
        if before != after:
            status = max(status, 1)
            lines += [f"{about}:", *difference(before, after)]
    return lines, status


def difference(before: str, after: str) -> list[str]:
    """Lines that went and came."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [f"    {line}" for line in lines if not line.startswith(("---", "+++", "@@"))]


def report(old: Host, new: Host) -> tuple[list[str], int]:
    """The whole comparison as lines, and the exit status."""
    lines, status, same = [], 0, []
    for family in load_families():
        for name in map(full_name, family.classes):
            found, severity = compare(relied_on(old, family, name), relied_on(new, family, name))
            status = max(status, severity)
            if found:
                lines += ["", f"{family.name}  {name}", *(f"  {line}" for line in found)]
            elif relied_on(new, family, name):
                same.append(name.rpartition(".")[2])
    if same:
        lines += ["", f"Unchanged: {', '.join(same)}"]
    return lines, status


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", nargs="?")
    parser.add_argument("new", nargs="?")
    options = parser.parse_args()
    places = [options.old, options.new]
    if None in places:
        found = [str(host) for host in find_hosts()[:2]]
        if options.old or len(found) < 2:
            parser.error("give two hosts: OLD NEW. Without them two must be in the cache (CONTRIBUTING.md).")
        places = found[::-1]
    try:
        old, new = map(Host.parse, places)
    except FileNotFoundError as error:
        parser.error(str(error))
    names = [f"{host} ({host_version(host.folder)})" if not host.ref else str(host) for host in (old, new)]
    print(f"From {names[0]}\nto   {names[1]}")
    lines, status = report(old, new)
    print("\n".join(lines))
    print(f"\n{('Nothing changed', 'Read what changed', 'Some entries do not hold')[status]}.")
    return status


if __name__ == "__main__":
    sys.exit(main())
