"""Batches come in order and once, errors in their place, and nothing runs on after the end."""

import threading
import time

import numpy as np
import pytest
import torch

from anchorface.records import DataError
from anchorface.training.prefetch import PICTURES, Prefetch

CPU = torch.device("cpu")


def batch(number):
    pictures = {name: np.full((2, 4, 4, 3), number, np.uint8) for name in PICTURES}
    return {"position": np.array([2 * number, 2 * number + 1]), **pictures}


def made(count, log, seconds=0.0, fail_at=None):
    try:
        for number in range(count):
            if number == fail_at:
                raise DataError("a damaged shard")
            time.sleep(seconds)
            log.append(number)
            yield batch(number)
    finally:
        log.append("closed")


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_all_batches_in_order_and_then_the_end():
    log = []
    found = Prefetch(made(7, log), CPU)
    assert [int(one["position"][0]) for one in found] == [0, 2, 4, 6, 8, 10, 12]
    with pytest.raises(StopIteration):
        next(found)
    assert log == [*range(7), "closed"] and not threads()


def test_it_reads_no_more_than_its_depth_ahead():
    log = []
    found = Prefetch(made(50, log), CPU, depth=3)
    next(found)
    time.sleep(0.5)
    assert len(log) == 5  # one taken, three ready, one in the thread's hands
    found.close()
    found.close()
    assert log[-1] == "closed" and not threads()


def test_an_error_comes_after_the_batches_before_it():
    found = Prefetch(made(5, [], fail_at=2), CPU)
    assert [int(next(found)["position"][0]) for _ in range(2)] == [0, 2]
    with pytest.raises(DataError, match="damaged"):
        next(found)
    assert not threads()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_pictures_are_there_already():
    device = torch.device("cuda")
    for number, one in enumerate(Prefetch(made(20, []), device)):
        assert all(one[name].device.type == "cuda" and bool((one[name] == number).all()) for name in PICTURES)
        assert isinstance(one["position"], np.ndarray)
