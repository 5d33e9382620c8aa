"""Cluster profiles: what may stand in them, how a machine is divided, and external clusters."""

from __future__ import annotations

import json
import logging
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest

from climdask.clusters.credentials import temporary_credentials
from climdask.clusters.local import Machine, client_limits, local_limits, open_cluster
from climdask.errors import ClusterError, ConfigError
from climdask.planning.plan import Limits
from climdask.running.run import plan, run
from climdask.running.workercheck import security_notes
from climdask.settings.profiles import ExternalProfile, LocalProfile, load_profile
from tests.samples import write_archive
from tests.workflows import small

GIB = 1 << 30
SHIPPED = sorted((Path(__file__).parents[2] / "cluster").glob("*.yaml"))


# ---------------------------------------------------------------- profiles


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_profile_loads_and_its_comments_name_every_key(path: Path) -> None:
    profile = load_profile(path)
    text = path.read_text(encoding="utf-8")
    # A profile may leave the common keys to another one, which it names.
    text += "".join(p.read_text() for p in SHIPPED if f"cluster/{p.name} explains" in text)
    for key in type(profile).model_fields:
        assert f"{key}:" in text
    assert f"kind: {profile.kind}" in text


def test_the_profiles_that_the_design_names_are_shipped() -> None:
    kinds = ("local", "external", "slurm", "slurm-runner", "pbs", "lsf", "sge", "oar", "htcondor")
    assert set(kinds) <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (None, LocalProfile),
        ({}, LocalProfile),
        ({"cores": 4}, LocalProfile),
        (LocalProfile(cores=4), LocalProfile),
        ({"kind": "external", "address": "tcp://127.0.0.1:8786"}, ExternalProfile),
        ({"kind": "external", "scheduler_file": "s.json"}, ExternalProfile),
    ],
)
def test_a_profile_may_be_left_out_or_given_as_a_mapping(source: Any, kind: type) -> None:
    assert isinstance(load_profile(source), kind)


# What stands in the file, and what must be said.
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: slurmy", ['kind: "slurmy" is none of local, external']),
        ("kind: locla", ['did you mean "local"?']),
        ("kind: 3", ['kind: "3" is none of']),
        ("coers: 4", ['unknown key "coers"', 'did you mean "cores"?', "known keys: kind, cores"]),
        ("cores: 0", ["cores: 0", "greater than or equal to 1"]),
        ("cores: two", ["cores: 'two'", "valid integer"]),
        ("dashboard: 70000", ["dashboard: 70000", "auto, off, or the number of a port"]),
        ("dashboard: on", ["dashboard: True", "auto, off, or the number of a port"]),
        ("dashboard: 0.0.0.0", ["dashboard: '0.0.0.0'", "auto, off"]),
        ("kind: external", ["give either address or scheduler_file"]),
        ("{kind: external, address: a, scheduler_file: b}", ["give either"]),
        ("{kind: external, address: a, timeout: 0}", ["timeout: 0", "greater than 0"]),
        ("{kind: external, adress: a}", ['unknown key "adress"', 'did you mean "address"?']),
        ("- local", ["is a list", "expected keys and values"]),
    ],
)
def test_a_mistake_in_a_profile_is_named_with_its_cure(
    text: str, words: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_profile(path)
    assert str(error.value).startswith(str(path))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("auto", "auto"), ("off", "off"), ("'off'", "off"), ("8787", 8787), ("65535", 65535)],
)
def test_the_dashboard_may_be_off_which_yaml_reads_as_false(
    text: str, expected: str | int, tmp_path: Path
) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(f"dashboard: {text}")
    profile = load_profile(path)
    assert isinstance(profile, LocalProfile)
    assert profile.dashboard == expected


# ---------------------------------------------------------------- dividing a machine


# workers = max(1, min(homes, cores // cores_per_variable)); threads share out the rest, two at
# least on a machine of two cores.
@pytest.mark.parametrize(
    ("cores", "homes", "cores_per_variable", "workers", "threads"),
    [
        (2, 2, 1, 2, 2),  # a laptop, two variables
        (2, 1, 1, 1, 2),  # one variable gets what would be idle
        (8, 4, 1, 4, 2),
        (8, 4, 2, 4, 2),
        (8, 4, 4, 2, 4),  # four variables, two at a time
        (8, 100, 1, 8, 2),  # more variables than cores
        (8, 3, 3, 2, 4),  # what does not divide evenly is not lost
        (7, 2, 2, 2, 3),
        (2, 4, 8, 1, 8),  # more cores for a variable than there are: as asked, one worker
        (1, 1, 1, 1, 1),
    ],
)
def test_a_machine_is_divided_by_homes_and_cores(
    cores: int, homes: int, cores_per_variable: int, workers: int, threads: int
) -> None:
    machine = Machine(cores, 16 * GIB)
    limits = local_limits(LocalProfile(), homes, cores_per_variable, machine)
    assert limits == Limits(16 * GIB // workers, workers, threads)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (LocalProfile(cores=4), Limits(4 * GIB, 4, 1)),
        (LocalProfile(workers=2), Limits(8 * GIB, 2, 4)),
        (LocalProfile(threads=3), Limits(2 * GIB, 8, 3)),
        (LocalProfile(memory="8GiB"), Limits(1 * GIB, 8, 2)),
        (LocalProfile(memory=8 * GIB, workers=1), Limits(8 * GIB, 1, 8)),
        (LocalProfile(memory="8 GB", workers=1), Limits(8_000_000_000, 1, 8)),
        (LocalProfile(workers=16), Limits(1 * GIB, 16, 2)),  # more than cores: as asked
    ],
)
def test_what_the_profile_says_wins(profile: LocalProfile, expected: Limits) -> None:
    assert local_limits(profile, 100, 1, Machine(8, 16 * GIB)) == expected


@pytest.mark.parametrize(
    ("memory", "words"),
    [
        ("lots", ['memory: "lots" is no amount', '"16GiB"']),
        ("1MiB", ["memory: 1MiB is too little for 2 worker processes", "256 MiB", "lower workers"]),
        (0, ["memory: 0 is too little"]),
        (-5, ["memory: -5 is too little"]),
    ],
)
def test_memory_that_no_worker_can_live_on_is_refused(memory: Any, words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        local_limits(LocalProfile(memory=memory, workers=2), 2, 1, Machine(2, 16 * GIB))
    for word in words:
        assert word in str(error.value)


def test_this_machine_is_measured() -> None:
    machine = Machine()
    assert machine.cores >= 1
    assert machine.memory > 0


# ---------------------------------------------------------------- local clusters


@pytest.mark.slow
def test_a_local_cluster_has_what_was_asked_for_and_its_workers_never_steal() -> None:
    limits = Limits(512 << 20, 1, 2)
    with open_cluster(LocalProfile(dashboard="auto"), limits) as client:
        assert client_limits(client) == limits
        assert client.dashboard_link.startswith("http://127.0.0.1:")
        assert not client.run_on_scheduler(
            lambda dask_scheduler: "stealing" in dask_scheduler.periodic_callbacks
        )


@pytest.mark.slow
def test_without_a_dashboard_nothing_is_served_and_no_address_is_shown() -> None:
    with open_cluster(LocalProfile(dashboard="off"), Limits(512 << 20, 1, 1)) as client:
        assert not client.dashboard_link
        ports = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.http_server.port)
        with socket.create_connection(("127.0.0.1", ports), timeout=10) as link:
            link.sendall(b"GET /status HTTP/1.0\r\n\r\n")
            assert b" 404 " in link.recv(100)


@pytest.mark.slow
def test_a_failing_task_prints_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    with open_cluster(LocalProfile(dashboard="off"), Limits(512 << 20, 1, 1)) as client:
        assert isinstance(client.submit(divmod, 1, 0).exception(), ZeroDivisionError)
    assert capfd.readouterr().err == ""
    assert logging.getLogger("distributed").getEffectiveLevel() < logging.CRITICAL


@pytest.mark.slow
def test_scratch_is_made_and_used(tmp_path: Path) -> None:
    profile = LocalProfile(scratch=tmp_path / "a/scratch", dashboard="off")
    with open_cluster(profile, Limits(512 << 20, 1, 1)) as client:
        (folder,) = client.run(lambda dask_worker: dask_worker.local_directory).values()
    assert Path(folder).is_relative_to(tmp_path / "a/scratch")


def test_scratch_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    profile = LocalProfile(scratch=tmp_path / "file/scratch")
    with (
        pytest.raises(ClusterError, match=r"scratch: .*file/scratch cannot be used.* another"),
        open_cluster(profile, Limits(None, 1, 1)),
    ):
        pass


# The library forgets to close the socket that it could not bind.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_taken_port_gives_another_dashboard_and_no_warning() -> None:
    with socket.socket() as taken, warnings.catch_warnings():
        warnings.simplefilter("error")
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        profile = LocalProfile(dashboard=taken.getsockname()[1])
        with open_cluster(profile, Limits(512 << 20, 1, 1)) as client:
            assert client.dashboard_link


# ---------------------------------------------------------------- external clusters


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[distributed.LocalCluster]:
    """A cluster that somebody else runs."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=3, processes=False, protocol="tcp", memory_limit="2GiB",
        dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
    ) as cluster:  # fmt: skip
        yield cluster


def test_a_cluster_is_reached_by_its_address(elsewhere: distributed.LocalCluster) -> None:
    profile = ExternalProfile(kind="external", address=elsewhere.scheduler_address)
    with open_cluster(profile, Limits()) as client:
        assert client_limits(client) == Limits(2 * GIB, 1, 3)
    assert elsewhere.status.name == "running", "it is not ours to close"


def test_a_cluster_is_reached_by_its_scheduler_file(
    elsewhere: distributed.LocalCluster, tmp_path: Path
) -> None:
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"type": "Scheduler", "address": elsewhere.scheduler_address}))
    profile = load_profile({"kind": "external", "scheduler_file": str(path)})
    with open_cluster(profile, Limits()) as client:
        assert client.submit(sum, [1, 2]).result() == 3


@pytest.mark.slow
def test_an_external_cluster_does_the_job(
    elsewhere: distributed.LocalCluster, tmp_path: Path, out: Path
) -> None:
    archive = write_archive(tmp_path / "in", first=2010, last=2018)
    profile = {"kind": "external", "address": elsewhere.scheduler_address}
    flow = small(archive.root, out)
    assert plan(flow, cluster=profile).limits == Limits(2 * GIB, 1, 3)
    told: list[str] = []
    result = run(flow, cluster=profile, report=told.append)
    assert result.ok, result.failures
    assert len(result.outputs) == 5
    assert sum("asks for no credentials" in line for line in told) == 1
    assert (result.audit.opens, result.audit.most) == (9, 1)


def test_a_cluster_that_asks_for_credentials_is_reached_with_those_of_the_profile(
    tmp_path: Path,
) -> None:
    made = temporary_credentials(tmp_path / "tls")
    with distributed.LocalCluster(
        n_workers=1, processes=False, security=made.security, dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    ) as cluster:  # fmt: skip
        address = cluster.scheduler_address
        keys = {"kind": "external", "address": address, "security": made.paths}
        with open_cluster(load_profile(keys), Limits()) as client:
            assert client.submit(sum, [1, 2]).result() == 3
            assert security_notes(client) == []
        made.key.chmod(0o644)
        with (
            pytest.raises(ClusterError, match=r"security\.key: others can read .*chmod 600 "),
            open_cluster(load_profile(keys), Limits()),
        ):
            pass


def test_a_cluster_that_asks_for_none_is_told(elsewhere: distributed.LocalCluster) -> None:
    profile = ExternalProfile(kind="external", address=elsewhere.scheduler_address)
    with open_cluster(profile, Limits()) as client:
        (note,) = security_notes(client)
    assert f"the scheduler at {elsewhere.scheduler_address} asks for no credentials" in note
    assert "runs code as the user of its workers; let it speak TLS" in note


@pytest.mark.slow
def test_a_cluster_without_workers_is_told() -> None:
    with distributed.LocalCluster(
        n_workers=0, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    ) as cluster:  # fmt: skip
        address = cluster.scheduler_address
        profile = ExternalProfile(kind="external", address=address, timeout=0.5)
        with (
            pytest.raises(ClusterError, match=f"no workers.*0.5 s.*dask worker {address}"),
            open_cluster(profile, Limits()),
        ):
            pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tcp://127.0.0.1:9", ["no scheduler answers at tcp://127.0.0.1:9 within 0.5 s"]),
        ("nonsense", ["no scheduler answers at nonsense", "missing port number"]),
        ("foo://x:1", ["no scheduler answers at foo://x:1", "unknown address scheme"]),
    ],
)
def test_a_scheduler_that_does_not_answer_is_named(address: str, words: list[str]) -> None:
    profile = ExternalProfile(kind="external", address=address, timeout=0.5)
    with pytest.raises(ClusterError) as error, open_cluster(profile, Limits()):
        pass
    for word in (*words, "check the address, or start one with: dask scheduler"):
        assert word in str(error.value)


@pytest.mark.slow
def test_a_cluster_never_becomes_the_default_of_a_notebook() -> None:
    profile = ExternalProfile(kind="external", address="tcp://127.0.0.1:9", timeout=0.2)
    with pytest.raises(ClusterError), open_cluster(profile, Limits()):
        pass
    assert dask.config.get("scheduler", None) is None
    with open_cluster(LocalProfile(dashboard="off"), Limits(512 << 20, 1, 1)):
        assert dask.config.get("scheduler", None) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["cannot be read", "is the scheduler up?"]),
        ("", ["holds no address", "--scheduler-file"]),
        ("{broken", ["holds no address"]),
        ("[]", ["holds no address"]),
        ("{}", ["holds no address"]),
    ],
)
def test_a_scheduler_file_that_names_no_scheduler_is_refused(
    text: str | None, words: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "scheduler.json"
    if text is not None:
        path.write_text(text)
    profile = ExternalProfile(kind="external", scheduler_file=path)
    with pytest.raises(ClusterError) as error, open_cluster(profile, Limits()):
        pass
    for word in (f"scheduler_file: {path}", *words):
        assert word in str(error.value)
