"""A class on a Dask cluster: the same verdicts, and nothing lost where a worker dies.

``WORKBENCH_CLUSTER_SUBMISSIONS=1000`` grades that many.
"""

import logging
import os
import signal
import threading
import time
from collections import Counter

import pytest
from test_attacks import NAME, RIGHT, make_course, notebook, submit

from workbench.course import batch
from workbench.course.notebooks import read_assignment
from workbench.course.referee import Options
from workbench.course.sandbox import isolation
from workbench.errors import DeviceError

distributed = pytest.importorskip("distributed", reason='needs pip install ".[cluster]"')

NUMBER = int(os.environ.get("WORKBENCH_CLUSTER_SUBMISSIONS", "40"))
ANSWERS = [RIGHT, "def double(x):\n    return x", "def double(x:", "raise SystemExit",
           "import os\ndef double(x): os._exit(1)"]  # fmt: skip
VERDICTS = ["pass", "fail", "fail", "fail", "died"]
pytestmark = [
    pytest.mark.slow,
    # Dask's own sockets and processes, while a worker dies on purpose.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    path = make_course(tmp_path_factory.mktemp("campus"))
    for number in range(NUMBER):
        submit(path, f"s{number:05}", notebook(ANSWERS[number % len(ANSWERS)]))
    return path


@pytest.fixture
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
        host="127.0.0.1", silence_logs=logging.CRITICAL,
    ) as made:  # fmt: skip
        yield made


def grade(course, **options):
    assignment = read_assignment(NAME, course)
    handed = batch.find_submissions(course / "submitted", NAME)
    return batch.grade(assignment, handed, Options(secret="s", mode=isolation()[0]), **options)


def told(rows):
    return [(row.student, row.question, row.verdict, row.points, row.feedback, row.isolation)
            for row in rows]  # fmt: skip


def assert_nothing_lost_or_twice(rows, journal):
    counts = Counter((row.student, row.question) for row in rows)
    assert len(counts) == 2 * NUMBER
    assert set(counts.values()) == {1}
    students = [entry.split('"student": "')[1].split('"')[0]
                for entry in journal.read_text().splitlines()]  # fmt: skip
    assert sorted(students) == sorted({student for student, _ in counts})
    for row in rows:
        right = VERDICTS[int(row.student[1:]) % len(VERDICTS)] if row.question == "q1-check" \
            else "pass"  # fmt: skip
        assert row.verdict == right, row


def test_a_cluster_and_a_pool_agree(course, cluster, tmp_path):
    begin, seen = time.monotonic(), []
    rows = grade(course, scheduler=cluster.scheduler_address, journal=tmp_path / "journal",
                 progress=lambda student, done, total: seen.append((done, total)))  # fmt: skip
    print(f"\n{NUMBER} submissions on a cluster of 2: {time.monotonic() - begin:.1f} s")
    assert seen == [(done, NUMBER) for done in range(NUMBER + 1)]
    assert_nothing_lost_or_twice(rows, tmp_path / "journal")
    assert told(rows) == told(grade(course, jobs=2))


def test_a_worker_that_is_killed_takes_nothing_with_it(course, cluster, tmp_path):
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        workers = client.run(os.getpid)
    victim = next(iter(workers.values()))
    killed = threading.Event()

    def progress(student, done, total):
        if done >= NUMBER // 3 and not killed.is_set():
            killed.set()
            os.kill(victim, signal.SIGKILL)

    begin = time.monotonic()
    rows = grade(course, scheduler=cluster.scheduler_address, journal=tmp_path / "journal",
                 progress=progress)  # fmt: skip
    print(f"\n{NUMBER} submissions, a worker killed: {time.monotonic() - begin:.1f} s")
    assert killed.is_set()
    assert_nothing_lost_or_twice(rows, tmp_path / "journal")
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        assert victim not in client.run(os.getpid).values()


def test_where_there_is_no_scheduler_one_line_says_so(course):
    with pytest.raises(DeviceError, match="no Dask scheduler there") as caught:
        grade(course, scheduler="tcp://127.0.0.1:9")
    assert "dask scheduler" in str(caught.value)
