"""A short soak; tests/server/soak.py is the long one."""
import asyncio
import os

import soak


def test_a_crowd_with_clients_that_vanish_gets_what_kl_run_writes():
    result = asyncio.run(soak.soak(os.environ["KL_PROGRAM"], clients=24, requests=240, drops=40, distinct=24))
    soak.check(result, 240)
