"""The check of line widths can fail."""
import pathlib
import subprocess
import tempfile
import unittest

import check_line_width


class LineWidth(unittest.TestCase):
    def test_columns_are_characters(self):
        self.assertEqual(check_line_width.too_wide("x" * 120 + "\n" + "\u00e9" * 120), [])
        self.assertEqual(check_line_width.too_wide("short\n" + "x" * 121 + "\n"), [(2, 121)])

    def test_tracked_files_are_read(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "page.md").write_text("x" * 121 + "\n")
            subprocess.run(["git", "init", "-q", str(root)], check=True)
            self.assertEqual(check_line_width.main(root), 0)  # not tracked
            subprocess.run(["git", "-C", str(root), "add", "page.md"], check=True)
            self.assertEqual(check_line_width.main(root), 1)
            (root / "page.md").write_text("x" * 120 + "\n")
            self.assertEqual(check_line_width.main(root), 0)


if __name__ == "__main__":
    unittest.main()
