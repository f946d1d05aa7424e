#!/usr/bin/env python3
"""check_links.py must find dead links, headings and paths, and leave living ones alone."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_links  # noqa: E402


def problems_of(text):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder).resolve()
        (root / "docs").mkdir()
        (root / "src/layers").mkdir(parents=True)
        (root / "src/layers/mlp.h").touch()
        (root / "docs/other.md").write_text("# A title, `here`\n```\n# not one\n```\n")
        (root / "docs/page.md").write_text(text)
        return check_links.check_tree(root)


class Links(unittest.TestCase):
    def test_living_links_pass(self):
        self.assertEqual(problems_of("[a](other.md) [b](other.md#a-title-here) [c](https://example.org/x) `src/layers/mlp.h`\n"
                                     "`src/layers/{mlp,mlp}.h` `src/layers/` `src/layers/*.h`\n"), [])

    def test_a_missing_file_is_reported_with_its_line(self):
        self.assertEqual(problems_of("\n[a](gone.md)\n"), ["docs/page.md:2: no such file: gone.md"])

    def test_a_missing_heading_is_reported(self):
        self.assertEqual(len(problems_of("[a](other.md#another)")), 1)
        self.assertEqual(len(problems_of("[a](other.md#not-one)")), 1)

    def test_a_path_of_the_tree_must_exist(self):
        self.assertEqual(problems_of("see `src/layers/{mlp,moe}.h`"), ["docs/page.md:1: no such path: src/layers/moe.h"])

    def test_code_blocks_are_left_alone(self):
        self.assertEqual(problems_of("```\n[a](gone.md)\n```\n"), [])


if __name__ == "__main__":
    unittest.main()
