"""The house has one way through it, left to right: a module imports only from its left."""

import ast
from pathlib import Path

import headstart

ORDER = """
    errors clock recipe nn models generation data tasks objectives training evaluation doctor
    verdict explain report export speaking answering api estimator predicting demo commands cli
""".split()
ROOT = Path(headstart.__file__).parent


def imported(tree: ast.AST) -> set[str]:
    """Names of headstart modules that a module imports, also inside functions."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that they can be read anywhere"
            names.add(node.module or "")
            if node.module == "headstart":
                names |= {f"headstart.{alias.name}" for alias in node.names}
    return {n.split(".")[1] for n in names if n.startswith("headstart.")}


def test_imports_point_left():
    wrong = []
    for file in sorted(ROOT.rglob("*.py")):
        home = file.relative_to(ROOT).parts[0].removesuffix(".py")
        if home == "__init__":
            continue
        for other in imported(ast.parse(file.read_text(encoding="utf-8"))):
            if ORDER.index(other) > ORDER.index(home):
                wrong.append(f"{file.relative_to(ROOT)} imports {other}")
    assert not wrong


def test_every_module_has_a_place():
    homes = {p.name.removesuffix(".py") for p in ROOT.iterdir() if p.suffix == ".py" or p.is_dir()}
    assert homes - {"__init__", "__pycache__", "py.typed"} == set(ORDER)
