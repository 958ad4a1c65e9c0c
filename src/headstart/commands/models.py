"""headstart models: what can be opened, and what one model is."""

from __future__ import annotations

from typing import Annotated

import typer

NAME = typer.Argument(metavar="[NAME|DIR]", help="A folder, or a name on the Hugging Face hub.")
JSON = typer.Option("--json", help="Print JSON instead of the table.")


def models_command(
    name: Annotated[str | None, NAME] = None, json: Annotated[bool, JSON] = False
) -> None:
    """List the families of models that can be opened; or tell what one model is.

    Of one model: family, blocks, width, parameters, positions, longest text,
    tokenizer, pooling, licence, and the memory that it takes to train all of it,
    a LoRA of rank 8, or a head.

    Examples:

      headstart models
      headstart models all-MiniLM-L6-v2
    """
    from headstart.report.models import describe, families, families_table, model_table

    if name is None:
        print(_json(families()) if json else families_table())
        return
    values = describe(name)
    print(_json(values) if json else model_table(values))


def _json(values: object) -> str:
    import json

    return json.dumps(values, indent=2, ensure_ascii=False)
