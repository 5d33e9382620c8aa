"""Who gets into a cluster on this machine: its user alone, though all users share loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import dask
import distributed
import psutil
import pytest

from climdask.clusters.local import open_cluster
from climdask.clusters.privatescheduler import Scheduler, prefix_of
from climdask.dashboard.plugin import open_page
from climdask.planning.plan import Limits
from climdask.settings.profiles import LocalProfile
from tests.tools import identity

pytestmark = pytest.mark.slow

SMALL = Limits(512 << 20, 1, 1)

# What an attacker does, as another user if a name is given: connect to a port and ask who is there;
# whoever is answered can submit tasks. Before it becomes the other user it asks a port where nobody
# listens: what is imported late is imported then, as another user may not read this Python.
ATTACK = """
import asyncio, encodings.idna, json, logging, os, pwd, sys
import distributed
import distributed.comm.tcp

logging.disable(logging.CRITICAL)
securities = {"tcp": distributed.Security(), "tls": distributed.Security.temporary()}
user, *ports = sys.argv[1:]

async def ask(protocol, port):
    arguments = securities[protocol].get_connection_args("client")
    address = f"{protocol}://127.0.0.1:{port}"
    async with distributed.rpc(address, timeout=1, connection_args=arguments) as there:
        return (await there.identity())["type"]

def answer(protocol, port):
    try:
        return asyncio.run(asyncio.wait_for(ask(protocol, port), 10))
    except (OSError, TimeoutError, ValueError):
        return "refused"

for protocol in securities:
    answer(protocol, 1)
if user:
    known = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(known.pw_gid)
    os.setuid(known.pw_uid)
answers = {
    f"{protocol} {port}": answer(protocol, port) for protocol in securities for port in ports
}
print(json.dumps({"user": os.getuid(), "answers": answers}))
"""


def attack(user: str, ports: list[int]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", ATTACK, user, *map(str, ports)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@dataclass(frozen=True)
class Open:
    """A local cluster at work, and the ports that its processes listen to."""

    client: distributed.Client
    ports: list[int]
    pages: int
    page: str


@pytest.fixture(scope="module")
def cluster() -> Iterator[Open]:
    with open_cluster(LocalProfile(), SMALL) as client:
        told = client.scheduler_info(n_workers=-1)
        [(worker, facts)] = told["workers"].items()
        addresses = (client.scheduler.address, worker, facts["nanny"])
        ports = [int(address.rpartition(":")[2]) for address in addresses]
        page, problem = open_page(client)
        assert not problem
        yield Open(client, ports, told["services"]["dashboard"], page)


def get(port: int, path: str) -> tuple[int, str]:
    """Return status and all else of an answer; redirects are not followed."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as asked:
        asked.request("GET", path)
        answer = asked.getresponse()
        return answer.status, f"{answer.headers}{answer.read().decode()}"


def test_its_own_client_gets_in(cluster: Open) -> None:
    assert cluster.client.submit(sum, [1, 2]).result() == 3
    assert cluster.client.scheduler.address.startswith("tls://127.0.0.1:")


def test_another_user_of_the_host_is_refused_by_scheduler_worker_and_nanny(cluster: Open) -> None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can be another user")
    found = attack("nobody", cluster.ports)
    assert found["user"] not in (0, os.getuid())
    assert set(found["answers"].values()) == {"refused"}
    assert len(found["answers"]) == 6, "each with no credentials, and with those of another run"


def test_without_the_credentials_of_the_run_its_own_user_is_refused_too(cluster: Open) -> None:
    assert set(attack("", cluster.ports)["answers"].values()) == {"refused"}


def test_the_attack_gets_into_a_cluster_without_credentials() -> None:
    with distributed.LocalCluster(
        n_workers=0, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0"
    ) as unsafe:
        port = int(unsafe.scheduler_address.rpartition(":")[2])
        assert attack("", [port])["answers"][f"tcp {port}"] == "Scheduler"


def test_the_key_of_a_run_is_nowhere_to_be_read(cluster: Open) -> None:
    security = cluster.client.security
    assert "PRIVATE KEY" in security.tls_scheduler_key, "in memory"
    assert "PRIVATE KEY" not in repr(security)
    for process in (os.getpid(), *cluster.client.run(os.getpid).values()):
        assert "PRIVATE KEY" not in " ".join(psutil.Process(process).cmdline())


# ---------------------------------------------------------------- pages


def test_the_page_is_there_for_who_knows_its_address(cluster: Open) -> None:
    path = "/" + cluster.page.split("/", 3)[3]
    assert path.endswith("/climdask")
    assert cluster.client.dashboard_link == cluster.page.replace("/climdask", "/status")
    assert len(path.split("/")[1]) >= 16
    for known in (path, path.replace("/climdask", "/status"), path.replace("/climdask", "/health")):
        assert get(cluster.pages, known)[0] == 200, known


@pytest.mark.parametrize(
    "path",
    ["/", "/status", "/climdask", "/sitemap.json", "/info/main/workers.html", "/json/counts.json",
     "/health", "/metrics", "/individual-plots.json", "/statics/css/base.css", "//", "/%2e/status",
     "/0123456789abcdef/status", "/0123456789abcdef", "*", "/%ff%00/status"],
)  # fmt: skip
def test_who_does_not_know_it_finds_nothing_and_learns_nothing(path: str, cluster: Open) -> None:
    secret = cluster.page.split("/")[3]
    status, said = get(cluster.pages, path)
    assert status in (400, 404)
    assert secret not in said


def test_workers_serve_no_pages(cluster: Open) -> None:
    [services] = [w["services"] for w in cluster.client.scheduler_info()["workers"].values()]
    for path in ("/health", "/metrics", "/status", "/info/main/workers.html"):
        assert get(services["dashboard"], path)[0] == 404


def test_a_link_to_a_proxy_leads_to_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB", "hub.example")
    monkeypatch.setattr("climdask.clusters.local.new_secret", lambda: "a1b2")
    with (
        dask.config.set({"distributed.dashboard.link": "https://{HUB}/proxy/{port}/status"}),
        open_cluster(LocalProfile(), SMALL) as client,
    ):
        port = client.scheduler_info()["services"]["dashboard"]
        assert open_page(client) == (f"https://hub.example/proxy/{port}/a1b2/climdask", "")


def test_a_scheduler_without_a_dashboard_serves_nothing_at_all() -> None:
    with open_cluster(LocalProfile(dashboard="off"), SMALL) as client:
        port = client.scheduler_info()["services"]["dashboard"]
        assert {get(port, path)[0] for path in ("/", "/status", "/health", "/sitemap.json")} == {
            404
        }


def test_the_prefix_is_what_stands_between_host_and_page() -> None:
    assert prefix_of("http://localhost:{port}/a1b2/status") == "a1b2"
    assert prefix_of("") is None
    assert issubclass(Scheduler, distributed.Scheduler)


def test_credentials_of_one_cluster_open_no_other(cluster: Open) -> None:
    with (
        open_cluster(LocalProfile(dashboard="off"), SMALL) as other,
        pytest.raises((OSError, TimeoutError)),
    ):
        identity(other.scheduler.address, cluster.client.security)
