#!/bin/sh
# wine-run.sh PROGRAM.exe [ARGS...]: runs a Windows program with Wine in the build's own prefix.
# CMake and ctest call it for every program built with the MinGW toolchain.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
: "${WINEPREFIX:=$here/../build/wine-prefix}"
: "${WINEDEBUG:=-all}"
# Only mshtml is turned off (no offer to install a browser engine). Never mscoree: without it no
# managed assembly loads.
: "${WINEDLLOVERRIDES:=mshtml=}"
export WINEPREFIX WINEDEBUG WINEDLLOVERRIDES
mkdir -p "$WINEPREFIX"
# Debian's `wine` wrapper looks for a 32-bit Wine and warns about it: call the 64-bit loader itself.
for wine in /usr/lib/wine/wine64 "$(command -v wine64 || true)" "$(command -v wine || true)"; do
  [ -n "$wine" ] && [ -x "$wine" ] || continue
  WINELOADER=${WINELOADER:-$wine}
  export WINELOADER
  exec "$wine" "$@"
done
echo "wine-run.sh: no Wine found (Debian package: wine64); cmake -P cmake/test.cmake installs it" >&2
exit 127
