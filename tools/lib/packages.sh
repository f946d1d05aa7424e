# Debian packages, for demo.sh and test.sh.  Source it.

# Packages the program is built from; docs/dependencies.md says why each.
build_packages=(g++ cmake ninja-build nlohmann-json3-dev libcli11-dev libfmt-dev libedit-dev libssl-dev libxxhash-dev libboost1.81-dev)
# What ./test.sh needs besides.
test_packages=(libgtest-dev python3 python3-pytest python3-numpy python3-jsonschema clang libclang-rt-dev
  clang-format binutils openssl ccache)

# Prints those of the given packages that are not installed.
missing_packages() {
  local package
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || printf '%s ' "$package"
  done
}

# A password, if one will be needed, is asked for before any step hides its output.
ask_for_sudo() {
  if ((EUID != 0)) && [[ -t 0 && -z ${KL_SKIP_PACKAGES:-} && -n $(missing_packages "$@") ]] && command -v sudo >/dev/null; then
    sudo -v
  fi
}

# Installs what is missing: as root, or with sudo.  Otherwise says what to type and fails.
ensure_packages() {
  if [[ -n ${KL_SKIP_PACKAGES:-} ]]; then
    echo "not looked at: KL_SKIP_PACKAGES is set"
    return 0
  fi
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "This is not a Debian system.  Install what corresponds to"
    echo "    $*"
    echo "and run again with KL_SKIP_PACKAGES=1."
    return 1
  fi
  local missing as_root=()
  missing=$(missing_packages "$@")
  if [[ -z $missing ]]; then
    echo "all of them are installed: $*"
    return 0
  fi
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
      echo "Packages are missing.  As root, please type this, then run again:"
      echo "    apt-get update && apt-get install -y --no-install-recommends ${missing% }"
      return 1
    fi
    as_root=(sudo)
  fi
  echo "installing: $missing"
  # shellcheck disable=SC2086
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
}
