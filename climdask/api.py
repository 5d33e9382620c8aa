"""``plan`` and ``run``: the main job, for the command line and for notebooks."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import distributed

from climdask.checkpoints import remove_checkpoints
from climdask.clusters import client_limits, limits_of, open_cluster
from climdask.config import Workflow, load
from climdask.dashboard import open_page
from climdask.driver import Driver, performance_reported, plugins
from climdask.errors import ClimdaskError, ClusterError, ConfigError, OutputError
from climdask.executor import run_serially
from climdask.files import FileAccess, default_lock_dir
from climdask.headers import Header
from climdask.heartbeat import Heartbeat, interrupting_this_thread
from climdask.inventory import Inventory, take_inventory
from climdask.jobqueue import JobCluster, open_jobs
from climdask.jobscript import inside_job
from climdask.manifest import manifest
from climdask.outputfolder import OutputFolder, new_run_id, write_manifest
from climdask.plan import Limits, Plan
from climdask.planner import make_plan
from climdask.probing import check_headers, probe
from climdask.profiles import (
    BatchProfile,
    ExternalProfile,
    Profile,
    SlurmRunnerProfile,
    load_profile,
)
from climdask.progress import RunProgress, counted
from climdask.results import RunResult
from climdask.slurmrunner import gathered
from climdask.state import Findings, finish_stores, prepare_stores, take_stock
from climdask.tasks import RunContext
from climdask.workercheck import check_workers, scratch_notes

WorkflowLike = Workflow | str | os.PathLike[str] | Mapping[str, Any]
View = Callable[[RunProgress], AbstractContextManager[None]]


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
        access = FileAccess(new_run_id(), _lock_dir(flow), Path(traces), flow.run.lock_timeout)
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
    performance_report: Path | None = None,
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
        performance_report: HTML file for Dask's own report on the run; none if left out.

    Raises:
        UserError: the workflow, the files, the output folder or the cluster cannot be used.
    """
    if serial and performance_report is not None:
        raise ConfigError("--performance-report: it is Dask's own; leave out --serial")
    flow = as_workflow(workflow)
    folder = OutputFolder.of(flow)
    inventory = take_inventory(flow.query)
    run_id, profile = new_run_id(), load_profile(cluster)
    kind = "serial" if serial else "client" if client is not None else profile.kind
    stop = interrupting_this_thread()
    with (
        folder.claimed(),
        Heartbeat(folder, run_id, kind, stop) as heart,
        ExitStack() as stack,
    ):
        access = FileAccess(run_id, _lock_dir(flow), folder.trace(run_id), flow.run.lock_timeout)
        access.prepare()
        context = RunContext(
            run_id,
            folder.root,
            inventory.root.absolute(),
            access,
            flow.run.on_bad_file,
            flow.run.retries,
        )
        progress, jobs = heart.progress, None
        ours = None if serial or client is not None else profile
        if isinstance(ours, SlurmRunnerProfile):
            client = stack.enter_context(gathered(ours, folder, run_id, progress))
        elif isinstance(ours, BatchProfile):
            jobs = stack.enter_context(open_jobs(ours, folder, run_id, progress, report))
        headers = _headers(inventory, context, jobs)
        whole = make_plan(flow, inventory, headers)
        stock = take_stock(whole, folder, inputs_unchanged=inputs_unchanged)
        first = make_plan(flow, inventory, headers, done=stock.done)
        limits = Limits() if serial else _limits(profile, client, first, flow)
        todo = make_plan(flow, inventory, headers, limits=limits, done=stock.done)
        _tell(todo, stock, report)
        for store in prepare_stores(todo, folder, stock):
            report(f"note: {store} was made with other keys of the workflow; it is made anew")
        progress.chains.update(RunProgress.of(todo).chains)
        job = _Job(todo, folder, context, progress, view, report, performance_report, jobs)
        heart.begin(progress)
        if todo.chains and not serial:
            client = client or stack.enter_context(_opened(profile, limits, jobs))
        result = job.finish(job.work(None if serial else client))
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


def report(
    out: str | os.PathLike[str],
    file: str | os.PathLike[str] | None = None,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write what an output folder holds as one HTML file that needs no network.

    Args:
        out: output folder of a run, done or not.
        file: the HTML file; ``report.html`` in the output folder if left out.
        tell: is told, line by line, how far it is.

    Returns:
        The file.

    Raises:
        UserError: the folder is not the output of a run, or the file cannot be written.
    """
    from climdask.reportpage import write_report  # Bokeh takes its time to import

    return write_report(Path(out), None if file is None else Path(file), tell=tell)


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
    if isinstance(profile, ExternalProfile):
        with open_cluster(profile, Limits()) as reached:
            return client_limits(reached)
    return limits_of(profile, max(1, first.homes), flow.run.cores_per_variable)


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


@dataclass
class _Job:
    """One run at work."""

    plan: Plan
    folder: OutputFolder
    context: RunContext
    progress: RunProgress
    view: View | None
    report: Callable[[str], None]
    performance_report: Path | None
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
                for note in scratch_notes(client):
                    self.report(f"note: {note}")
                self.progress.dashboard = self._open_page(client)
                self.progress.scheduler = client.scheduler.address
                with (
                    self._shown(),
                    performance_reported(client, self.performance_report, self.report),
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
        except OutputError as error:  # what became of the chains must be told all the same
            result = replace(result, failures={**failures, "manifest": str(error)})
        return result

    def _open_page(self, client: distributed.Client) -> str:
        """Put the run's page in the dashboard, and return its address, or the dashboard's."""
        link, problem = open_page(client)
        if problem and client.dashboard_link:  # with dashboard: off nobody expects a page
            self.report(f"note: no page shows this run: {problem}")
        return link or client.dashboard_link or ""

    def _shown(self) -> AbstractContextManager[None]:
        return self.view(self.progress) if self.view else nullcontext()

    def _write_manifest(self, state: str, result: RunResult | None = None) -> None:
        seconds = time.monotonic() - self.began
        rows = self.progress.chains.values()
        proof = result.audit if result else None
        content = manifest(self.plan, self.context.run_id, state, rows, seconds, proof)
        write_manifest(self.folder, content)
