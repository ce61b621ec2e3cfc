"""The console command `netwright`.

Exit codes: 0 success; 1 the run or a check failed; 2 usage error or invalid params, and nothing was
started; 3 a quality gate held the release back; 130 interrupted (143 SIGTERM, 129 SIGHUP). Heavy
imports happen inside the commands.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from pipelines.environment import remove_foreign_variables, reset_warnings
from pipelines.run import interrupts

DONE, FAILED, WRONG_USE, HELD_BACK = 0, 1, 2, 3

app = typer.Typer(
    name="netwright",
    help="Build one verified model bundle per device from an image data set.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Devices = Annotated[
    list[str] | None,
    typer.Option("--device", metavar="NAME", help="Run only this device's stages; repeatable."),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", min=1, help="Parallel stages. Default: the number of CPU cores."),
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show all output of the stages.")]


class Failure(Exception):  # noqa: N818 - it carries an exit code, not only an error
    """End the command with a message and an exit code."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message)
        self.code = code


@app.command()
def run(
    device: Devices = None,
    jobs: Jobs = None,
    verbose: Verbose = False,
    strict_latency: Annotated[
        bool,
        typer.Option(
            "--strict-latency",
            help="Exit with code 3 if a latency budget lies within the confidence interval of the "
            "measurement, or if an interval is wider than export.max_interval.",
        ),
    ] = False,
) -> None:
    """Run all stale stages, then show the summary."""
    from pipelines.workspace import Workspace

    root = _repository()
    with Workspace(root).lock():
        _run(root, device or [], jobs, verbose, strict_latency)


def _run(root: Path, device: list[str], jobs: int | None, verbose: bool, strict: bool) -> None:
    from bundles.errors import BundleError
    from bundles.settings import BundleParams
    from devices.runtimes.settings import ExportParams
    from pipelines.checks.cached import make_checked_plan, read_one_section, update_report
    from pipelines.leftovers import leftover_notes
    from pipelines.plan import restrict_to_devices
    from pipelines.report.provenance import attest
    from pipelines.report.summary import find_imprecise, held_back, print_summary, read_summaries

    console = Console()
    plan = restrict_to_devices(make_checked_plan(root), device)
    if plan.stale:
        from pipelines.checks.cores import thread_warnings
        from pipelines.checks.params import read_params

        for remark in thread_warnings(read_params(root)):
            console.print(remark, style="yellow", highlight=False, markup=False)
        _run_flow(root, list(plan.devices) if device else [], list(plan.stale), jobs, verbose)
    else:
        console.print("Everything is fresh: no stage had to run.")
    summaries = read_summaries(root, plan.graph, plan.devices)
    try:
        attest(root, summaries, read_one_section(root, "bundle", BundleParams).signing_key)
    except BundleError as error:
        raise Failure(FAILED, str(error)) from error
    print_summary(console, summaries)
    for note in leftover_notes(root, plan.graph):
        console.print(note, style="yellow", highlight=False, markup=False, soft_wrap=True)
    if not device:  # with some devices only, the release may not be up to date
        page = update_report(root, plan.graph, summaries)
        console.print(f"report: {page.relative_to(root)}")
    held = held_back(summaries)
    if held:
        raise Failure(HELD_BACK, f"the quality gate held back: {', '.join(held)}.")
    if strict:
        widest = read_one_section(root, "export", ExportParams).max_interval
        if found := find_imprecise(summaries, widest):
            lines = "\n".join(f"{name}: {reason}" for name, reason in found.items())
            raise Failure(HELD_BACK, f"--strict-latency holds back:\n{lines}")


@app.command()
def status() -> None:
    """Show what is fresh, what would run, and why."""
    from data.check import check_images
    from pipelines.checks.params import read_params
    from pipelines.checks.paths import check_paths
    from pipelines.checks.targets import imported_problems, stale_tables
    from pipelines.cli.status import print_running, print_status
    from pipelines.leftovers import leftover_notes
    from pipelines.plan import make_plan
    from pipelines.workspace import Workspace

    root = _repository()
    workspace = Workspace(root)
    if (runner := workspace.running_pid()) is not None:
        print_running(Console(), runner, workspace.read_states())
        return
    values = read_params(root)  # its error messages are better than DVC's
    check_paths(root, values)
    check_images(values["data"])
    devices, plan = values["devices"], make_plan(root)
    notes = [*imported_problems(root, devices), *stale_tables(root, devices, plan).values()]
    notes += leftover_notes(root, plan.graph)
    print_status(Console(), plan, notes)


@app.command()
def doctor() -> None:
    """Show runtimes, devices, feasibility of each budget, data and resources."""
    from pipelines.cli.doctor import examine

    if not examine(Console(), _repository()):
        raise Failure(FAILED)


@app.command()
def profile(
    device: Annotated[str, typer.Argument(metavar="DEVICE")],
    table: Annotated[
        Path | None,
        typer.Option(
            "--import",
            metavar="TABLE.csv",
            exists=True,
            dir_okay=False,
            help="Import a latency table that was measured offline, instead of measuring.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--export-models",
            metavar="FOLDER",
            help="Export the models and the table to fill in, for an offline measurement.",
        ),
    ] = None,
) -> None:
    """Measure a device again, even if its latency table is up to date."""
    if table is not None and folder is not None:
        raise Failure(WRONG_USE, "--import and --export-models: one at a time.")
    from pipelines.checks.preflight import preflight
    from pipelines.cli.offline import export_models_for, import_device_table
    from pipelines.cli.profile import remeasure
    from pipelines.plan import check_devices, make_plan
    from pipelines.run.process import StageFailedError
    from pipelines.workspace import Workspace

    table, folder = (path and path.absolute() for path in (table, folder))
    root = _repository()
    offline = table is not None or folder is not None
    with Workspace(root).lock():
        preflight(root, device, offline)
        plan = make_plan(root)
        check_devices(plan.graph, [device])
        try:
            if folder is not None:
                export_models_for(Console(), root, plan, device, folder)
            elif table is not None:
                import_device_table(Console(), root, plan, device, table)
            else:
                remeasure(Console(), root, plan, device)
        except StageFailedError as error:
            raise Failure(FAILED, str(error)) from error


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", exists=True, dir_okay=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
    public_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Public key of the trusted signer (PEM).")
    ] = None,
    signature: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The signature. Default: BUNDLE.sig.")
    ] = None,
    require_signature: Annotated[
        bool, typer.Option("--require-signature", help="Refuse a bundle without a signature.")
    ] = False,
    latency: Annotated[
        bool,
        typer.Option("--latency", help="Also measure latency, and check it against the budget."),
    ] = False,
    agent: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Run the checks on the agent at this address."),
    ] = None,
    here: Annotated[
        bool, typer.Option("--here", help="Run the checks locally, not on an agent of params.yaml.")
    ] = False,
) -> None:
    """Check a bundle: its signature, its hashes, its golden outputs and its limits."""
    from bundles.check.verify import verify as verify_bundle
    from bundles.signature import Trust
    from pipelines.cli.verify import target_finder

    if public_key is None and (require_signature or signature is not None):
        raise Failure(WRONG_USE, "--require-signature and --signature need --public-key FILE.")
    trust = None if public_key is None else Trust(public_key, signature, require_signature)
    find_target = None if here else target_finder(Path.cwd(), agent)
    result = verify_bundle(bundle, find_target, trust, latency)
    if as_json:
        print(json.dumps(result.to_json(), indent=2, sort_keys=True))
    else:
        for check in result.checks:
            print(f"{'ok    ' if check.passed else 'FAILED'} {check.name}: {check.detail}")
        print(f"{bundle}: {'verified' if result.passed else 'NOT verified'}")
    if not result.passed:
        raise Failure(FAILED)


@app.command()
def predict(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", exists=True, dir_okay=False)],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...")],
) -> None:
    """Print label and probability of each image, from the bundle alone."""
    from bundles.check.verify import predict as predict_images
    from bundles.errors import BundleError
    from devices.device import DeviceError

    try:
        results = predict_images(bundle, images)
    except (BundleError, DeviceError) as error:
        raise Failure(FAILED, str(error)) from error
    for image, (label, probability) in zip(images, results, strict=True):
        print(f"{image}\t{label}\t{probability:.4f}")


@app.command()
def report() -> None:
    """Write report.html, one page about the whole release, beside release.json."""
    from bundles.errors import BundleError
    from data.check import check_images
    from pipelines.checks.params import read_params
    from pipelines.checks.paths import check_paths
    from pipelines.graph import read_graph
    from pipelines.plan import make_plan
    from pipelines.report.report import ReportError, write_report
    from pipelines.workspace import Workspace

    root = _repository()
    workspace = Workspace(root)
    if workspace.running_pid() is None:
        values = read_params(root)
        check_paths(root, values)
        check_images(values["data"])
        plan = make_plan(root)
        graph, stale = plan.graph, list(plan.stale)
    else:  # report the stages that the active run has not finished
        graph, states = read_graph(root), workspace.read_states() or {}
        stale = [name for name in graph.stages if states.get(name) not in {"ran", "fresh"}]
    try:
        print(write_report(root, graph, stale).relative_to(root))
    except (ReportError, BundleError) as error:
        raise Failure(FAILED, str(error)) from error


@app.command()
def space(
    name: Annotated[str, typer.Argument(metavar="PRESET", help="A name, or a YAML file.")],
    size: Annotated[int | None, typer.Option(min=1, help="Height of the images, pixels.")] = None,
    channels: Annotated[int | None, typer.Option(min=1, help="Channels of the images.")] = None,
    classes: Annotated[int | None, typer.Option(min=2, help="Number of classes.")] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw it, as .png or .svg.")
    ] = None,
) -> None:
    """Show a search space: number of architectures, variables and cost ranges."""
    from core.files import write_new
    from pipelines.cli.space import open_space, print_space
    from pipelines.cli.space_picture import check_picture, space_picture

    if picture is not None:
        check_picture(picture)
    opened = open_space(name, size, channels, classes)
    print_space(Console(), opened)
    if picture is not None:
        write_new(picture, space_picture(opened, picture.suffix))


@app.command()
def serve(
    cron: Annotated[str, typer.Option("--cron", help='When to run, such as "0 3 * * 1".')],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the local server.")] = 4200,
    jobs: Jobs = None,
) -> None:
    """Retrain on a cron schedule, with a local Prefect server and its web UI."""
    from pipelines.checks.preflight import preflight
    from pipelines.run.serve import check_cron, serve_schedule

    root = _repository()
    schedule = check_cron(cron)
    preflight(root)
    serve_schedule(Console(), root, schedule, port, jobs or default_jobs())


@app.command()
def agent(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8600,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0: all interfaces.")
    ] = "127.0.0.1",
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token. Default: NETWRIGHT_AGENT_TOKEN."),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the agent as one file to copy, and exit."),
    ] = None,
) -> None:
    """Run the agent on a device: it measures the models that the pipeline sends."""
    if write is not None:
        from core.files import write_new
        from devices.measure.agent.pack import build_zipapp

        write_new(write, build_zipapp())
        print(f"{write}: copy it to the device, then: python {write.name} serve --port {port}")
        return
    from devices.measure.agent.queue import Limits
    from devices.measure.agent.server import read_token, serve

    serve(host, port, read_token(token_file), Limits())


def default_jobs() -> int:
    """The number of CPU cores."""
    return os.cpu_count() or 1


def main() -> NoReturn:
    """Run the command line; user errors are shown as one message, without a traceback."""
    interrupts.install_handlers()
    reset_warnings(os.environ)
    remove_foreign_variables(os.environ)
    from core.terminal import show_any_text

    show_any_text()
    try:
        with interrupts.exit_on_signal():
            _ensure_home()
            app()  # exits by itself, with 2 after a usage error
    except Failure as failure:
        _print_error(str(failure))
        sys.exit(failure.code)
    except ValueError as error:
        _print_error(str(error))
        sys.exit(WRONG_USE)
    except OSError as error:  # a full disk, a read-only folder
        from core.system import describe_os_error

        _print_error(describe_os_error(error))
        sys.exit(FAILED)
    sys.exit(DONE)


def _run_flow(
    root: Path, devices: list[str], stages: list[str], jobs: int | None, verbose: bool
) -> None:
    from pipelines.run.server import ApiError, start_api
    from pipelines.workspace import Workspace

    workspace = Workspace(root)
    workspace.configure_prefect(os.environ, "WARNING" if verbose else "CRITICAL")
    try:
        server = start_api(workspace)
        # Importing Prefect takes seconds, in which its server starts.
        from pipelines.run.flow import RunFailedError, release_flow

        if server is not None:
            server.wait()
    except ApiError as error:
        raise Failure(FAILED, str(error)) from error
    try:
        release_flow(devices, jobs or default_jobs(), stages, verbose)
    except RunFailedError as error:
        raise Failure(FAILED, str(error)) from error


def _repository() -> Path:
    """Enter the repository; returns its root, which becomes the working folder."""
    from pipelines.repository import enter

    return enter(Path.cwd())


def _ensure_home() -> None:
    """Set HOME if the user has none, before the imports that need it."""
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - pathlib raises instead
        from pipelines.graph import GraphError, find_root
        from pipelines.repository import ensure_home

        with contextlib.suppress(GraphError):  # outside of a repository no import needs it
            ensure_home(find_root(Path.cwd()))


def _print_error(message: str) -> None:
    if message:
        print(f"error: {message}", file=sys.stderr)
