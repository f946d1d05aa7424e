#!/bin/sh
# Fails if an object file of src/kernels/avx2 or avx512 defines a weak symbol.
#
#   tools/check_isa_symbols.sh BUILD_DIR
#
# A weak symbol is an inline function or template that every translation unit may define and of which the linker keeps one.  If
# it keeps the one compiled with AVX-512, the whole program dies with SIGILL on a CPU without it (docs/kernels.md).
# Sanitizer builds are not checked: they turn inlining off here and there and are not what users run.
set -eu

build=${1:?"usage: check_isa_symbols.sh BUILD_DIR"}
if grep -q '^KL_SANITIZE:[A-Z]*=.' "$build/CMakeCache.txt"; then
  echo "isa-symbols: $build is a sanitizer build: not checked"
  exit 0
fi

status=0
for isa in avx2 avx512; do
  objects=$(find "$build" -path "*/kernels/$isa/*.o")
  if [ -z "$objects" ]; then
    echo "isa-symbols: $build: expected object files of kernels/$isa, got none (build first)" >&2
    exit 1
  fi
  for object in $objects; do
    weak=$(nm --demangle --defined-only "$object" | grep -E '^[0-9a-f]+ [WVu] ' || true)
    if [ -n "$weak" ]; then
      printf '%s: expected no weak symbol, got\n%s\n' "$object" "$weak" >&2
      status=1
    fi
  done
done
exit $status
