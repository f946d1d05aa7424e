#!/usr/bin/env bash
# Proves the whole of it: release build, every test, every instruction set, sanitizers, fuzzing, format and include order.
# Ends in "N passed, N failed" on a line of its own; the exit status is 1 if anything failed.
cd "$(dirname "$0")" || exit 1
source tools/lib/steps.sh
source tools/lib/packages.sh
source tools/lib/build.sh

usage="usage: ./test.sh            everything (CONTRIBUTING.md says for how long)
       ./test.sh quick      the release build and its tests only

Data that is not ours to ship (the real vocabulary and its reference results) is looked for in \$KL_SHARED, else in ../shared;
tests that need it are skipped by name where it is absent."

quick=no
case ${1:-} in
  "") ;;
  quick) quick=yes ;;
  -h | --help) echo "$usage"; exit 0 ;;
  *) echo "test.sh: $1: expected 'quick' or nothing (see --help)" >&2; exit 2 ;;
esac
trap 'echo; exit 130' INT

python=/usr/bin/python3   # the one Debian's pytest belongs to
[[ -n ${KL_SKIP_PACKAGES:-} ]] && python=python3
jobs=$(nproc)
fuzz_seconds=10

# --- the steps -------------------------------------------------------------------------------------------------------------

build_release() {
  configure release -DKL_TESTS=ON && build release
}

# ctest with its full output left for counting; on the screen only what failed.
run_ctest() {
  local preset=$1 status
  shift
  ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "$jobs" "$@"
  status=$?
  cp "build/$preset/Testing/Temporary/LastTest.log" "$step_report"
  return $status
}

unit_tests() { run_ctest release -L unit; }
repository_checks() { run_ctest release -L check; }

# A file that cannot be imported counts as a failure and hides no other.
run_pytest() {
  KL_PROGRAM=$PWD/build/release/bin/kl $python -m pytest -q -rs -p no:cacheprovider --continue-on-collection-errors "$1"
}

program_tests() {
  local status=0
  run_pytest tests/cli || status=1
  run_pytest tests/server || status=1
  return $status
}

# The model's tests with one kernel table forced through the environment, as a user would force it.  Those that go through all
# tables by themselves have run among the unit tests.
forced_isa() {
  local isa=$1 flag
  for flag in "${@:2}"; do
    if ! grep -qw "$flag" /proc/cpuinfo; then
      echo "this CPU has no $flag"
      return 77
    fi
  done
  KL_ISA=$isa GTEST_FILTER='-Tables/*:Checkpoints/*:Folders/*' run_ctest release -R '^(model|generation)$'
}

# What is given bytes of strangers, and what many threads share.
sanitized=(gguf checkpoint encodings packing config weights inspect synth text jinja chat grammar session model engine server)

# One clang build serves three purposes: a second compiler's warnings, the sanitizers, and the fuzz targets.  The program's own
# files are only looked at: no sanitized test runs them.
build_dev() {
  configure dev && build dev $(printf '%s_test ' "${sanitized[@]}") fuzz-targets &&
    printf '%s\0' src/cli/*.cc | xargs -0 -P "$jobs" -n 4 clang++ -std=c++20 -fsyntax-only -Wall -Wextra -Wpedantic -Wshadow \
      -Wno-missing-field-initializers -Werror -Iinclude -Isrc
}

# The slowest are left out: the reference table's splits, threads and long texts, whose kernels the smaller goldens run as well.
sanitized_tests() {
  local slow='Tables/*/reference:*Greedy*reference*:*stress_reference*:*OddShapes.AttentionOnBf16*:Dialogs.GoOn*'
  KL_DIALOGS=10 GTEST_FILTER="-$slow" \
    run_ctest dev -R "^($(IFS='|'; echo "${sanitized[*]}"))\$"
}

fuzz() {
  local target name found=no
  for target in build/dev/bin/*_fuzz; do
    [[ -x $target ]] || continue
    found=yes
    name=$(basename "$target")
    mkdir -p "build/dev/corpus/$name"
    echo "== $name"
    "$target" -max_total_time=$fuzz_seconds -print_final_stats=1 -artifact_prefix="build/dev/$name-" \
      "build/dev/corpus/$name" $(find fuzz/corpus/"${name%_fuzz}" -maxdepth 0 2>/dev/null) || return 1
  done
  [[ $found == yes ]] || { echo "no fuzz target was built"; return 1; }
}

build_tsan() {
  configure tsan && build tsan base_test model_test engine_test
}

# All tables share their threading: the reference, which is slow, and avx2 are left to the other steps.
thread_tests() {
  KL_DIALOGS=10 GTEST_FILTER='-*reference*:*Reference*:*avx2*:Dialogs.GoOn*' run_ctest tsan -R '^(base|model|engine)$'
}

# --- run them --------------------------------------------------------------------------------------------------------------

summary() {
  echo
  if ((${#skipped[@]} > 0)); then
    echo "skipped:"
    printf '  %s\n' "${skipped[@]}"
  fi
  echo "took $(seconds_since "$started_us")"
  echo "$passed passed, $failed failed"
  exit $((failed > 0))
}

steps_total=14
[[ $quick == yes ]] && steps_total=4
ask_for_sudo "${build_packages[@]}" "${test_packages[@]}"
run_step "Debian packages" ensure_packages "${build_packages[@]}" "${test_packages[@]}" || summary
if run_step "release build, g++, warnings are errors" build_release; then
  run_step "include order, links, ISA symbols" repository_checks
  run_step "unit tests" unit_tests
  if [[ $quick == no ]]; then
    run_step "the program as a user runs it" program_tests
    run_step "model tests, KL_ISA=reference" forced_isa reference
    run_step "model tests, KL_ISA=avx2" forced_isa avx2 avx2 fma f16c
    run_step "model tests, KL_ISA=avx512" forced_isa avx512 avx512f avx512bw avx512dq avx512vl avx512_vnni
  fi
fi
[[ $quick == yes ]] && summary

run_step "format" tools/check_format.sh
if run_step "clang build with ASan and UBSan" build_dev; then
  run_step "parsers and small models, ASan and UBSan" sanitized_tests
  run_step "fuzz targets, $fuzz_seconds s each" fuzz
fi
if run_step "build with TSan" build_tsan; then
  run_step "threads and small models, TSan" thread_tests
fi
summary
