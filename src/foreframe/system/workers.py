"""Work done side by side: by processes of this machine, or by a Ray cluster.

A job is a picklable value, the work a function of a module. Jobs write their own results whole or
not at all, so a worker may die at any moment: its job is done again.
"""

import _thread
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from foreframe.errors import ForeframeError, at_least

Job = TypeVar("Job")
Result = TypeVar("Result")

DEATHS = 3
"""Times that workers may die without a single job done in between."""


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Execution:
    """Who does the work; what is made does not depend on it."""

    workers: int = field(default_factory=available_cores)
    """Processes that work side by side."""
    ray: str | None = None
    """Address of a Ray cluster that does the work instead; local starts one on this machine."""


def do_jobs(
    work: Callable[[Job], Result],
    jobs: list[Job],
    execution: Execution,
    *,
    total: int,
    progress: Callable[[int, int], None],
) -> None:
    """Do the jobs that are left of ``total``; their results are what they write.

    Args:
        work: a function of a module, that other processes can import.
        jobs: what it is called with, one at a time.
        execution: who does the work.
        total: jobs in all, those included that were done before.
        progress: called with (jobs done, total) at the start and after each.

    Raises:
        ForeframeError: see ``side_by_side``.
        KeyboardInterrupt: after the workers have ended.
    """
    done = total - len(jobs)
    progress(done, total)
    with side_by_side(work, jobs, workers=execution.workers, ray=execution.ray) as results:
        for _ in results:
            done += 1
            progress(done, total)


@contextmanager
def side_by_side(
    work: Callable[[Job], Result],
    jobs: list[Job],
    *,
    workers: int | None = None,
    ray: str | None = None,
) -> Iterator[Iterator[Result]]:
    """Yield an iterator over the results, in the order in which they come.

    Args:
        work: a function of a module, that other processes can import.
        jobs: what it is called with, one at a time.
        workers: processes; every available core by default. 1: in this process.
        ray: address of a Ray cluster that does the work instead; "local" starts one here. Its
            nodes need foreframe and the same files under the same paths.

    Raises:
        ForeframeError: what a job raised (the others are ended); workers keep dying; there is no
            such cluster.
        KeyboardInterrupt: after the workers have ended.
    """
    workers = available_cores() if workers is None else workers
    at_least(1, workers=workers)
    if ray is not None:
        with _ray_cluster(ray) as cluster:
            yield _on_ray(cluster, work, jobs)
    elif workers == 1 or len(jobs) <= 1:
        yield map(work, jobs)
    else:
        results = _in_processes(work, jobs, min(workers, len(jobs)))
        try:
            yield results
        finally:
            results.close()


# -- threads ------------------------------------------------------------------------------------


def in_threads(
    work: Callable[[Job], Result], jobs: Iterable[Job], workers: int
) -> Iterator[Result]:
    """Results in the order of the jobs, made ahead by threads; a few wait to be taken.

    Args:
        work: a function that leaves the interpreter free where it takes time.
        jobs: what it is called with, one at a time.
        workers: threads; four times as many jobs are begun ahead, so that memory stays flat.
    """
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for job in jobs:
                pending.append(pool.submit(work, job))
                if len(pending) > 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


# -- processes ----------------------------------------------------------------------------------


def _in_processes(
    work: Callable[[Job], Result], jobs: list[Job], workers: int
) -> Generator[Result, None, None]:
    pending, deaths = list(jobs), 0
    while pending:
        stop, stopped = get_context("spawn").Pipe(duplex=False)
        # Spawned, not forked: a fork of a process that runs threads (PyTorch's) may hang.
        pool = ProcessPoolExecutor(
            min(workers, len(pending)),
            mp_context=get_context("spawn"),
            initializer=_begin_worker,
            initargs=(stop,),
        )
        try:
            with _interrupts_ignored():
                futures: dict[Future[Result], Job] = {}
                for job in pending:
                    futures[pool.submit(_do, work, job)] = job
            while futures:
                done, _ = wait(futures, return_when=FIRST_COMPLETED)
                for future in done:
                    result = future.result()
                    pending.remove(futures.pop(future))
                    deaths = 0
                    yield result
        except BrokenProcessPool as error:
            deaths += 1
            if deaths == DEATHS:
                raise ForeframeError(
                    f"Working processes died {DEATHS} times (out of memory?); what they had "
                    "written is kept. Run the same command again, perhaps with fewer --workers."
                ) from error
        finally:
            if pending:
                stopped.close()  # workers that still have a job stop now
            # The others end by themselves: libraries that they loaded put away what they hold.
            pool.shutdown(wait=True, cancel_futures=True)
            stopped.close()
            stop.close()


_in_a_job = False


def _do(work: Callable[[Job], Result], job: Job) -> Result:
    global _in_a_job
    _in_a_job = True
    try:
        return work(job)
    except SystemExit as stop:
        # The pool would hand it over as the job's result, and begin the next job.
        os._exit(stop.code if isinstance(stop.code, int) else 1)
    finally:
        _in_a_job = False


def _terminate(number: int, frame: object) -> None:
    if not _in_a_job:
        os._exit(128 + number)
    sys.exit(128 + number)  # an exception, so that half-written files are removed on the way out


def _begin_worker(stop: Connection) -> None:
    # Ctrl-C reaches every process of the terminal: the parent alone decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminate)
    threading.Thread(target=_stop_with_parent, args=(stop,), daemon=True).start()


def _stop_with_parent(stop: Connection) -> None:
    """End this process when the parent closes its end of the pipe, or has died."""
    try:
        stop.recv_bytes()
    except (EOFError, OSError):
        if hasattr(signal, "pthread_kill"):  # wakes a job that sleeps or waits for a file, too
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        else:
            _thread.interrupt_main(signal.SIGTERM)
        time.sleep(5)
        os._exit(1)  # idle, with nobody to tell it that nothing more will come


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started meanwhile never see Ctrl-C, not even while they still import."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# -- Ray ----------------------------------------------------------------------------------------


@contextmanager
def _ray_cluster(address: str) -> Iterator[Any]:
    try:
        import ray
    except ImportError as error:
        raise ForeframeError(
            f"--ray {address}: Ray is not installed. Install it: pip install 'foreframe[cluster]'."
        ) from error
    started = not ray.is_initialized()
    if started:
        _check_that_it_answers(address)
        try:
            ray.init(
                address=None if address == "local" else address,
                include_dashboard=False if address == "local" else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            raise ForeframeError(
                f"--ray {address}: no Ray cluster answers there ({str(error).splitlines()[0]}). "
                "Give host:port, auto for one that runs on this machine, or local to start one."
            ) from error
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()


def _check_that_it_answers(address: str) -> None:
    """Ask before Ray does, which tries for minutes and then names its own parts.

    Raises:
        ForeframeError: nobody listens at host:port.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # local, auto, or a name that Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ForeframeError(
            f"--ray {address}: no Ray cluster answers there ({error}). "
            "Give host:port, auto for one that runs on this machine, or local to start one."
        ) from error


def _on_ray(ray: Any, work: Callable[[Job], Result], jobs: list[Job]) -> Iterator[Result]:
    # Ray does a task again on another worker if its own has died.
    task = ray.remote(max_retries=DEATHS)(work)
    pending = [task.remote(job) for job in jobs]
    try:
        while pending:
            done, pending = ray.wait(pending)
            for result in done:
                yield ray.get(result)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ForeframeError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise ForeframeError(
            f"A job on the Ray cluster could not be done ({type(error).__name__}: "
            f"{str(error).splitlines()[0]}). What was done is kept: run the same command again."
        ) from error
    finally:
        for task_left in pending:
            ray.cancel(task_left)
