#!/usr/bin/env python3
"""check_includes.py must fail where it should: every rule is broken once in a small tree of its own."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_includes  # noqa: E402


def problems_of(files):
    """Problems of a tree made of {path: text}."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return check_includes.check_tree(root)


class Direction(unittest.TestCase):
    def test_data_flows_one_way(self):
        self.assertEqual(problems_of({"src/model/a.cc": '#include "layers/b.h"\n#include "base/c.h"\n'}), [])

    def test_against_the_flow_is_reported_with_file_and_line(self):
        self.assertEqual(problems_of({"src/base/a.h": '#pragma once\n\n#include "generation/engine.h"\n'}),
                         ["src/base/a.h:3: src/base/ must not include generation/engine.h"])

    def test_every_pair_of_folders_outside_the_table_is_refused(self):
        folders = [f.removeprefix("src/") for f in check_includes.MAY_INCLUDE if f.startswith("src/")]
        for here in folders:
            for there in folders:
                expected = f"{there}/".startswith(f"{here}/") or f"{there}/" in check_includes.MAY_INCLUDE[f"src/{here}"]
                got = problems_of({f"src/{here}/a.h": f'#include "{there}/b.h"\n'}) == []
                self.assertEqual(got, expected, f"{here} -> {there}")

    def test_the_table_has_no_cycle(self):
        depth = {}

        def visit(folder, path):
            self.assertNotIn(folder, path, "cycle")
            if folder not in depth:
                below = [f"src/{e[:-1]}" for e in check_includes.MAY_INCLUDE[folder] if f"src/{e[:-1]}" in check_includes.MAY_INCLUDE]
                depth[folder] = 1 + max((visit(b, path + [folder]) for b in below), default=0)
            return depth[folder]

        for folder in check_includes.MAY_INCLUDE:
            visit(folder, [])


class PublicHeaders(unittest.TestCase):
    def test_a_public_header_includes_no_private_one(self):
        self.assertEqual(problems_of({"include/kl/model.h": '#include "kl/options.h"\n#include "base/view.h"\n'}),
                         ["include/kl/model.h:2: include/kl/model.h must not include base/view.h"])

    def test_a_public_header_includes_no_library_and_nothing_of_the_system(self):
        for name in ("<nlohmann/json_fwd.hpp>", "<fmt/format.h>", "<unistd.h>"):
            self.assertEqual(len(problems_of({"include/kl/model.h": f"#include {name}\n"})), 1, name)

    def test_a_public_header_belongs_to_the_folder_that_implements_it(self):
        good = {"include/kl/session.h": '#include "kl/model.h"\n', "src/layers/a.h": '#include "kl/options.h"\n'}
        self.assertEqual(problems_of(good), [])
        self.assertEqual(problems_of({"include/kl/model.h": '#include "kl/session.h"\n'}),
                         ["include/kl/model.h:1: include/kl/model.h must not include kl/session.h"])
        self.assertEqual(problems_of({"src/layers/a.h": '#include "kl/model.h"\n'}),
                         ["src/layers/a.h:1: src/layers/ must not include kl/model.h"])

    def test_a_new_public_header_must_be_entered_in_the_table(self):
        self.assertEqual(len(problems_of({"include/kl/misc.h": "#pragma once\n"})), 1)

    def test_the_program_and_examples_use_the_public_ones(self):
        self.assertEqual(problems_of({"src/cli/a.cc": '#include "kl/model.h"\n#include "cli/b.h"\n'}), [])
        self.assertEqual(len(problems_of({"src/cli/a.cc": '#include "model/model.h"\n',
                                          "examples/b.cc": '#include "base/view.h"\n'})), 2)

    def test_kernels_may_know_errors_but_no_other_public_header(self):
        self.assertEqual(problems_of({"src/kernels/a.cc": '#include "kl/error.h"\n'}), [])
        self.assertEqual(len(problems_of({"src/kernels/a.cc": '#include "kl/model.h"\n'})), 1)


class InstructionSets(unittest.TestCase):
    def test_an_isa_folder_includes_the_contract_and_intrinsics_only(self):
        good = '#include "kernels/kernels.h"\n#include <immintrin.h>\n#include "kernels/generic/kda.inl.h"\n#include <cstdint>\n'
        self.assertEqual(problems_of({"src/kernels/avx2/a.cc": good}), [])
        for bad in ("<vector>", "<cmath>", '"base/view.h"', '"kernels/select.h"', '"kernels/avx512/simd.h"'):
            self.assertEqual(len(problems_of({"src/kernels/avx2/a.cc": f"#include {bad}\n"})), 1, bad)
            self.assertEqual(len(problems_of({"src/kernels/generic/a.inl.h": f"#include {bad}\n"})), 1, bad)


class Libraries(unittest.TestCase):
    def test_slow_headers_stay_in_cc_files(self):
        self.assertEqual(problems_of({"src/checkpoint/a.cc": "#include <nlohmann/json.hpp>\n"}), [])
        self.assertEqual(len(problems_of({"src/checkpoint/a.h": "#include <nlohmann/json.hpp>\n"})), 1)
        self.assertEqual(len(problems_of({"src/layers/a.cc": "#include <nlohmann/json.hpp>\n"})), 1)

    def test_the_operating_system_stays_behind_base(self):
        self.assertEqual(problems_of({"src/base/a.cc": "#include <sys/mman.h>\n"}), [])
        self.assertEqual(len(problems_of({"src/layers/a.cc": "#include <sys/mman.h>\n"})), 1)


class Form(unittest.TestCase):
    def test_own_header_comes_first(self):
        files = {"src/base/a.h": "#pragma once\n", "src/base/a.cc": '#include <vector>\n#include "base/a.h"\n'}
        self.assertEqual(problems_of(files), ["src/base/a.cc:1: the first include must be the file's own header base/a.h"])

    def test_includes_name_their_folder(self):
        self.assertEqual(len(problems_of({"src/base/a.cc": '#include "view.h"\n'})), 1)

    def test_a_new_folder_must_be_entered_in_the_table(self):
        self.assertEqual(len(problems_of({"src/misc/a.h": "#pragma once\n"})), 1)


if __name__ == "__main__":
    unittest.main()
