# Configuring and building one of the presets, for demo.sh and test.sh.  Source it.

# Value of a variable in a build folder's CMake cache.
cache_value() {
  sed -n "s|^$2:[A-Z]*=||p" "build/$1/CMakeCache.txt" 2>/dev/null
}

# Is the folder of PRESET configured, for the repository at this very place?
is_configured() {
  [[ -e build/$1/build.ninja && $(cache_value "$1" CMAKE_HOME_DIRECTORY) == "$PWD" ]]
}

# configure PRESET [-DNAME=VALUE...]: only if the folder is not configured so already; ninja itself repeats it where a CMake
# file has changed.  A folder configured at another place (a copied repository) starts afresh.
configure() {
  local preset=$1 fresh=() setting same=yes
  shift
  if is_configured "$preset"; then
    for setting in "$@"; do
      setting=${setting#-D}
      [[ $(cache_value "$preset" "${setting%%=*}") == "${setting#*=}" ]] || same=no
    done
    if [[ $same == yes ]]; then
      echo "build/$preset is configured"
      return 0
    fi
  elif [[ -e build/$preset/CMakeCache.txt ]]; then
    fresh=(--fresh)
  fi
  cmake "${fresh[@]}" --preset "$preset" "$@"
}

# build PRESET [TARGET...]
build() {
  local preset=$1
  shift
  ninja -C "build/$preset" "$@"
}
