"""Counts the code lines of each package: `python benchmarks/code_lines.py [FOLDER]`."""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

# What the tokenizer yields for layout and comments.
NOT_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def code_lines(source: str) -> int:
    """Return how many lines hold code: blank lines, comments and docstrings are none."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    spans = [(token.start[0], token.end[0]) for token in tokens if token.type not in NOT_CODE]
    lines = {line for first, last in spans for line in range(first, last + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            words = node.body[0]
            lines -= set(range(words.lineno, (words.end_lineno or words.lineno) + 1))
    return len(lines)


def main() -> None:
    """Print the code lines of each package below a folder, the sum last."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "commcast")
    found: Counter[str] = Counter()
    files = 0
    for path in root.rglob("*.py"):
        lines = code_lines(path.read_text())
        files += lines > 0
        found[path.relative_to(root).parts[0] if path.parent != root else "."] += lines
    for package, lines in sorted(found.items()):
        print(f"{lines:7,}  {package}")
    print(f"{found.total():7,}  in {files} files")


if __name__ == "__main__":
    main()
