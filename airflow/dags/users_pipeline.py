"""Fetches user profiles and proves that all of them have arrived in Cassandra.

    start_fetch -> wait_for_fetch -> wait_for_cassandra

The DAG run's id is the fetch run's id, so a retried or cleared task finds the same run again and nothing is fetched
twice. Waiting holds no worker slot: both sensors are rescheduled between two looks. Connections: `fetcher` (HTTP; the
password is its bearer token) and `cassandra` (the schema is the keyspace; the host may be several, with commas;
`local_datacenter` in the extras). What only tasks need is imported in them, so that parsing stays cheap.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, PokeReturnValue, dag, get_current_context, task
from airflow.timetables.trigger import CronTriggerTimetable

NATIONALITIES = "AU BR CA CH DE DK ES FI FR GB IE IN IR MX NL NO NZ RS TR UA US".split()
# More than a run takes within the public API's limit of 20,000 profiles in 5 minutes; the fetcher has its own.
FETCH_DEADLINE_SECONDS = 6 * 3600
REQUEST_TIMEOUT_SECONDS = 10
# Of the table `users_by_run`: its partitions are (run_id, bucket).
BUCKETS = range(16)


def ask_fetcher(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """The answer's document, or None while the fetcher is away or not ready.

    Fails the task for good if the fetcher refuses the request: asking again would not help.
    """
    import requests
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowFailException

    connection = Connection.get("fetcher")
    host = connection.host if "://" in connection.host else f"{connection.schema or 'http'}://{connection.host}"
    url = f"{host}:{connection.port or 8000}{path}"
    headers = {"Authorization": f"Bearer {connection.password}"}
    try:
        answer = requests.request(method, url, json=body, headers=headers, timeout=REQUEST_TIMEOUT_SECONDS)
    except requests.RequestException as error:
        print(f"the fetcher at {url} does not answer: {error}")
        return None
    if answer.status_code >= 500 or answer.status_code == 429:
        print(f"the fetcher can't do it now: {answer.status_code} {answer.text[:1000]}")
        return None
    if not answer.ok:
        raise AirflowFailException(f"the fetcher refuses {method} {url}: {answer.status_code} {answer.text[:1000]}")
    return answer.json()


def count_in_cassandra(run_id: str) -> int:
    """Profiles of the run in `users_by_run`, all buckets counted side by side."""
    from airflow.sdk import Connection
    from cassandra import ConsistencyLevel
    from cassandra.auth import PlainTextAuthProvider
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.policies import DCAwareRoundRobinPolicy, RoundRobinPolicy, TokenAwarePolicy

    connection = Connection.get("cassandra")
    datacenter = connection.extra_dejson.get("local_datacenter")
    nearest = DCAwareRoundRobinPolicy(local_dc=datacenter) if datacenter else RoundRobinPolicy()
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(nearest),
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        request_timeout=REQUEST_TIMEOUT_SECONDS,
    )
    with Cluster(
        connection.host.split(","),
        port=connection.port or 9042,
        auth_provider=PlainTextAuthProvider(connection.login, connection.password) if connection.login else None,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        connect_timeout=REQUEST_TIMEOUT_SECONDS,
    ) as cluster:
        session = cluster.connect(connection.schema or "datastreaming")
        count = session.prepare("SELECT count(*) FROM users_by_run WHERE run_id = ? AND bucket = ?")
        counts = [session.execute_async(count, (run_id, bucket)) for bucket in BUCKETS]
        return sum(answer.result().one()[0] for answer in counts)


@dag(
    dag_id="users_pipeline",
    description="Fetch user profiles, and prove that all of them have arrived in Cassandra",
    doc_md=__doc__,
    # Daily. Without a start date, and with no time within which a missed run is made up for, the first run is at the
    # next midnight and not when the DAG is first seen.
    schedule=CronTriggerTimetable("@daily", timezone="UTC", run_immediately=timedelta(0)),
    catchup=False,
    is_paused_upon_creation=False,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=10), "retry_exponential_backoff": True},
    params={
        "count": Param(1000, type="integer", minimum=1, maximum=1_000_000, description="Profiles to fetch"),
        "nationalities": Param(
            [],
            type="array",
            items={"type": "string", "enum": NATIONALITIES},
            description="Only these nationalities; all if empty",
        ),
        "seed": Param(
            None,
            type=["null", "string"],
            description="The same seed gives the same profiles; taken from the run's id if not set",
        ),
        "deadline_seconds": Param(
            900, type="integer", minimum=1, description="Time that the last profile may take to Cassandra"
        ),
    },
    tags=["datastreaming"],
)
def users_pipeline() -> None:
    """The tasks in their order."""

    @task
    def start_fetch() -> None:
        """Asks the fetcher for the run. Asked again, it goes on with the run that it has."""
        context = get_current_context()
        params = context["params"]
        body = {"run_id": context["run_id"], "count": params["count"]}
        if params["nationalities"]:
            body["nationalities"] = params["nationalities"]
        if params["seed"] is not None:
            body["seed"] = params["seed"]
        if ask_fetcher("POST", "/runs", body) is None:
            raise RuntimeError(f"the fetcher did not take run {context['run_id']}")

    @task.sensor(mode="reschedule", poke_interval=2, timeout=FETCH_DEADLINE_SECONDS)
    def wait_for_fetch() -> PokeReturnValue:
        """Waits until PostgreSQL has every page of the run; fails at once if the fetcher has given it up."""
        from urllib.parse import quote

        from airflow.sdk.exceptions import AirflowFailException

        run_id = get_current_context()["run_id"]
        run = ask_fetcher("GET", f"/runs/{quote(run_id, safe='')}")
        if run is None:
            return PokeReturnValue(is_done=False)
        progress = f"{run['fetched']} of {run['requested']} profiles fetched, {run['rejected']} rejected"
        print(f"run {run_id} is {run['status']}: {progress}")
        if run["status"] == "failed":
            raise AirflowFailException(f"the fetcher gave up run {run_id} ({progress}): {run['reason']}")
        return PokeReturnValue(is_done=run["status"] == "succeeded", xcom_value=run)

    # The time-out is far beyond the deadline, which fails with numbers.
    @task.sensor(mode="reschedule", poke_interval=2, timeout=FETCH_DEADLINE_SECONDS)
    def wait_for_cassandra(run: dict[str, Any]) -> PokeReturnValue:
        """Waits until Cassandra has every stored profile of the run; fails with numbers at the deadline."""
        from airflow.sdk.exceptions import AirflowFailException

        context = get_current_context()
        now = datetime.now(UTC)
        waited = (now - (context["ti"].get_first_reschedule_date(context) or now)).total_seconds()
        deadline, expected = context["params"]["deadline_seconds"], run["stored"]
        try:
            found, problem = count_in_cassandra(run["run_id"]), ""
        except Exception as error:  # the driver's errors have no base in common
            found, problem = 0, f"; Cassandra does not answer: {error}"
        numbers = f"{found} of {expected} profiles of run {run['run_id']} are in Cassandra{problem}"
        print(numbers)
        if found >= expected and not problem:
            keys = ("requested", "fetched", "stored", "rejected", "duplicates", "simulated")
            return PokeReturnValue(is_done=True, xcom_value={key: run[key] for key in keys} | {"in_cassandra": found})
        if waited > deadline:
            raise AirflowFailException(
                f"{expected - found} profiles are missing {waited:.0f} s after the fetch, the deadline was "
                f"{deadline} s: {numbers}; `pipeline verify --run {run['run_id']}` names them"
            )
        return PokeReturnValue(is_done=False)

    fetched = wait_for_fetch()
    start_fetch() >> fetched
    wait_for_cassandra(fetched)


users_pipeline()
