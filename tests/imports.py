"""What the sources import, read from their text: nothing is loaded."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def imports(path, *, types=False):
    """Names that a file imports: 'numpy', 'cloudmask.files.write_whole'; with those for `types`."""
    names, nodes = set(), [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if not types and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        else:
            nodes += ast.iter_child_nodes(node)
    return names


def modules(*places):
    """Path below the root -> what it imports, for files and the files of folders."""
    paths = {path for place in places for path in [ROOT / place, *(ROOT / place).rglob("*.py")]}
    return {
        path.relative_to(ROOT).as_posix(): imports(path)
        for path in sorted(paths)
        if path.suffix == ".py"
    }


def uses(names, package):
    return any(name == package or name.startswith(f"{package}.") for name in names)
