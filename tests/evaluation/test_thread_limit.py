import torch

from salience.evaluation.thread_limit import SMALL, threads_for


def test_small_problems_get_one_thread_and_leave_the_rest_as_it_was():
    torch.set_num_threads(2)
    with threads_for(SMALL):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with threads_for(SMALL + 1):
        assert torch.get_num_threads() == 2
