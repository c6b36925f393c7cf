"""Work done ahead of whoever takes its results, by threads."""
from collections import deque
from concurrent.futures import ThreadPoolExecutor


def in_order(function, tasks, threads):
    """Results of a function in the order of its tasks, which are taken as there is room.

    threads  how many work; at most twice as many tasks and one are begun or done ahead
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(function, task))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # also where whoever takes them stops
            pool.shutdown(cancel_futures=True)
