#!/usr/bin/env python3
"""check_documented.py must fail where it should, and ask for nothing that says itself what it is."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_documented  # noqa: E402


def names_in(files):
    """What is reported of a tree made of {path: text}, as "path:line name"."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return [" ".join((p.split(": ")[0], p.split(": ")[1].split()[1])) for p in check_documented.check_tree(root)]


class Missing(unittest.TestCase):
    def test_every_kind_of_declaration_is_reported_with_its_line(self):
        text = """namespace kl {
class A {
 public:
  explicit A(int x) : x_{x} {
  }
  void f() const;
  struct Inner {
    int x = 0;
  };
};
enum class E { kOne };
template <class T>
T g(T x) { return x; }
bool operator<(const A& a, const A& b);
}
"""
        self.assertEqual(names_in({"src/model/a.h": text}),
                         ["src/model/a.h:2 A", "src/model/a.h:4 A::A", "src/model/a.h:6 A::f", "src/model/a.h:7 A::Inner",
                          "src/model/a.h:11 E", "src/model/a.h:12 g", "src/model/a.h:14 operator<"])

    def test_functions_of_one_file_are_asked_for_as_well(self):
        self.assertEqual(names_in({"src/layers/a.cc": "namespace {\nint f() { return 1; }\n}\n"}), ["src/layers/a.cc:2 f"])

    def test_a_comment_behind_an_empty_line_is_not_a_word(self):
        self.assertEqual(names_in({"include/kl/a.h": "// About something else.\n\nint f();\n"}), ["include/kl/a.h:3 f"])

    def test_a_word_about_one_constructor_says_nothing_of_another_class(self):
        files = {"src/layers/a.cc": "namespace {\n/// B.\nstruct B {\n  /// For T.\n  B(int T);\n};\n}\n",
                 "src/layers/b.cc": "namespace {\n/// B.\nstruct B {\n  B(int T);\n};\n}\n"}
        self.assertEqual(names_in(files), ["src/layers/b.cc:4 B::B"])


class Enough(unittest.TestCase):
    def check(self, text, path="src/model/a.h", **more):
        self.assertEqual(names_in({path: text, **more}), [])

    def test_a_comment_above_or_behind(self):
        self.check("/// One.\nint f();\nint g();  ///< two\n/// A.\ntemplate <class T>\nstruct A {};\n")

    def test_one_comment_for_a_run_of_single_lines(self):
        self.check("// Sums.\nint f();\nint g();\ninline int h() { return 1; }\n")

    def test_a_comment_at_the_definition_is_one_for_the_declaration(self):
        self.check("/// A.\nclass A {\n  void f();\n};\n", **{"src/model/a.cc": "/// Says what.\nvoid A::f() {\n}\n"})

    def test_what_says_itself_what_it_is(self):
        self.check("/// A.\nclass A : public B {\n public:\n  A() = default;\n  A(const A&);\n  A& operator=(A&&);\n  ~A();\n"
                   "  void on_event(int x) override;\n  bool operator==(const A&) const = default;\n};\n")

    def test_variables_types_and_calls_are_no_functions(self):
        self.check("using F = void (*)(int);\nconstexpr int k = f(2);\nconst auto g = [](int x) { return x; };\n"
                   "/// A.\nstruct A {\n  bool (*supported)();\n  std::vector<int> x{1, 2};\n};\n")

    def test_a_specialisation_is_documented_by_its_template(self):
        self.check("/// Of a T.\ntemplate <class T>\nstruct A;\n\ntemplate <>\nstruct A<int> {\n  int x;\n};\n")

    def test_folders_outside_the_list(self):
        self.check("int f();\n", "src/server/a.h")


if __name__ == "__main__":
    unittest.main()
