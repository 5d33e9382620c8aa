"""Plan, submit, watch, collect: the main job, for the command line and for notebooks."""

from __future__ import annotations

import os
import platform
import socket
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dask
import distributed

from climdask.clusters import (
    LocalProfile,
    Profile,
    client_limits,
    load_profile,
    local_limits,
    open_cluster,
)
from climdask.config import Workflow, load
from climdask.errors import ClimdaskError, ClusterError, DataError, OutputError, PlanError
from climdask.executor import Event, run_serially
from climdask.files import FileAccess, LockCheck, default_lock_dir
from climdask.graph import ChainGraph, build_chain, token_name
from climdask.headers import Header
from climdask.inventory import Inventory, Series, take_inventory
from climdask.netcdf import read_header
from climdask.plan import Chain, Limits, Plan
from climdask.planner import make_plan
from climdask.progress import RunProgress
from climdask.results import RunResult
from climdask.state import (
    Findings,
    OutputFolder,
    new_run_id,
    remove_checkpoints,
    take_stock,
    write_manifest,
)
from climdask.tasks import RunContext
from climdask.tokens import FileTokens, TokenHolder, add_tokens, remove_tokens
from climdask.version import __version__
from climdask.watcher import ChainWatcher, stop_watching, topic

WorkflowLike = Workflow | str | os.PathLike[str] | Mapping[str, Any]
View = Callable[[RunProgress], AbstractContextManager[None]]

# How many files of a chain are tried before the chain counts as unreadable.
PROBES = 3


def plan(
    workflow: WorkflowLike,
    *,
    cluster: Profile | str | Path | Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    check: bool = False,
) -> Plan:
    """Plan a workflow: what a run into an empty output folder would do. Writes nothing.

    Args:
        workflow: a workflow, a mapping, or the path of a YAML file.
        cluster: the profile that the run would use; decides what fits in memory.
        limits: what the cluster offers, instead of ``cluster``.
        check: also open every input file and compare its header with its chain's; what does not
            fit is noted as a failure of the chain.

    Raises:
        UserError: the workflow, the files or the targets do not fit together.
    """
    flow = as_workflow(workflow)
    inventory = take_inventory(flow.query)
    with tempfile.TemporaryDirectory() as traces:
        access = FileAccess("plan", _lock_dir(flow), Path(traces), flow.run.lock_timeout)
        access.prepare()
        headers = probe(inventory, access)
        first = make_plan(flow, inventory, headers)
        if check:
            headers = check_headers(inventory, headers, access)
    limits = limits or _limits(load_profile(cluster), None, first, flow)
    return make_plan(flow, inventory, headers, limits=limits)


def run(
    workflow: WorkflowLike,
    *,
    client: distributed.Client | None = None,
    cluster: Profile | str | Path | Mapping[str, Any] | None = None,
    serial: bool = False,
    inputs_unchanged: bool = False,
    view: View | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> RunResult:
    """Make the normals of a workflow; what is there already and still right is kept.

    Args:
        workflow: a workflow, a mapping, or the path of a YAML file.
        client: a Dask client of your own (local, SLURM, Dask Gateway); else ``cluster``.
        cluster: a cluster profile, or the path of its YAML file; this machine if left out.
        serial: run in this process, without Dask: the reference executor.
        inputs_unchanged: accept input files whose modification times are new.
        view: shows the progress; nothing is shown if left out.
        report: is told, line by line, what is found before the work begins.

    Raises:
        UserError: the workflow, the files, the output folder or the cluster cannot be used.
    """
    flow = as_workflow(workflow)
    folder = OutputFolder(flow.output.root.expanduser().absolute())
    inventory = take_inventory(flow.query)
    with folder.claimed():
        began = time.monotonic()
        nonce = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        access = FileAccess(nonce, _lock_dir(flow), folder.trace(nonce), flow.run.lock_timeout)
        access.prepare()
        headers = probe(inventory, access)
        whole = make_plan(flow, inventory, headers)
        stock = take_stock(whole, folder, inputs_unchanged=inputs_unchanged)
        first = make_plan(flow, inventory, headers, done=stock.done)
        profile = load_profile(cluster)
        with ExitStack() as stack:
            limits = Limits() if serial else _limits(profile, client, first, flow)
            todo = make_plan(flow, inventory, headers, limits=limits, done=stock.done)
            _tell(todo, stock, report)
            job = _Job(todo, folder, access, nonce, RunProgress.of(todo), view, began)
            if todo.chains and not serial:
                client = client or stack.enter_context(open_cluster(profile, limits))
            return job.finish(job.work(None if serial else client))


def as_workflow(workflow: WorkflowLike) -> Workflow:
    """Return a workflow from whatever names it.

    Raises:
        ConfigError: it cannot be read, or a key or value is wrong.
    """
    return workflow if isinstance(workflow, Workflow) else load(workflow)


def _lock_dir(flow: Workflow) -> Path:
    """Return the folder of file locks.

    Raises:
        OutputError: it lies in the output folder, where another run would not look.
    """
    lock_dir = (flow.run.lock_dir or default_lock_dir()).expanduser().absolute()
    if lock_dir.is_relative_to(flow.output.root.expanduser().absolute()):
        raise OutputError(
            f"run.lock_dir: {lock_dir} lies in output.root; runs with other outputs must see "
            "it, so choose a folder of its own"
        )
    return lock_dir


def _limits(
    profile: Profile, client: distributed.Client | None, first: Plan, flow: Workflow
) -> Limits:
    if client is not None:
        return client_limits(client)
    if isinstance(profile, LocalProfile):
        return local_limits(profile, max(1, first.homes), flow.run.cores_per_variable)
    with open_cluster(profile, Limits()) as reached:
        return client_limits(reached)


def _tell(todo: Plan, stock: Findings, report: Callable[[str], None]) -> None:
    for note in todo.notes:
        report(f"note: {note}")
    for kind, paths in (("stale", stock.stale), ("damaged", stock.damaged)):
        if paths:
            report(f"{len(paths)} normals are {kind} and will be made again, such as {paths[0]}")
    restored = sum(s.restores for c in todo.chains for ss in c.legs.steps.values() for s in ss)
    if todo.n_normals < todo.n_all:
        report(
            f"resuming: {todo.n_all - todo.n_normals} of {todo.n_all} normals are there; "
            f"{restored} legs start from a checkpoint"
        )
    report(
        f"{todo.n_normals} normals to make in {len(todo.chains)} chains: {todo.opens} opens of "
        f"{todo.files} files"
    )
    useful = min(todo.limits.workers, max(1, todo.homes))
    if todo.limits.workers > useful:
        report(f"note: {todo.limits.workers} workers, of which {useful} can be of use")


# ---------------------------------------------------------------- headers


def probe(inventory: Inventory, access: FileAccess) -> dict[str, Header | ClimdaskError]:
    """Read the header of one file of each series, and say why where none can be read."""
    return {series.id: _probe_one(inventory, series, access) for series in inventory.series}


def _probe_one(inventory: Inventory, series: Series, access: FileAccess) -> Header | ClimdaskError:
    """Read the first header that can be read: a bad first file fails its chain when it is read."""
    error: ClimdaskError = PlanError(f"{series.id}: no files")
    for file in series.files[:PROBES]:
        path = inventory.root / file.path
        try:
            with access.opening(path, purpose="probe"):
                return read_header(path, series.variable)
        except DataError as found:
            error = found
    return error


def check_headers(
    inventory: Inventory, headers: Mapping[str, Header | ClimdaskError], access: FileAccess
) -> dict[str, Header | ClimdaskError]:
    """Open every file and compare its header with its chain's."""
    checked = dict(headers)
    for series in inventory.series:
        expected = headers[series.id]
        if isinstance(expected, ClimdaskError):
            continue
        problems = []
        for file in series.files:
            path = inventory.root / file.path
            try:
                with access.opening(path, purpose="check"):
                    found = read_header(path, series.variable)
                different = expected.differences(found)
                if different:
                    problems.append(f"{path}: has {'; '.join(different)} as in {expected.path}")
            except DataError as error:
                problems.append(str(error))
        if problems:
            checked[series.id] = DataError("\n".join(problems))
    return checked


# ---------------------------------------------------------------- the work


@dataclass
class _Job:
    """One run at work."""

    plan: Plan
    folder: OutputFolder
    access: FileAccess
    nonce: str
    progress: RunProgress
    view: View | None
    began: float

    def __post_init__(self) -> None:
        flow = self.plan.workflow
        self.context = RunContext(
            f"{new_run_id(self.plan)}-{self.nonce}",
            self.folder.root,
            self.plan.inventory.root.absolute(),
            self.access,
            flow.run.on_bad_file,
            flow.run.retries,
        )

    def work(self, client: distributed.Client | None) -> str:
        """Do what is to do; return how it ended."""
        self._manifest("running")
        try:
            if client is None:
                with self._shown():
                    run_serially(self.plan, self.context, self._on_event)
            elif self.plan.chains:
                check_workers(client, self.context)
                self.progress.dashboard = client.dashboard_link or ""
                with self._shown(), _on_scheduler(client, self.plan, self.context, self.progress):
                    Driver(client, self.plan, self.context, self.progress).drive()
        except KeyboardInterrupt:
            self._manifest("interrupted")
            raise
        return "failed" if self._failures() else "done"

    def finish(self, state: str) -> RunResult:
        """Clean up after chains that are done, write the manifest, and return the result."""
        for chain in self.plan.all_chains:
            if chain.id not in self._failures():
                remove_checkpoints(self.folder, chain.id)
        result = RunResult(
            self.plan,
            self.folder,
            self.nonce,
            tuple(self.progress.chains.values()),
            self._failures(),
            time.monotonic() - self.began,
        )
        self._manifest(state, result)
        return result

    def _shown(self) -> AbstractContextManager[None]:
        return self.view(self.progress) if self.view else nullcontext()

    def _failures(self) -> dict[str, str]:
        return {r.id: r.message for r in self.progress.chains.values() if r.state == "failed"}

    def _on_event(self, event: Event) -> None:
        row = self.progress.chains[event.chain]
        if row.state == "waiting":
            self.progress.start(event.chain)
            row.state = "active"
        if event.stage == "failed":
            self.progress.fail(event.chain, event.message)
            return
        row.reads += event.stage == "read"
        row.years += event.stage == "window"
        row.writes += event.stage == "write"
        row.at = (event.leg, event.year)
        if row.years == row.years_total and row.writes == row.writes_total:
            self.progress.finish(event.chain)

    def _manifest(self, state: str, result: RunResult | None = None) -> None:
        write_manifest(self.folder, manifest(self, state, result))


def manifest(job: _Job, state: str, result: RunResult | None) -> dict[str, Any]:
    """Return what a run was, for people and for provenance."""
    plan_ = job.plan
    content: dict[str, Any] = {
        "state": state,
        "run": job.nonce,
        "host": socket.gethostname(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - job.began, 3),
        "versions": _versions(),
        "workflow": plan_.workflow.model_dump(mode="json"),
        "plan": plan_.digest,
        "input_root": str(plan_.inventory.root.absolute()),
        "notes": list(plan_.notes),
        "counts": {
            "normals": plan_.n_all,
            "normals_to_make": plan_.n_normals,
            "opens_expected": plan_.opens,
            "files_expected": plan_.files,
        },
        "chains": {
            row.id: {
                "state": row.state,
                "seconds": round(row.elapsed, 3),
                "files_read": row.reads,
                "target_years_written": row.writes,
                "repeated_tasks": row.repeated,
                **({"failure": row.message} if row.message else {}),
            }
            for row in job.progress.chains.values()
        },
        "inputs": {
            chain.id: [[f.path, f.size, f.mtime_ns] for f in _inputs(chain)]
            for chain in plan_.all_chains
        },
    }
    if result is not None:
        content["audit"] = {
            "opens": result.audit.opens,
            "files": result.audit.files,
            "probes": result.audit.probes,
            "overlaps": len(result.audit.overlaps),
            "unproven": len(result.audit.unproven),
            "skipped": [list(s) for s in result.audit.skipped],
        }
    return content


def _inputs(chain: Chain) -> list[Any]:
    return sorted({f for files in chain.sources.values() for f in files})


def _versions() -> dict[str, str]:
    names = ("dask", "distributed", "xarray", "netCDF4", "numpy", "zarr", "bokeh")
    versions = {"climdask": __version__, "python": platform.python_version()}
    return versions | {name: version(name) for name in names}


# ---------------------------------------------------------------- Dask


def check_workers(client: distributed.Client, context: RunContext) -> None:
    """Check that the workers have this climdask and see the files and locks.

    Raises:
        ClusterError: some worker does not.
    """
    check = LockCheck(context.access.lock_dir)
    with check.held():
        facts = client.run(_facts, context.input_root, context.out, check)
    for worker, (found, reads, writes, refused) in facts.items():
        if found != __version__:
            raise ClusterError(
                f"worker {worker} has climdask {found}, and this is {__version__}; install the same"
            )
        for path, seen in ((context.input_root, reads), (context.out, writes)):
            if not seen:
                raise ClusterError(
                    f"worker {worker} does not see {path}; use a filesystem that all hosts share"
                )
        if not refused:
            raise ClusterError(
                f"worker {worker} got a lock in {context.access.lock_dir} that this host "
                "holds; locks are not shared there: mount it with flock, or set run.lock_dir"
            )


def _facts(input_root: Path, out: Path, check: LockCheck) -> tuple[str, bool, bool, bool]:
    return __version__, input_root.is_dir(), os.access(out, os.W_OK), check.is_refused()


@contextmanager
def _on_scheduler(
    client: distributed.Client, plan_: Plan, context: RunContext, progress: RunProgress
) -> Any:
    """Put the plugins of a run on scheduler and workers, and take them off again."""
    tokens = {t for chain in plan_.chains for t in chain_tokens(plan_, chain)}
    holder = TokenHolder(context.run_id, sorted(tokens))
    watcher = ChainWatcher(context.run_id)

    def on_snapshot(event: tuple[float, Any]) -> None:
        progress.update(event[1])

    client.register_plugin(holder)  # workers first: a token that they do not know stops them
    client.register_plugin(FileTokens())
    client.register_plugin(watcher)
    client.subscribe_topic(topic(context.run_id), on_snapshot)
    try:
        yield
        progress.update(client.run_on_scheduler(stop_watching, context.run_id))
    finally:
        if client.status == "running":
            client.unsubscribe_topic(topic(context.run_id))
            client.run_on_scheduler(remove_tokens, context.run_id)
            client.unregister_scheduler_plugin(watcher.name)
            client.unregister_worker_plugin(holder.name)


def chain_tokens(plan_: Plan, chain: Chain) -> set[str]:
    """Return the file tokens of a chain."""
    return {token_name(plan_, read) for read in chain.legs.reads}


@dataclass
class Driver:
    """Submits chains, as many at a time as fit in memory, and waits for them."""

    client: distributed.Client
    plan: Plan
    context: RunContext
    progress: RunProgress

    def drive(self) -> None:
        """Run all chains; a chain that fails does not stop the others."""
        waiting = deque(self.plan.chains)
        self.left: dict[str, int] = {}
        self.futures: list[distributed.Future] = []
        self.homes = {chain.id: chain.home for chain in self.plan.chains}
        done = distributed.as_completed([], with_results=True, raise_errors=False)
        while waiting or self.left:
            while waiting and len(self.left) < self.plan.at_once:
                done.update(self._submit(waiting.popleft()))
            future, _ = next(done)
            self._ended(future)

    def _submit(self, chain: Chain) -> list[distributed.Future]:
        graph = build_chain(self.plan, chain, self.context)
        tokens = set(graph.tokens.values())
        self.client.run_on_scheduler(
            add_tokens, self.context.run_id, self.client.id, {chain.home: sorted(tokens)}
        )
        futures = submit_chain(self.client, graph)
        self.progress.start(chain.id)
        self.left[chain.id] = len(futures)
        # Kept to the end: letting go of them makes the dashboard's totals shrink.
        self.futures += futures
        return futures

    def _ended(self, future: distributed.Future) -> None:
        chain_id = future.key[1]
        if future.status in ("error", "cancelled", "lost"):
            self.progress.fail(chain_id, _message(future))
        self.left[chain_id] -= 1
        if self.left[chain_id] == 0:
            del self.left[chain_id]
            self.progress.finish(chain_id)
            home = self.homes[chain_id]
            if all(self.homes[other] != home for other in self.left):
                self.client.run_on_scheduler(remove_tokens, self.context.run_id, home)


def submit_chain(client: distributed.Client, graph: ChainGraph) -> list[distributed.Future]:
    """Submit the tasks of a chain with their annotations; return futures of the wanted keys."""
    with (
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GiB"}),
        dask.annotate(**graph.annotations),
    ):
        futures: list[distributed.Future] = client.get(graph.tasks, graph.wanted, sync=False)
    return futures


def _message(future: distributed.Future) -> str:
    """Say why a future failed, without a traceback."""
    if future.status != "error":
        return f"its tasks were {future.status}; was the cluster closed?"
    error = future.exception()
    if isinstance(error, ClimdaskError):
        return str(error)
    return f"{type(error).__name__}: {error}"
