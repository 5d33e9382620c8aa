"""The address of a dashboard, which a template in the user's settings may make."""

from __future__ import annotations

from distributed import Client


def dashboard_link(client: Client) -> tuple[str, str]:
    """Return where the dashboard of a client is, and why that cannot be said.

    The template is ``distributed.dashboard.link``; names in braces are environment variables.
    """
    try:
        return client.dashboard_link or "", ""
    except KeyError as error:
        problem = f"it names the variable {error.args[0]}, which is not set"
    except (ValueError, IndexError, AttributeError, TypeError) as error:
        problem = f"it is no template of an address ({error})"
    return "", (
        f"Dask's settings: distributed.dashboard.link: {problem}; expected such as "
        '"{scheme}://{host}:{port}/status": change it in distributed.yaml or in '
        "DASK_DISTRIBUTED__DASHBOARD__LINK"
    )
