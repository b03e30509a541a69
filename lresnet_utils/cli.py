"""The command line: a thin wrapper on the Python functions."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from lresnet_utils.errors import LResNetError
from lresnet_utils.params import Params, declared, load_params
from lresnet_utils.run import RunFolder

app = typer.Typer(
    help="Evaluation reports for face-embedding networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line: status 0 well, 1 something failed, 2 wrong input, 130 interrupted."""
    try:
        app()
    except LResNetError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted; what was finished is kept.", file=sys.stderr)
        sys.exit(130)


def _parameter_help() -> str:
    lines = [f"  {path}: {field.description}" for path, field in declared()]
    return "Execute a params file and publish its report.\n\n\b\nParameters:\n" + "\n".join(lines)


@app.command(help=_parameter_help())
def run(
    params: Annotated[Path, typer.Argument(help="A params file, such as params/demo.yaml.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a value: batch_sizes=[1,16]."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The run's folder.", show_default="outputs/NAME")
    ] = None,
) -> None:
    """Check everything, execute every notebook, publish the pages."""
    checked = load_params(params, overrides or [])
    folder = RunFolder.open(output or Path("outputs") / checked.name)
    from lresnet_utils import preflight  # brings torch, which --help must not wait for

    preflight.check(checked, folder)
    from lresnet_utils.progress import execute_with_progress

    sys.exit(execute_with_progress(checked, folder))


@app.command()
def doctor() -> None:
    """List every target: whether it can run here, and how to get it if not."""
    from lresnet_utils.targets import TARGETS

    width = max(len(name) for name in TARGETS)
    for name, target in TARGETS.items():
        able = target.available()
        print(f"{name:<{width}}  {'ok' if able.ok else 'unavailable'}")
        for text in (able.reason, able.remedy, able.note):
            if text:
                print(f"{'':<{width}}  {text}")


@app.command()
def schema() -> None:
    """Print the JSON schema of a params file."""
    print(json.dumps(Params.model_json_schema(), indent=1))
