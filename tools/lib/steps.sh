# Numbered steps with elapsed time, for demo.sh and test.sh.  Source it; bash 5.
#
#   run_step "title" command args...     runs the command, its output in build/logs/; shows one line and, on failure, the output
#   passed, failed, skipped              counts over all steps so far; a step counts as the tests its output reports, else as one
#
# A command that exits with 77 is skipped; the last line it printed is the reason.

export LC_ALL=C.UTF-8
passed=0 failed=0
skipped=()          # "what: why", named in the summary
steps_done=0
steps_total=${steps_total:-0}
log_dir=build/logs
started_us=${EPOCHREALTIME//[.,]/}

# Seconds since the given EPOCHREALTIME in microseconds, one decimal.
seconds_since() {
  local us=$((${EPOCHREALTIME//[.,]/} - $1))
  printf '%d.%d s' $((us / 1000000)) $((us % 1000000 / 100000))
}

# On a terminal, keeps the line of a running step alive: its seconds, and the last line its command printed.
show_running() {
  local head=$1 log=$2 start=$3 width last
  while sleep 1; do
    width=$(($(tput cols 2>/dev/null || echo 80) - ${#head} - 14))
    last=$(tail -c 400 "$log" 2>/dev/null | tr '\r' '\n' | grep -v '^ *$' | tail -n 1 | cut -c "1-$((width > 0 ? width : 1))")
    printf '\r\033[K%s %8s  %s' "$head" "$(seconds_since "$start")" "$last"
  done
}

# The tests a log reports, as "passed failed": GoogleTest, pytest and unittest summaries; nothing if it has none.
count_tests() {
  sed -E 's/\x1b\[[0-9;]*m//g' "$1" | awk '
    /\[  PASSED  \] [0-9]+ test/ { p += $4; seen = 1 }
    /\[  FAILED  \] [0-9]+ test/ { f += $4; seen = 1 }
    /^(=+ )?[0-9]+ (passed|failed|error|skipped|xfailed).* in [0-9.]+s/ {
      for (i = 2; i <= NF; ++i) {
        if ($i ~ /^passed/) p += $(i-1)
        if ($i ~ /^failed|^error/) f += $(i-1)
      }
      seen = 1
    }
    END { if (seen) print p + 0, f + 0 }'
}

# Names of tests a log reports as skipped.
skipped_tests() {
  sed -nE 's/^(\[  SKIPPED \] )([A-Za-z].*) \([0-9]+ ms\)$/\2/p; s/^SKIPPED \[[0-9]+\] (.*)$/\1/p' "$1" | sort -u
}

show_failure() {
  local log=$1 lines
  lines=$(wc -l <"$log")
  echo "---- output of the failed step${2:+ ($2)} ----"
  if ((lines > 200)); then
    echo "(last 200 of $lines lines; all of them: $log)"
  fi
  tail -n 200 "$log"
  echo "----"
}

run_step() {
  local title=$1 start=${EPOCHREALTIME//[.,]/} head log report status ticker result counts
  shift
  ((++steps_done))
  mkdir -p "$log_dir"
  log=$log_dir/$(printf '%02d' "$steps_done")-${title//[^A-Za-z0-9]/-}.log
  report=$log.report            # a command may leave a fuller report here for counting than what it prints
  rm -f "$report"
  head=$(printf '[%2d/%d] %-44s' "$steps_done" "$steps_total" "$title")
  printf '%s' "$head"
  if [[ -t 1 ]]; then
    show_running "$head" "$log" "$start" &
    ticker=$!
  fi

  step_report=$report "$@" >"$log" 2>&1 </dev/null
  status=$?

  if [[ -n ${ticker:-} ]]; then
    kill "$ticker" 2>/dev/null
    wait "$ticker" 2>/dev/null
    printf '\r\033[K%s' "$head"
  fi
  [[ -e $report ]] || report=$log
  if ((status == 77)); then
    result="skipped: $(tail -n 1 "$log")"
    skipped+=("$title: $(tail -n 1 "$log")")
  else
    counts=$(count_tests "$report")
    local p=${counts% *} f=${counts#* }
    if [[ -z $counts ]]; then p=$((status == 0)) f=0; fi
    if ((status != 0 && f == 0)); then f=1; fi
    ((passed += p, failed += f))
    result=ok
    [[ -n $counts ]] && result="$p passed"
    ((f > 0)) && result="$f FAILED"
    local name
    while IFS= read -r name; do
      [[ -n $name ]] && skipped+=("$title: $name")
    done < <(skipped_tests "$report")
  fi
  printf ' %8s  %s\n' "$(seconds_since "$start")" "$result"
  if ((status != 0 && status != 77)); then
    show_failure "$log" "$title"
    return 1
  fi
}
