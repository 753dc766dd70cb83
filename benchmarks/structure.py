"""How the tree is built: `python -m benchmarks.structure [--root CHECKOUT]`. Figures only; nothing is asserted.

Files per folder, circles between modules, arrows between rooms against the layers of `pyproject.toml`, imports of the
largest module, lines by kind; names and sentences against the rules of CONTRIBUTING.md.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import sys
import tokenize
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NOT_PRODUCT = ("tests", "benchmarks")
# Participles and adverbs that name nothing; words.md of the project's rules lists them.
PARTICIPLES = frozenset(
    [
        "found",
        "held",
        "said",
        "given",
        "kept",
        "shown",
        "known",
        "told",
        "heard",
        "begun",
        "bent",
        "mine",
        "whole",
        "done",
        "asked",
        "filed",
        "ended",
        "taken",
        "left",
        "seen",
        "made",
        "meant",
        "sent",
        "read",
        "written",
        "drawn",
        "wanted",
        "needed",
        "used",
        "chosen",
        "anew",
        "alike",
    ]
)
HEADLESS = re.compile(r"(?:^|(?<=[.!?:] ))(?:What|Who|Whoever|Whatever|Whichever|Where|That which)\b[^.?!]*[.]")


def python_files(root: Path) -> list[Path]:
    """Return every Python file of the checkout, without environments and hidden folders."""
    return sorted(
        path for path in root.rglob("*.py")
        if not any(part.startswith(".") or part in ("build", "dist") for part in path.relative_to(root).parts)
    )  # fmt: skip


def module_of(path: Path, root: Path) -> str:
    """Return the dotted name of a file."""
    name = path.relative_to(root).with_suffix("").as_posix().replace("/", ".")
    return name.removesuffix(".__init__")


def imports(files: Iterable[Path], root: Path) -> dict[str, set[str]]:
    """Return module → modules of the tree that it imports, late imports included."""
    known = {module_of(path, root) for path in files}
    arrows: dict[str, set[str]] = defaultdict(set)
    for path in files:
        name = module_of(path, root)
        arrows[name] |= {target for target in _imported(ast.parse(path.read_text("utf-8")), known) if target != name}
    return arrows


def _imported(tree: ast.AST, known: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in known or node.module in known:
                    yield whole if whole in known else node.module


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other. Source: Tarjan 1972, strongly connected components."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(arrows.get(node, ())):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                groups.append(sorted(group))

    sys.setrecursionlimit(10_000)
    for node in sorted(arrows):
        if node not in index:
            visit(node)
    return groups


def layers_of(root: Path) -> list[list[str]]:
    """Return the layers of the import contract, from above; none where the checkout has none."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    contracts = project.get("tool", {}).get("importlinter", {}).get("contracts", [])
    layers: list[str] = next((one["layers"] for one in contracts if one["type"] == "layers"), [])
    return [[room.strip(" ()") for room in layer.split("|")] for layer in layers]


def upward_arrows(arrows: dict[str, set[str]], layers: list[list[str]]) -> list[str]:
    """Return the imports that point to a layer above, or to another room of the same layer."""
    height = {room: number for number, layer in enumerate(layers) for room in layer}

    def room_of(module: str) -> str | None:
        parts = module.split(".")
        names = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
        return next((name for name in names if name in height), None)

    wrong = []
    for module, targets in sorted(arrows.items()):
        for target in sorted(targets):
            here, there = room_of(module), room_of(target)
            if here and there and here != there and height[there] <= height[here]:
                wrong.append(f"{module} -> {target}")
    return wrong


def lines_by_kind(files: list[Path], root: Path) -> dict[str, int]:
    """Return lines of Python of product, benchmarks and tests."""
    counts: Counter[str] = Counter()
    for path in files:
        top = path.relative_to(root).parts[0]
        counts[top if top in NOT_PRODUCT else "product"] += len(path.read_text("utf-8").splitlines())
    return dict(counts)


def names_and_comments(files: list[Path], root: Path) -> dict[str, Any]:
    """Measure variables named by participles, and comments in 100 lines, of the product and of `models/`."""
    stored = participles = 0
    lines: Counter[str] = Counter()
    comments: Counter[str] = Counter()
    for path in files:
        parts = path.relative_to(root).parts
        if parts[0] in NOT_PRODUCT:
            continue
        text = path.read_text("utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                stored += 1
                participles += node.id.strip("_") in PARTICIPLES
        number = sum(token.type == tokenize.COMMENT for token in tokenize.generate_tokens(io.StringIO(text).readline))
        for kind in ("product", *(["models"] if parts[0] == "models" else [])):
            lines[kind] += len(text.splitlines())
            comments[kind] += number
    return {
        "participle names, %": round(100 * participles / max(stored, 1), 2),
        **{f"comments in 100 lines, {kind}": round(100 * comments[kind] / lines[kind], 2) for kind in lines},
    }


def sentences_of(root: Path, files: list[Path]) -> list[str]:
    """Return the sentences of documents and docstrings."""
    texts = [path.read_text("utf-8") for path in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]]
    texts = [re.sub(r"(?s)```.*?```", "", text) for text in texts]
    for path in files:
        if path.relative_to(root).parts[0] not in NOT_PRODUCT:
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                    texts.append(ast.get_docstring(node) or "")
    paragraphs = (re.sub(r"\s+", " ", block) for text in texts for block in re.split(r"\n\s*\n|\n[-*|#] ?", text))
    return [one.strip() for block in paragraphs for one in re.split(r"(?<=[.!?]) ", block) if len(one.split()) > 2]


def measure(root: Path) -> dict[str, Any]:
    """Measure one checkout."""
    files = python_files(root)
    product = [path for path in files if path.relative_to(root).parts[0] not in NOT_PRODUCT]
    arrows = imports(product, root)
    folders = Counter(path.parent.relative_to(root).as_posix() for path in product if path.name != "__init__.py")
    largest = max(arrows, key=lambda name: len(arrows[name]))
    sentences = sentences_of(root, files)
    headless = [one for one in sentences if HEADLESS.match(one)]
    return {
        "files in the fullest folders": dict(folders.most_common(6)),
        "circles": circles(arrows),
        # None: this checkout has no layers to hold the arrows against.
        "arrows upwards": upward_arrows(arrows, layers) if (layers := layers_of(root)) else None,
        "most imports of the tree": {largest: len(arrows[largest])},
        "lines of Python": lines_by_kind(files, root),
        **names_and_comments(files, root),
        "sentences": len(sentences),
        "headless clauses, %": round(100 * len(headless) / max(len(sentences), 1), 2),
        "words in README": len((root / "README.md").read_text("utf-8").split()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.structure", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to measure; default: this one")
    print(json.dumps(measure(parser.parse_args(arguments).root.resolve()), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
