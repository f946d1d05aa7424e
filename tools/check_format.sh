#!/usr/bin/env bash
# Fails if a C++ file is not as clang-format 14 with .clang-format would write it.   tools/check_format.sh [--fix]
cd "$(dirname "$0")/.." || exit 1
mode=(--dry-run -Werror)
[[ ${1:-} == --fix ]] && mode=(-i)

folders=()
for folder in include src tests bench fuzz examples; do
  [[ -d $folder ]] && folders+=("$folder")
done
# Generated tables say so in their first lines and keep the generator's layout.
find "${folders[@]}" -name '*.cc' -o -name '*.h' | sort |
  while read -r file; do head -n 3 "$file" | grep -qi generated || echo "$file"; done |
  xargs clang-format "${mode[@]}" || exit 1
echo "all formatted"
