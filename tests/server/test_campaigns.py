"""Short forms of overload.py and sigterms.py, which run for minutes."""
import asyncio
import os

import overload
import sigterms


def test_who_is_refused_is_told_at_once_and_who_is_accepted_is_answered():
    result = asyncio.run(overload.overload(os.environ["KL_PROGRAM"], clients=80, rounds=2, distinct=8))
    overload.check(result, 80, 2, refusal_ms=5000)  # other tests may run beside this one


def test_sigterm_under_load_cuts_no_line():
    result = sigterms.sigterms(times=2, seed=7)
    assert result["cut"] > 0 and result["refused"] > 0
