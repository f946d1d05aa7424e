#!/usr/bin/env python3
"""Prints medians over rounds and their ratios: compare_llama.py FOLDER with kl.N.json and llama.N.json of each round N.

A ratio is the median over rounds of kl / llama.cpp within a round, so that a slow moment of the machine counts for both.
"""
import json
import pathlib
import statistics
import sys


def rounds_of(folder, engine):
    paths = sorted(folder.glob(f"{engine}.*.json"), key=lambda path: int(path.name.split(".")[1]))
    return [json.loads(path.read_text()) for path in paths]


def medians(bench):
    return {result["test"]: result["median"] for result in bench["results"]}


def table(kl, llama):
    """Lines of a Markdown table, one for each test that both have run."""
    rounds = list(zip(map(medians, kl), map(medians, llama)))
    limits = {r["test"]: r["percent_of_limit"] for r in kl[-1]["results"]}
    lines = ["| test | kl tok/s | llama.cpp tok/s | ratio | from | to | kl, % of limit |",
             "|---|--:|--:|--:|--:|--:|--:|"]
    for test in (t for t in rounds[0][0] if t in rounds[0][1]):
        ours, theirs = [k[test] for k, _ in rounds], [l[test] for _, l in rounds]
        ratios = [a / b for a, b in zip(ours, theirs)]
        lines.append(f"| {test} | {statistics.median(ours):.2f} | {statistics.median(theirs):.2f} | "
                     f"{statistics.median(ratios):.2f} | {min(ratios):.2f} | {max(ratios):.2f} | {limits[test]:.1f} |")
    for key, name in (("load_s", "load, s"), ("rss_mib", "resident, MiB")):
        ours, theirs = (statistics.median(bench[key] for bench in rounds_) for rounds_ in (kl, llama))
        lines.append(f"| {name} | {ours:.2f} | {theirs:.2f} | {ours / theirs:.3f} | | | |")
    return lines


def main():
    folder = pathlib.Path(sys.argv[1])
    kl, llama = rounds_of(folder, "kl"), rounds_of(folder, "llama")
    if not kl or len(kl) != len(llama):
        sys.exit(f"{folder}: expected as many kl.N.json as llama.N.json, got {len(kl)} and {len(llama)}")
    print("\n".join(table(kl, llama)))


if __name__ == "__main__":
    main()
