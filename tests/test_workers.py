"""Workers: the same outcomes from one process, several, or a cluster, even if one is killed."""

import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import psutil
import pytest

from napari_pvs.errors import InputError, InputWarning
from napari_pvs.workers import HERE, RETRIES, Outcome, Workers, each

MODULE = '''
import os, signal, time, warnings
from pathlib import Path
from napari_pvs.errors import InputError, InputWarning

def work(item):
    """Double a number; what is to fail or die is in a file of that name."""
    number, folder = item
    log = Path(folder) / f"{number}.tries"
    with log.open("a") as file:
        file.write(f"{os.getpid()}\\n")
    asked = Path(folder) / f"{number}"
    orders = asked.read_text() if asked.exists() else ""
    if orders == "refuse":
        raise InputError(f"{number} cannot be used; give another.")
    if orders == "warn":
        warnings.warn(f"{number} is odd", InputWarning)
    if orders == "wait":
        time.sleep(3600)
    if orders == "bug":
        raise ZeroDivisionError(number)
    if orders == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if orders == "die once":
        asked.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return 2 * number
'''


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A function that other processes can import; ``work.items`` are its items."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "work_of_workers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path]))
    import work_of_workers

    yield work_of_workers.work
    del sys.modules["work_of_workers"]


def items(tmp_path, n=6, **orders):
    for number, order in orders.items():
        (tmp_path / number[1:]).write_text(order)
    return [(at, str(tmp_path)) for at in range(n)]


def tries(tmp_path, number) -> list[str]:
    return (tmp_path / f"{number}.tries").read_text().split()


@pytest.mark.parametrize("workers", [HERE, Workers(2)])
def test_outcomes_are_in_order_and_one_failure_stops_no_other(work, tmp_path, workers):
    given = items(tmp_path, _1="refuse", _3="warn")
    with pytest.warns(InputWarning, match="3 is odd") as told:
        found = list(each(work, given, workers))
    assert [one.value for one in found] == [0, None, 4, 6, 8, 10]
    assert [one.why for one in found if one.why] == ["1 cannot be used; give another."]
    assert len([one for one in told if one.category is InputWarning]) == 1
    own = {pid for at in range(6) for pid in tries(tmp_path, at)}
    assert (own == {str(os.getpid())}) == (workers == HERE)
    assert len(own) == workers.processes


def test_a_killed_process_costs_a_retry(work, tmp_path):
    given = items(tmp_path, _2="die once")
    found = list(each(work, given, Workers(2)))
    assert found == [Outcome(2 * at) for at in range(6)]
    assert len(tries(tmp_path, 2)) == 2


def test_what_always_kills_its_process_fails_alone(work, tmp_path):
    given = items(tmp_path, _0="die")
    found = list(each(work, given, Workers(2)))
    assert "killed 4 times" in found[0].why
    assert "use fewer processes" in found[0].why
    assert [one.value for one in found[1:]] == [2, 4, 6, 8, 10]
    assert len(tries(tmp_path, 0)) == RETRIES + 1


def test_processes_end_with_the_one_that_began_them(work, tmp_path):
    given = items(tmp_path, n=2, _0="wait", _1="wait")
    script = tmp_path / "begin.py"
    script.write_text(
        "from napari_pvs.workers import Workers, each\n"
        "from work_of_workers import work\n"
        f"if __name__ == '__main__':\n    list(each(work, {given!r}, Workers(2)))\n"
    )
    parent = subprocess.Popen([sys.executable, script])
    begun = [tmp_path / f"{at}.tries" for at in range(2)]
    wait_until(lambda: all(path.exists() and path.read_text() for path in begun))
    pids = [int(pid) for at in range(2) for pid in tries(tmp_path, at)]
    assert all(map(psutil.pid_exists, pids))
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(map(psutil.pid_exists, pids)))


def wait_until(ready):
    while not ready():
        time.sleep(0.05)


def test_a_bug_keeps_its_traceback(work, tmp_path):
    with pytest.raises(ZeroDivisionError):
        list(each(work, items(tmp_path, _1="bug"), Workers(2)))


def test_nothing_to_do(work):
    assert list(each(work, [], Workers(2))) == []


def test_cores_are_shared(monkeypatch):
    from napari_pvs import workers

    monkeypatch.delenv("OMP_NUM_THREADS")
    workers._share(3)
    assert os.environ["OMP_NUM_THREADS"] == "3"
    workers._share(5)
    assert os.environ["OMP_NUM_THREADS"] == "3"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")


@pytest.mark.filterwarnings("default")  # dask's own
def test_a_cluster_gives_the_same_and_a_lost_worker_costs_a_retry(work, tmp_path):
    distributed = pytest.importorskip("distributed")
    given = items(tmp_path, n=8, _1="refuse", _3="warn", _5="die once")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        found = list(each(work, given, Workers(scheduler=cluster)))
    assert [one.value for one in found] == [0, None, 4, 6, 8, 10, 12, 14]
    assert found[1].why == "1 cannot be used; give another."
    assert "3 is odd" in [str(one.message) for one in caught]
    assert len(tries(tmp_path, 5)) == 2
    assert str(os.getpid()) not in tries(tmp_path, 0)


@pytest.mark.filterwarnings("default")
def test_a_lost_scheduler_is_told(work, tmp_path):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
    )
    try:
        found = each(work, items(tmp_path, n=200), Workers(scheduler=cluster.scheduler_address))
        assert next(found).value == 0
        cluster.close()
        with pytest.raises(InputError, match=r"scheduler at tcp.* was lost; .*run the command"):
            list(found)
    finally:
        cluster.close()


def test_nobody_answers(work):
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(InputError, match=r"no dask scheduler answers at tcp://127.0.0.1:9"),
    ):
        list(each(work, [1], Workers(scheduler="tcp://127.0.0.1:9")))


SBATCH = """#!/bin/sh
# takes SLURM's place: the first job runs here, the others wait in its queue
mkdir "$QUEUE/first" 2>/dev/null && { sh "$1" >"$QUEUE/log" 2>&1 & echo $! >"$QUEUE/pid"; }
echo "Submitted batch job 1"
"""


@pytest.mark.filterwarnings("ignore:Port 8787:UserWarning")  # of the dashboard, if it is in use
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its socket
def test_the_slurm_cluster_of_the_documentation(work, tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    page = Path(__file__).parents[1] / "docs" / "how-to" / "segment.md"
    (snippet,) = re.findall(r"```python\n(from dask_jobqueue.*?)```", page.read_text("utf-8"), re.S)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, content in (("sbatch", SBATCH), ("scancel", "#!/bin/sh\n")):
        (programs / name).write_text(content)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("QUEUE", str(tmp_path))
    names: dict = {}
    exec(snippet, names)  # as it stands there
    try:
        assert names["cluster"].job_script().rstrip().endswith("--nthreads 1")
        folder = tmp_path / "items"
        folder.mkdir()
        # workers with more threads would be refused
        found = list(each(work, items(folder, 3), Workers(scheduler=names["cluster"])))
        assert [(one.value, one.why) for one in found] == [(0, ""), (2, ""), (4, "")]
    finally:
        names["cluster"].close()
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
