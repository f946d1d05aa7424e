#!/usr/bin/env python3
"""check_packages.py must fail where it should: a small tree of its own needs one thing too many."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_packages  # noqa: E402

LISTS = {
    "tools/lib/packages.sh": "build_packages=(g++ libfmt-dev)\ntest_packages=(python3 python3-numpy libgtest-dev)\n",
    "docs/dependencies.md": "## To build the program\n| `g++` | 12 | |\n| `libfmt-dev` | 9 | |\n"
                            "## To test\n| `python3` | |\n| `python3-numpy` | |\n| `libgtest-dev` | |\n",
}


def problems_of(files):
    """Problems of a tree made of {path: text} and the lists."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for path, text in (LISTS | files).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return check_packages.check_tree(root)


class Needs(unittest.TestCase):
    def fails(self, path, text, words):
        problems = problems_of({path: text})
        self.assertEqual(len(problems), 1, problems)
        self.assertIn(words, problems[0])

    def test_what_the_lists_bring_passes(self):
        self.assertEqual(problems_of({
            "src/a.cc": "#include <vector>\n#include <sys/stat.h>\n#include <fmt/format.h>\n",
            "tests/a.cc": "#include <gtest/gtest.h>\n",
            "tests/a.py": "import os\nimport helper\nimport numpy as np\nsubprocess.run(['python3', '-c', ''])\n",
            "tests/helper.py": "",
            "test.sh": "source tools/lib/x.sh\nstep_of_x | sort -u\n",
            "tools/lib/x.sh": "step_of_x() {\n  echo done\n}\n",
        }), [])

    def test_headers(self):
        self.fails("src/a.cc", "\n#include <nlohmann/json.hpp>\n", "src/a.cc:2: the header nlohmann/json.hpp: expected nlohmann-json3-dev in")
        self.fails("src/a.h", "#include <zlib.h>\n", "expected a row in a table of tools/check_packages.py for the header zlib.h")
        self.fails("src/a.h", "#include <gtest/gtest.h>\n", "expected libgtest-dev in")  # ./demo.sh installs the first list only

    def test_modules(self):
        self.fails("tests/a.py", "import numpy\n\ndef f():\n  from jsonschema.protocols import x\n", "tests/a.py:4: the module jsonschema:")
        self.fails("tools/a.py", "x = pytest.importorskip('requests')\n", "the module requests")
        self.fails("test.sh", "$python -m pytest -q\n", "the module pytest")

    def test_programs_of_scripts(self):
        for text in ("curl -s x", "a=1 curl x", "if ! curl x; then", "cat x | curl x", "x=$(curl x)", 'echo "at $(curl "$x")"',
                     "f() { curl x; }", "sort | xargs -0 -P 2 curl", "sudo env A=b curl x", "case x in\n  -a | --b) curl x ;;\nesac"):
            self.fails("test.sh", text + "\n", "for the program curl")
        for text in ("# curl x", "echo curl", "echo 'curl x'", 'echo "a; curl x"', "cat <<TEXT\ncurl x\nTEXT", "curl() {\n:\n}",
                     "x=(curl x)", "command -v curl", "case x in\n  curl | --b) echo ;;\nesac"):
            self.assertEqual(problems_of({"test.sh": text + "\n"}), [], text)

    def test_programs_of_other_files(self):
        self.fails("tests/a.py", "subprocess.run(['openssl', 'req', path])\n", "tests/a.py:1: the program openssl: expected openssl in")
        self.fails("tests/a.py", "subprocess.run(['bash', '-c', 'echo | curl x'])\n", "the program curl")
        self.fails("tests/a.py", "shutil.which('curl')\n", "the program curl")
        self.fails("tests/a.cc", 'popen(("xz -dc " + file).c_str(), "r");\n', "the program xz")
        self.fails("cmake/a.cmake", "find_program(KL_X ccache)\n", "the program ccache")

    def test_what_nobody_runs_is_left_alone(self):
        self.assertEqual(problems_of({"tests/compat/a.py": "import openai\n", "bench/a.cc": "#include <benchmark/benchmark.h>\n"}), [])


class Lists(unittest.TestCase):
    def test_the_documentation_names_the_same_packages(self):
        problems = problems_of({"docs/dependencies.md": LISTS["docs/dependencies.md"].replace("`python3`", "`python`")})
        self.assertEqual(problems, ["docs/dependencies.md:1: expected the test_packages of tools/lib/packages.sh, got other ones: "
                                    "python python3"])

    def test_a_row_that_names_the_wrong_package_is_found(self):
        if not check_packages.files_of("python3-numpy"):
            self.skipTest("python3-numpy is not installed as a Debian package")
        self.assertTrue(check_packages.is_in("python3-numpy", "module", "numpy"))
        self.assertFalse(check_packages.is_in("python3-numpy", "module", "pytest"))
        self.assertFalse(check_packages.is_in("python3-numpy", "program", "sort"))

    def test_every_pattern_of_files_that_are_not_run_matches_one(self):
        root = pathlib.Path(__file__).parent.parent
        for pattern in check_packages.OPT_IN:
            self.assertTrue(list(root.glob(pattern.replace("/*", "/**/*", 1))), pattern)


if __name__ == "__main__":
    unittest.main()
