"""The command line: a thin wrapper on the Python functions."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm
from typer.exceptions import TyperException

from lresnet_utils.errors import LResNetError, ParamsError, StorageError, one_line, print_line
from lresnet_utils.machine.disk import cannot_write, require_replaceable, write_json
from lresnet_utils.machine.processes import safe_environment
from lresnet_utils.params import Params, declared, load_params
from lresnet_utils.run import RunFolder

app = typer.Typer(
    help="Evaluation reports for face-embedding networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Workers = Annotated[
    int, typer.Option(min=0, help="Worker processes to start on this machine; 0: none.")
]
Scheduler = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler whose workers do the work.")
]
FilesOption = Annotated[
    str,
    typer.Option(
        "--files", metavar="auto|shared|sent", help="Workers see our files, or are sent them."
    ),
]


def main() -> None:
    """Run the command line: status 0 well, 1 something failed, 2 wrong input, 130 interrupted."""
    # For whatever is started from here on, by us or by a library.
    os.environ.update(safe_environment())
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show stops nothing
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # What libraries say of a file goes to the terminal as what we say does.
    warnings.showwarning = lambda text, kind, *_: print_line(
        f"{kind.__name__}: {text}", file=sys.stderr
    )
    logging.lastResort.format = lambda record: one_line(record.getMessage())
    try:
        # Told by us, as what Typer says of options that it does not know takes four lines and more.
        sys.exit(app(standalone_mode=False) or 0)
    except TyperException as error:
        if len(sys.argv) == 1:  # no word at all is answered with the help
            error.show()
            sys.exit(error.exit_code)
        # What is noticed while words are split belongs to no verb yet.
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "lresnet"
        _tell(LResNetError(error.format_message(), where=command, fix=f"see {command} --help"))
        sys.exit(error.exit_code)
    except LResNetError as error:
        _tell(error)
        sys.exit(1 if isinstance(error, StorageError) else 2)
    except OSError as error:  # a name that no file system takes, a ring of links, a full disk
        if error.errno in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            _tell(cannot_write(Path(str(error.filename)), error))
            sys.exit(1)
        what, fix = f"The system refused: {error.strerror}.", None
        if error.errno == errno.ENAMETOOLONG:
            what, fix = "A path is longer than the system takes.", "shorten it"
        _tell(LResNetError(what, where=str(error.filename), fix=fix))
        sys.exit(2)
    except SystemExit as end:
        if end.code == 130:  # what Typer makes of Ctrl-C, without a word
            print_line("Interrupted; what was finished is kept.", file=sys.stderr)
        raise


def _tell(error: LResNetError) -> None:
    for line in str(error).splitlines():
        print_line(line, file=sys.stderr)


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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say of every notebook if it would run, and why.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Run everything anew, whatever is there already.")
    ] = False,
    notebooks: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to take them.", show_default="lresnet's own"),
    ] = None,
    workers: Workers = 0,
    scheduler: Scheduler = None,
    files: FilesOption = "auto",
) -> None:
    """Check everything, execute the notebooks that must run, publish the pages."""
    checked = load_params(params, overrides or [])
    folder = RunFolder.open(output or Path("outputs") / checked.name, notebooks)
    # Imported here, as it brings libraries that --help must not wait for.
    from lresnet_utils.running.progress import execute_with_progress, print_plan

    def check() -> None:
        # This brings torch, which nothing to do need not wait for.
        from lresnet_utils.running import preflight

        preflight.check(checked, folder)

    if dry_run:
        print_plan(checked, folder, check=check, fresh=fresh)
        return
    from lresnet_utils.cluster.run_jobs import open_executor

    executor = open_executor(checked, folder, workers=workers, scheduler=scheduler, files=files)
    sys.exit(execute_with_progress(checked, folder, check=check, fresh=fresh, executor=executor))


@app.command()
def compare(
    a: Annotated[
        Path, typer.Argument(help="The old one: a run's folder, results.json or index.html.")
    ],
    b: Annotated[Path, typer.Argument(help="The new one, likewise; may be the same.")],
    cells: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            help="One cell of each, as 16/torch-fp32 16/openvino-bf16.",
            show_default="cells of the same batch size and target",
        ),
    ] = None,
    margin: Annotated[
        float, typer.Option(help="Accuracy that does not matter, percentage points.")
    ] = 0.2,
    replicates: Annotated[int, typer.Option(help="Replicates of the bootstrap.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write everything as JSON.")
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a page.")
    ] = None,
    language: Annotated[str, typer.Option(help="Language of the page: en or zh.")] = "en",
) -> None:
    """Say whether one build or run is as good as another, pair by pair.

    Differences are B minus A, ratios B over A. The status is 0 whatever the verdict, and 2 when
    the two cannot be compared.
    """
    from lresnet_utils.comparison.reports import CompareSettings, compare_reports
    from lresnet_utils.comparison.sources import open_report
    from lresnet_utils.report.pages.compare import COMPARISON, write_page

    settings = CompareSettings(margin_points=margin, replicates=replicates, seed=seed)
    if json_file is not None:
        require_replaceable(json_file, lambda data: b'"schema": 1,\n "a":' in data[:64])
    if html_file is not None:
        require_replaceable(html_file, lambda data: COMPARISON.encode() in data)
    comparison = compare_reports(open_report(a), open_report(b), cells=cells, settings=settings)
    from lresnet_utils.running.console import print_comparison

    print_comparison(comparison)
    if json_file is not None:
        write_json(json_file, comparison.record)
    if html_file is not None:
        write_page(comparison, html_file, language)


@app.command()
def doctor() -> None:
    """List every target: whether it can run here, and how to get it if not."""
    from lresnet_utils.targets import TARGETS

    width = max(len(name) for name in TARGETS)
    for name, target in TARGETS.items():
        able = target.available()
        print_line(f"{name:<{width}}  {'ok' if able.ok else 'unavailable'}")
        for text in (able.reason, able.remedy, able.note):
            if text:
                print_line(f"{'':<{width}}  {text}")


@app.command()
def schema(
    results: Annotated[
        bool, typer.Option("--results", help="Print that of results.json instead.")
    ] = False,
) -> None:
    """Print the JSON schema of a params file, or of results.json."""
    from lresnet_utils.results import results_schema

    found = results_schema() if results else Params.model_json_schema()
    typer.echo(json.dumps(found, indent=1))


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A checkpoint, or an .onnx file.")],
    output: Annotated[
        str, typer.Option(help="The embedding among an .onnx file's outputs.")
    ] = "auto",
) -> None:
    """Say which network a file holds, and what a params file must say about it."""
    from lresnet_utils.running.preflight import inspect_file  # brings torch

    for line in inspect_file(file, output=output):
        # Lines of a params file are whole, however long a name in them is.
        print_line(line, most=len(line))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; say whether pages and files are as left."),
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(metavar="HASH", help="With --check: what it printed when the run ended."),
    ] = None,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Also print report.pdf, with the system's Chromium.")
    ] = False,
) -> None:
    """Make the pages of a finished run again from its files, or check the published ones.

    All pages together are in report.html, one file that can be mailed.

    With --check the status is 1 when a page is not what its notebook gives, when results.json is
    not what the stages' records give, or when a file is not the one whose SHA-256 was recorded.

    What a folder says of itself, whoever can write there can say anew: who rewrites a file, all
    that is recorded of it, and resume/run.json, which states the hash of every file, is not
    noticed. So --check prints the SHA-256 of resume/run.json. Keep it elsewhere, and give it back
    with --check --against HASH.
    """
    from lresnet_utils.running.console import print_check
    from lresnet_utils.running.run_pages import check_run, render_run

    folder = RunFolder.given(run)
    if against is not None and not (check and re.fullmatch("[0-9a-fA-F]{64}", against)):
        raise ParamsError(
            "--against takes the 64 digits that --check printed, and belongs to --check.",
            where=f"--against {against}",
        )
    if check:
        sys.exit(print_check(check_run(folder, against), folder.inventory))
    for page in [*render_run(folder), folder.single]:
        print_line(page)
    if pdf:
        from lresnet_utils.report.publish.single import write_pdf

        print_line(write_pdf(folder))


@app.command()
def embed(
    run: Annotated[Path, typer.Argument(help="A run's folder: its builds embed.")],
    source: Annotated[
        Path, typer.Argument(help="Images: a run's folder, .npy, .bin, or a folder per person.")
    ],
    cell: Annotated[str, typer.Option(help="Which build, as 16/openvino-bf16.")],
    output: Annotated[
        Path | None, typer.Option(help="For the embeddings.", show_default="RUN/sets/NAME.CELL")
    ] = None,
    shard: Annotated[int, typer.Option(help="Images per file of embeddings.")] = 4096,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Take a build made elsewhere: to load one can be to run it."),
    ] = False,
    workers: Workers = 0,
    scheduler: Scheduler = None,
    files: FilesOption = "auto",
) -> None:
    """Embed a set of any size with a build of a run, shard by shard; goes on where it stopped."""
    from lresnet_utils.cluster import commands

    commands.embed(
        run,
        source,
        cell=cell,
        output=output,
        shard_size=shard,
        trust=trust,
        workers=workers,
        scheduler=scheduler,
        files=files,
    )


@app.command()
def all_pairs(
    folder: Annotated[Path, typer.Argument(help="What lresnet embed filled.")],
    far: Annotated[list[float] | None, typer.Option(help="A false accept rate; several.")] = None,
    workers: Workers = 0,
    scheduler: Scheduler = None,
    files: FilesOption = "auto",
) -> None:
    """Score every pair of an embedded set: EER and TAR at false accept rates, exactly."""
    from lresnet_utils.cluster import commands

    commands.all_pairs(
        folder,
        far_targets=far or [1e-3, 1e-4, 1e-5, 1e-6],
        workers=workers,
        scheduler=scheduler,
        files=files,
    )


@app.command()
def pack(
    source: Annotated[str, typer.Argument(help="orl, a .bin, a folder of people or LFW, a .csv.")],
    out: Annotated[Path, typer.Argument(help="The .bin to write.")],
    pairs: Annotated[str, typer.Option(help="Which pairs, as dataset.pairs.")] = "auto",
    align: Annotated[str, typer.Option(help="auto, always or never, as dataset.align.")] = "auto",
    folds: Annotated[int, typer.Option(help="Folds of pairs that are drawn.", min=2)] = 10,
) -> None:
    """Write a set as a .bin that InsightFace's own scripts read."""
    from lresnet_utils.data.pack import pack as write

    print_line(write(source, out, pairs=pairs, align=align, folds=folds).sentence())


@app.command()
def fetch(
    name: Annotated[str | None, typer.Argument(help="Which; without it, all are listed.")] = None,
    to: Annotated[Path, typer.Option(help="Folder below which the files go.")] = Path(),
) -> None:
    """Download a known set or checkpoint, check it, and say what may be done with it."""
    from lresnet_utils.data.fetch import fetch as get
    from lresnet_utils.data.known_sets import find_source, known_sources

    if name is None:
        for source in known_sources().values():
            way = "" if source.files[0].url else " (by hand: needs a browser)"
            print_line(f"{source.name}: {source.title}{way}")
        return
    source = find_source(name)
    print_line(f"{source.title}, from {source.origin}")
    print_line(f"Terms: {source.licence}")
    with tqdm(unit="B", unit_scale=True, disable=None) as bar:

        def progress(done: int, total: int | None) -> None:
            bar.n, bar.total = done, total
            bar.refresh()

        for fetched in get(source, to, progress):
            print_line(f"{fetched.path}: {fetched.how} ({fetched.sha256[:12]}...)")
