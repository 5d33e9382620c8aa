"""``plan`` and ``run``: the main job, for the command line and for notebooks."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import distributed

from climdask.climatology.areas import compile_means
from climdask.climatology.places import Place
from climdask.climatology.statistics import compile_kernels
from climdask.clusters.batchsystems import system_of
from climdask.clusters.jobqueue import JobCluster, open_jobs
from climdask.clusters.jobscript import inside_job
from climdask.clusters.local import client_limits, limits_of, open_cluster
from climdask.clusters.ownjob import own_job
from climdask.clusters.slurmrunner import gathered
from climdask.dashboard.plugin import open_page
from climdask.errors import ClimdaskError, ClusterError, OutputError
from climdask.execution.checkpoints import remove_checkpoints
from climdask.execution.records import Findings, finish_stores, prepare_stores, take_stock
from climdask.execution.serial import run_serially
from climdask.execution.tasks import RunContext
from climdask.inputs.access import FileAccess, default_lock_dir
from climdask.inputs.headers import Header
from climdask.inputs.inventory import Inventory, take_inventory
from climdask.inputs.probing import check_headers, probe
from climdask.inputs.sources import absolute
from climdask.monitoring.heartbeat import Heartbeat, interrupting_this_thread
from climdask.monitoring.links import dashboard_link
from climdask.monitoring.progress import RunProgress, counted
from climdask.outputs.folder import OutputFolder, new_run_id, write_manifest
from climdask.plaintext import plainly, quantity
from climdask.planning.overview import notes_of
from climdask.planning.plan import Limits, Plan
from climdask.planning.survey import survey
from climdask.running.areas import places_of
from climdask.running.driver import Driver, performance_reported, plugins
from climdask.running.manifest import manifest
from climdask.running.options import RunOptions, View
from climdask.running.results import RunResult
from climdask.running.workercheck import check_workers, scratch_notes, security_notes
from climdask.settings.profiles import (
    BatchProfile,
    ExternalProfile,
    Profile,
    SlurmRunnerProfile,
    load_profile,
)
from climdask.settings.workflow import Workflow, load

WorkflowLike = Workflow | str | os.PathLike[str] | Mapping[str, Any]


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
    places = places_of(flow)
    inventory = take_inventory(flow.query)
    with tempfile.TemporaryDirectory() as traces:
        access = _access(flow, new_run_id(), Path(traces))
        access.prepare()
        headers = probe(inventory, access)
        whole = survey(flow, inventory, headers, places)
        if check:
            whole = survey(flow, inventory, check_headers(inventory, headers, access), places)
    return whole.fitted(limits or _limits(load_profile(cluster), None, whole, flow))


def run(
    workflow: WorkflowLike,
    *,
    client: distributed.Client | None = None,
    cluster: Profile | str | Path | Mapping[str, Any] | None = None,
    serial: bool = False,
    inputs_unchanged: bool = False,
    verify: bool = False,
    view: View | None = None,
    report: Callable[[str], None] = lambda _: None,
    performance_report: Path | None = None,
) -> RunResult:
    """Make the normals of a workflow; what is there already and still right is kept.

    Args:
        workflow: a workflow, a mapping, or the path of a YAML file.
        client: a Dask client of your own (local, SLURM, Dask Gateway); else ``cluster``. Its
            security stays yours: ``LocalCluster(security=True)`` keeps other users out.
        cluster: a cluster profile, or the path of its YAML file; this machine if left out.
        serial: run in this process, without Dask: the reference executor.
        inputs_unchanged: accept input files whose modification times are new.
        verify: compare the checksums of all normals that are there; damaged ones are made again.
        view: shows the progress; nothing is shown if left out.
        report: receives, line by line, what is found before the work begins.
        performance_report: HTML file for Dask's own report on the run; none if left out.

    Raises:
        UserError: the workflow, the files, the output folder or the cluster cannot be used.
    """
    options = RunOptions(
        client=client,
        cluster=cluster,
        serial=serial,
        inputs_unchanged=inputs_unchanged,
        verify=verify,
        performance_report=performance_report,
        view=view,
        report=plainly(report),
    )
    flow = as_workflow(workflow)
    folder = OutputFolder.of(flow)
    places = places_of(flow)
    inventory = take_inventory(flow.query)
    run_id = new_run_id()
    kind, stop = options.kind, interrupting_this_thread()
    with folder.claimed(), Heartbeat(folder, run_id, kind, stop, job=own_job()) as heart:
        access = _access(flow, run_id, folder.trace(run_id))
        access.prepare()
        access.forget_dead()
        context = RunContext(
            run_id,
            folder.root,
            absolute(inventory.root),
            access,
            flow.run.on_bad_file,
            flow.run.retries,
        )
        with ExitStack() as stack:
            return _run(flow, inventory, places, context, options, heart, stack)


def _run(
    flow: Workflow,
    inventory: Inventory,
    places: Sequence[Place],
    context: RunContext,
    options: RunOptions,
    heart: Heartbeat,
    stack: ExitStack,
) -> RunResult:
    """Find what is to do, open a cluster for it, and do it; clusters end with the stack."""
    folder, client, progress = context.folder, options.client, heart.progress
    gathering, jobs = options.own_cluster, None
    if isinstance(gathering, SlurmRunnerProfile):
        client = stack.enter_context(gathered(gathering, folder, context.run_id, progress))
    elif isinstance(gathering, BatchProfile):
        if caution := system_of(gathering.kind).caution:
            options.report(f"note: {caution}")
        opened = open_jobs(gathering, folder, context.run_id, progress, options.report)
        jobs = stack.enter_context(opened)
    headers = _headers(inventory, context, jobs)
    whole = survey(flow, inventory, headers, places)
    stock = take_stock(
        whole, folder, inputs_unchanged=options.inputs_unchanged, verify=options.verify
    )
    left = whole.pending(stock.done)
    limits = Limits() if options.serial else _limits(options.profile, client, left, flow)
    todo = left.fitted(limits)
    _tell(todo, stock, options.report)
    for store in prepare_stores(todo, folder, stock):
        options.report(f"note: {store} was made with other keys of the workflow; it is made anew")
    progress.chains.update(RunProgress.of(todo).chains)
    job = _Job(todo, folder, context, progress, options, jobs)
    heart.begin(progress)
    for spec in (chain.spec for chain in todo.chains):
        n_values = len(spec.read_axis) * spec.selection.cells.size
        compile_kernels(spec.states, n_values, has_steps=bool(spec.reductions))
    if any(chain.spec.selection.means for chain in todo.chains):
        compile_means()
    if todo.chains and not options.serial:
        client = client or stack.enter_context(_opened(options.profile, limits, jobs))
    result = job.finish(job.work(None if options.serial else client))
    heart.end("done" if result.ok else "failed")
    return result


def _headers(
    inventory: Inventory, context: RunContext, jobs: JobCluster | None
) -> dict[str, Header | ClimdaskError]:
    """Read a header of each series: here, or on a worker where this is a login node."""
    if jobs is None or inside_job():
        return probe(inventory, context.access)
    host = socket.gethostname()
    jobs.report(
        f"note: the driver and the Dask scheduler run here, on {host}; for a long run put them "
        "into a job: climdask submit"
    )
    jobs.ask_for(1)
    jobs.wait_for_worker()
    check_workers(jobs.client, context)
    headers: dict[str, Header | ClimdaskError] = jobs.result_of(probe, inventory, context.access)
    return headers


@contextmanager
def _opened(
    profile: Profile, limits: Limits, jobs: JobCluster | None
) -> Iterator[distributed.Client]:
    """Open the cluster that does the work, or bring the jobs that are there to their number."""
    if jobs is None:
        with open_cluster(profile, limits) as client:
            yield client
        return
    jobs.ask_for(limits.workers)
    jobs.wait_for_worker()
    yield jobs.client


def as_workflow(workflow: WorkflowLike) -> Workflow:
    """Return a workflow from whatever names it.

    Raises:
        ConfigError: it cannot be read, or a key or value is wrong.
    """
    return workflow if isinstance(workflow, Workflow) else load(workflow)


def _access(flow: Workflow, run_id: str, traces: Path) -> FileAccess:
    keys = flow.run
    return FileAccess(run_id, _lock_dir(flow), traces, keys.lock_timeout, keys.open_timeout)


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
    if isinstance(profile, ExternalProfile):
        with open_cluster(profile, Limits()) as reached:
            return client_limits(reached)
    return limits_of(profile, max(1, first.homes), flow.run.cores_per_variable)


def _tell(todo: Plan, stock: Findings, report: Callable[[str], None]) -> None:
    for note in notes_of(todo):
        report(f"note: {note}")
    for kind, paths in (("stale", stock.stale), ("damaged", stock.damaged)):
        if paths:
            such = quantity(len(paths), f"{kind} normal")
            report(f"{such} will be made again, such as {paths[0]}")
    restored = sum(s.restores for c in todo.chains for ss in c.branches.steps.values() for s in ss)
    if todo.n_normals < todo.n_all:
        report(
            f"resuming: {todo.n_all - todo.n_normals} of {quantity(todo.n_all, 'normal is')} there "
            f"already; {quantity(restored, 'branch starts')} from a checkpoint"
        )
    report(
        f"{quantity(todo.n_normals, 'normal')} to make in {quantity(len(todo.chains), 'chain')}: "
        f"{quantity(todo.opens, 'open')} of {quantity(todo.files, 'file')}"
    )
    useful = min(todo.limits.workers, max(1, todo.homes))
    if todo.limits.workers > useful:
        report(f"note: {todo.limits.workers} workers, of which {useful} can be of use")


@dataclass
class _Job:
    """One run at work."""

    plan: Plan
    folder: OutputFolder
    context: RunContext
    progress: RunProgress
    options: RunOptions
    jobs: JobCluster | None
    began: float = field(default_factory=time.monotonic)

    def work(self, client: distributed.Client | None) -> str:
        """Do what is to do; return how it ended."""
        context = self.context
        self._write_manifest("running")
        try:
            if client is None:
                with self._shown(), counted(self.progress, context.run_id) as take:
                    run_serially(self.plan, context, take)
            elif self.plan.chains:
                check_workers(client, context)
                for note in (*security_notes(client), *scratch_notes(client)):
                    self.options.report(f"note: {note}")
                self.progress.dashboard = self._open_page(client)
                self.progress.scheduler = client.scheduler.address
                with (
                    self._shown(),
                    performance_reported(
                        client, self.options.performance_report, self.options.report
                    ),
                    plugins(client, self.plan, context, self.progress),
                ):
                    driver = Driver(client, self.plan, context, self.progress)
                    if self.jobs is not None:
                        self.jobs.needed, driver.check = driver.homes_left, self.jobs.check
                    driver.drive()
        except KeyboardInterrupt:
            self._write_manifest("interrupted")
            raise
        except ClusterError:
            self._write_manifest("failed")
            raise
        return "failed" if self.progress.failures else "done"

    def finish(self, state: str) -> RunResult:
        """Clean up after chains that are done, finish stores, and tell how it went."""
        for chain in self.plan.all_chains:
            if chain.id not in self.progress.failures:
                remove_checkpoints(self.folder, chain.id)
        failures = dict(self.progress.failures)
        try:
            finish_stores(self.plan, self.folder)
        except OutputError as error:
            state, failures["stores"] = "failed", str(error)
        result = RunResult(
            self.plan,
            self.folder,
            self.context.run_id,
            tuple(self.progress.chains.values()),
            failures,
            time.monotonic() - self.began,
        )
        try:
            self._write_manifest(state, result)
        except OutputError as error:  # what became of the chains must be reported all the same
            result = replace(result, failures={**failures, "manifest": str(error)})
        return result

    def _open_page(self, client: distributed.Client) -> str:
        """Put the run's page in the dashboard, and return its address, or the dashboard's."""
        link, problem = open_page(client)
        whole, no_link = dashboard_link(client)
        if problem and (whole or no_link):  # with dashboard: off nobody expects a page
            self.options.report(f"note: no page shows this run: {problem}")
        return link or whole

    def _shown(self) -> AbstractContextManager[None]:
        view = self.options.view
        return view(self.progress) if view else nullcontext()

    def _write_manifest(self, state: str, result: RunResult | None = None) -> None:
        seconds = time.monotonic() - self.began
        rows = self.progress.chains.values()
        proof = result.audit if result else None
        content = manifest(self.plan, self.context.run_id, state, rows, seconds, proof)
        write_manifest(self.folder, content)
