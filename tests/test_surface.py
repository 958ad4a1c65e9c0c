"""The public surface: what is promised is there, and light to import."""

import subprocess
import sys

import headstart

HEAVY = ("torch", "numpy", "pandas", "sklearn", "pyarrow", "lightning_fabric", "tokenizers",
         "transformers", "huggingface_hub", "jinja2")  # fmt: skip


def test_everything_promised_can_be_imported():
    for name in headstart.__all__:
        assert getattr(headstart, name).__doc__, f"{name} has no docstring"


def test_the_list_is_sorted_and_complete():
    assert headstart.__all__ == sorted(headstart.__all__)
    assert set(headstart.__all__) == set(headstart._HOMES)


def loaded_after(code: str) -> set[str]:
    code = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_headstart_loads_nothing_heavy():
    loaded = loaded_after("import headstart")
    assert not loaded & set(HEAVY)
    assert len(loaded) < 120


def test_help_loads_nothing_heavy():
    code = "from typer.testing import CliRunner\nfrom headstart.cli import app\n"
    code += "assert CliRunner().invoke(app, ['transfer', '--help']).exit_code == 0"
    assert not loaded_after(code) & set(HEAVY)


def test_checking_a_recipe_loads_nothing_heavy():
    code = "from headstart.recipe import Recipe\n"
    code += "Recipe.from_values({'data': {'a': {'path': 'a.csv'}}, "
    code += "'stage': [{'name': 's', 'data': 'a', 'epochs': 1}]})"
    assert not loaded_after(code) & set(HEAVY)
