"""The check of line widths can fail."""
import pathlib
import tempfile
import unittest

import check_line_width


class LineWidth(unittest.TestCase):
    def test_columns_are_characters(self):
        self.assertEqual(check_line_width.too_wide("x" * 120 + "\n" + "\u00e9" * 120), [])
        self.assertEqual(check_line_width.too_wide("short\n" + "x" * 121 + "\n"), [(2, 121)])

    def test_files_are_read_but_for_builds(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "build").mkdir()
            (root / "build/page.md").write_text("x" * 121)
            self.assertEqual(check_line_width.main(root), 0)
            (root / "page.md").write_text("x" * 121)
            self.assertEqual(check_line_width.main(root), 1)


if __name__ == "__main__":
    unittest.main()
