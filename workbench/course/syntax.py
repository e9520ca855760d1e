"""Fingerprints of the structure of Python source, taken in a process of its own.

Read from standard input, written to standard output, as JSON.  It is run as a script by
:mod:`workbench.course.similarity`, with nothing but the standard library: source made to
break a parser breaks this process only.

The *shape* of a syntax tree is the list of its nodes, parents first, where a name that
the source itself chose is like any other, and a number is like any other number.  What
the library chose (attributes, keyword arguments, operators) stays.  Of all runs of
:data:`LENGTH` nodes the winnowing of Schleimer, Wilkerson and Aiken (2003) keeps the least
in each window of :data:`WINDOW`: any common run of ``LENGTH + WINDOW - 1`` nodes is found.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys

LENGTH, WINDOW = 14, 6  # Nodes; a line of NumPy has seven to ten.

#: A fingerprint, and the first and last line that it covers.
Print = tuple[str, int, int]


def shape(source: str) -> list[tuple[str, int]]:
    """Return the kinds of nodes, and the line of each.

    Raises
    ------
    SyntaxError, ValueError, RecursionError, MemoryError
        If the source cannot be parsed.
    """
    lines = source.split("\n")  # IPython's commands are no Python.
    source = "\n".join("" if line.lstrip()[:1] in ("%", "!") else line for line in lines)
    tree = ast.parse(source)
    own = {node.attr for node in ast.walk(tree)
           if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}  # fmt: skip
    own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    found: list[tuple[str, int]] = []
    waiting: list[tuple[ast.AST, int]] = [(tree, 1)]
    while waiting:  # Not by recursion: a tree can be deeper than Python's stack.
        node, line = waiting.pop()
        line = getattr(node, "lineno", line)
        kind = type(node).__name__
        if isinstance(node, ast.expr_context):
            continue
        if isinstance(node, ast.Attribute) and node.attr not in own:
            kind += f".{node.attr}"
        elif isinstance(node, ast.keyword) and node.arg not in own:
            kind += f".{node.arg}"
        elif isinstance(node, ast.alias):
            kind += f".{node.name}"
        elif isinstance(node, ast.Constant):
            kind += f".{type(node.value).__name__}"
        found.append((kind, line))
        waiting += [(child, line) for child in reversed(_children(node))]
    return found


def _children(node: ast.AST) -> list[ast.AST]:
    body = getattr(node, "body", None)
    dropped: set[int] = set()
    if isinstance(body, list):  # Docstrings, and texts that stand about.
        dropped = {id(each) for each in body
                   if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)}  # fmt: skip
    dropped |= {id(getattr(node, name, None)) for name in ("annotation", "returns")}
    return [each for each in ast.iter_child_nodes(node) if id(each) not in dropped]


def fingerprints(source: str) -> list[Print]:
    """Return the winnowed fingerprints of a source.

    A source shorter than :data:`LENGTH` nodes has none: it is too short to say anything.

    Raises
    ------
    SyntaxError, ValueError, RecursionError, MemoryError
        If the source cannot be parsed.
    """
    nodes = shape(source)
    runs: list[Print] = []
    for i in range(len(nodes) - LENGTH + 1):
        run = nodes[i : i + LENGTH]
        text = " ".join(kind for kind, _ in run)
        lines = [line for _, line in run]
        digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()
        runs.append((digest, min(lines), max(lines)))
    if not runs:
        return []
    chosen = set()
    for i in range(max(1, len(runs) - WINDOW + 1)):
        window = range(i, min(i + WINDOW, len(runs)))
        chosen.add(min(window, key=lambda place: (runs[place][0], -place)))
    return [runs[place] for place in sorted(chosen)]


def main() -> int:
    """Answer a list of sources with a list of fingerprints, or of reasons why there are none."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers: list[list[Print] | str] = []
    for source in json.load(sys.stdin):
        try:
            answers.append(fingerprints(source))
        except SyntaxError as error:
            answers.append(f"not Python: line {error.lineno}")
        except (ValueError, RecursionError, MemoryError) as error:
            answers.append(f"cannot be parsed: {type(error).__name__}")
    json.dump(answers, sys.stdout)
    return 0


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")  # What a student's source would be warned of.
    sys.exit(main())
