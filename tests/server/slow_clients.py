#!/usr/bin/env python3
"""Thousands of clients that begin a request and never end it, beside one that works.

    tests/server/slow_clients.py [--attackers 5000] [--timeout 5]

Says what the one that works notices, what the server takes for the others, and when they are gone.  Needs as many
descriptors here as attackers (ulimit -n); every 250 of them come from an address of their own."""
import argparse
import resource
import statistics
import time

from raw_http import Wire, echo_server, eventually

MB = 1 << 20
ASK = b"GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n"


def live(server, seconds):
    """Times of requests one after the other for so long, and whether every one was answered."""
    times, end = [], time.monotonic() + seconds
    wire = server.wire(source="127.0.9.9")
    while time.monotonic() < end:
        start = time.monotonic()
        reply = wire.send(ASK).reply()
        if reply is None:  # pushed out while it was idle, or 1000 requests were enough: a client connects again
            wire = server.wire(source="127.0.9.9")
            reply = wire.send(ASK).reply()
        assert reply is not None and reply.status == 200
        times.append(time.monotonic() - start)
        time.sleep(0.002)
    return times


def describe(times):
    cuts = statistics.quantiles(times, n=100)
    return f"{len(times)} requests, median {cuts[49] * 1000:.2f} ms, p99 {cuts[98] * 1000:.2f} ms, worst {max(times) * 1000:.1f} ms"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attackers", type=int, default=5000)
    parser.add_argument("--timeout", type=float, default=5)
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    server = echo_server(head_timeout=arguments.timeout, connections=arguments.attackers * 2)
    print("quiet:", describe(live(server, 2)))
    before, descriptors = server.memory(), server.descriptors()
    attackers = [Wire(server.address, source=f"127.1.{i // 250}.1") for i in range(arguments.attackers)]
    for wire in attackers:
        wire.send(b"GET /echo HTTP/1.1\r\nHost: loc")
    start = time.monotonic()
    open_now = server.descriptors() - descriptors
    print(f"attack: {open_now} connections half open, {(server.memory() - before) / MB:+.1f} MB resident")
    print("attack:", describe(live(server, 2)))
    gone = eventually(lambda: server.descriptors() <= descriptors + 1, within=arguments.timeout + 5)
    print(f"all gone: {gone}, {time.monotonic() - start:.1f} s after the last began (timeout {arguments.timeout} s)")
    print(f"after: {(server.memory() - before) / MB:+.1f} MB resident; {describe(live(server, 1))}")
    server.stop()


if __name__ == "__main__":
    main()
