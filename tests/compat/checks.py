"""A list of named checks, run one after another."""
import argparse
import sys
import traceback


class Checks:
    """@checks("what is claimed") before a function that asserts it; run() calls them all and ends the program."""

    def __init__(self, description):
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("url", nargs="?", default="http://127.0.0.1:8080", help="the server (default: %(default)s)")
        parser.add_argument("--api-key", default="none", help="if the server asks for one")
        parser.add_argument("-k", default="", metavar="TEXT", help="only checks with this text in their name")
        self.arguments = parser.parse_args()
        self.url = self.arguments.url.rstrip("/")
        self.all = []

    def __call__(self, name):
        def add(function):
            self.all.append((name, function))
            return function

        return add

    def run(self):
        failed = passed = 0
        for name, function in self.all:
            if self.arguments.k not in name:
                continue
            try:
                function()
                passed += 1
                print(f"ok    {name}", flush=True)
            except Exception:  # whatever it is, it is a failure of this check alone
                failed += 1
                print(f"FAIL  {name}\n{traceback.format_exc(limit=-2)}", flush=True)
        print(f"{passed} passed, {failed} failed")
        sys.exit(failed > 0)
