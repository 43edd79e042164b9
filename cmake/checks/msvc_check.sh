#!/usr/bin/env bash
# msvc_check.sh [--tests] TOOLS.SH PROJECT_DIR FOLDER [JOBS]: compiles the sources in MSVC's dialect, with warnings as
# errors. --tests: the tests and examples, too, which take longer than all else.
#
# TOOLS.SH has the compiler: msvc/tools.sh, or a stand-in for msvc_check_self_test.sh. FOLDER keeps what TOOLS.SH sets
# up, and results. JOBS compilations run at a time (default: one for each core). They have a low priority, so that
# concurrent tests run first.
#
# Each source is compiled for x64, and each public header by itself, to show that it includes all it needs. For x86 only
# sources are compiled that use Windows headers or the compiler's macros: calling conventions differ there. Sizes of
# types do, too, but the MinGW x86 build has stricter warnings for those. ARM64 has the sizes of x64 and one calling
# convention. So for ARM64 only sources are compiled that depend on the processor, and the public headers.
#
# Windows' and the standard library's headers take most of the time, so they are precompiled once for each target. A
# missing #include of a standard header is therefore no error of the compiler. msvc/standard_names.awk finds those by
# the names that a file uses, which also finds what another header includes by chance.
#
# FOLDER/results has one small file for each source and target that passed. Its name is a hash of all inputs: the
# source, each project file that it can include, and the tools. Only a source without such a file is compiled. A failure
# is never kept.
#
# Exit code 77 (skipped): the tools cannot be set up.
set -uo pipefail
tests=()
if [ "$1" = --tests ]; then
  tests=(tests examples)
  shift
fi
checks=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools_script=$(realpath "$1") project=$2 folder=$3 jobs=${4:-$(nproc)}
cd "$project" || exit 2
mkdir -p "$folder/results" || exit 2
folder=$(cd "$folder" && pwd)
results=$folder/results
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
mkdir "$work/own" "$work/generated" "$work/output" "$work/closures" || exit 2

# shellcheck source=cmake/checks/msvc/tools.sh
. "$tools_script"
if ! msvc_setup "$folder"; then
  echo "skipped: the check could not be set up, for the reason above"
  exit 77
fi

# ---- the sources -----------------------------------------------------------------------------------
sources=()
while IFS= read -r file; do
  sources+=("$file")
done < <(find src "${tests[@]}" -name '*.cpp' -o -name '*.c' | LC_ALL=C sort)
while IFS= read -r header; do
  name=${header#include/}
  unit=$work/own/$(echo "$name" | tr '/.' '__').cpp
  printf '#include <%s>\n' "$name" >"$unit"
  sources+=("$unit")
done < <(find include -name '*.h' | LC_ALL=C sort)
[ ${#sources[@]} -gt 0 ] || { echo "no sources under $project/src, include, tests and examples"; exit 2; }

# What CMake generates for the tests: tests/CMakeLists.txt and tests/integration/CMakeLists.txt.
if [ -f tests/clrhm_test_paths.h.in ]; then
  sed 's/@[A-Z_]*@/X:/' tests/clrhm_test_paths.h.in >"$work/generated/clrhm_test_paths.h"
fi
if [ -f README.md ]; then
  awk '/^```/ { lines = 0 } /^auto manager = CreateMemoryManager/ { lines = 1 } lines' README.md \
    >"$work/generated/readme_lines.inc"
fi
# shellcheck disable=SC2034  # msvc_compile reads it
msvc_includes=(/Itests "/I$work/generated")

# ---- findings in the text --------------------------------------------------------------------------
failed=0
mapfile -t texts < <(find src include tests examples -name '*.cpp' -o -name '*.c' -o -name '*.h' | LC_ALL=C sort)
awk -f "$checks/msvc/standard_names.awk" "${texts[@]}" || failed=$((failed + 1))

# clang takes these in any dialect, and MSVC does not. They are accepted on the line of an #if, #elif or #else, or
# within the three lines after it.
gnu='__attribute__|__builtin_|__int128|__asm|\basm *(volatile *)?\(|__restrict__|\b__thread\b|\[\[(gnu|clang)::'
gnu+='|__PRETTY_FUNCTION__|__typeof__|__extension__|__SIZEOF_|__BYTE_ORDER__|# *pragma +(GCC|clang)'
gnu+='|# *include +<(unistd|pthread|cpuid|cxxabi|x86intrin|sys/[a-z]+|bits/[a-z+]+)(\.h)?>'
while IFS=: read -r file line text; do
  [[ ! $text =~ ^[[:space:]]*// ]] || continue
  if ! sed -n "$((line > 3 ? line - 3 : 1)),${line}p" "$file" |
    grep -qE '^[[:space:]]*#[[:space:]]*(if|elif|else)'; then
    echo "$file:$line: a GNU spelling without an #if just before it"
    failed=$((failed + 1))
  fi
done < <(grep -nE "$gnu" "${texts[@]}" /dev/null)

# ---- what is known already -------------------------------------------------------------------------
cat >"$work/library.cpp" <<'CPP'
#include <windows.h>
#include <objbase.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <variant>
#include <vector>
#include <gsl/narrow>
#include <gsl/span>
#include <nlohmann/json.hpp>
CPP
{ cat "$work/library.cpp"; printf '#include <%s>\n' random sstream gmock/gmock.h gtest/gtest.h; } >"$work/tests.cpp"

tools=$({ cat "${BASH_SOURCE[0]}" "$work/library.cpp" "$work/tests.cpp"; msvc_identity; } | sha256sum | cut -c 1-64)
mapfile -t files < <(find src include tests examples "$work/own" "$work/generated" -type f \
  \( -name '*.h' -o -name '*.cpp' -o -name '*.c' -o -name '*.inc' \) | LC_ALL=C sort)
sha256sum "${files[@]}" >"$work/hashes"
grep -HE '(#|%:)[[:space:]]*(include|import)|__has_include' "${files[@]}" >"$work/includes"
{
  grep -lE '^ *# *include +<[a-z0-9_]+\.h>|\b_M_[A-Z]|\b_WIN(32|64)\b' "${files[@]}" | sed 's/^/x86 /'
  grep -lE '\b_M_[A-Z]|\bCONTEXT\b|intrin|\b_mm_|\b__rdtsc|YieldProcessor|_ReturnAddress' "${files[@]}" |
    sed 's/^/arm64 /'
} >"$work/differing"
printf '%s\n' "${sources[@]}" >"$work/sources"
awk -v tools="$tools" -v work="$work" -f "$checks/msvc/closures.awk" \
  "$work/hashes" "$work/includes" "$work/differing" "$work/sources" >"$work/differ" || exit 2
declare -A differs=()
while IFS= read -r line; do differs[$line]=1; done <"$work/differ"

# Each entry of `missing` is a line "<target> <headers to precompile, or -> <index of the source> <result>".
missing=() known=0
declare -A needed=()
for index in "${!sources[@]}"; do
  headers=library targets=(x64)
  case ${sources[$index]} in
    "$work"/*) headers=- ;;
    tests/* | examples/*) headers=tests ;;
  esac
  for target in x86 arm64; do
    case $headers in
      tests) ;;
      -) targets+=("$target") ;;
      *) [ -z "${differs[$target $index]:-}" ] || targets+=("$target") ;;
    esac
  done
  key=$(sha256sum <"$work/closures/$index" | cut -c 1-64)
  for target in "${targets[@]}"; do
    # Other targets are checked for what differs there. A missing #include is found for x64.
    if [ "$headers" = - ] && [ "$target" != x64 ]; then headers=library; fi
    result=$results/$target-$key
    if [ "$(cat "$result" 2>/dev/null)" = passed ]; then
      touch "$result"
      known=$((known + 1))
    else
      missing+=("$target $headers $index $result")
      [ "$headers" = - ] || needed["$target $headers"]=1
    fi
  done
done

# ---- the compilations ------------------------------------------------------------------------------
wait_for_room() {
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
}
precompile() { # TARGET HEADERS
  if ! msvc_precompile "$1" "$work/$2.cpp" "$work/$2.$1.pch" >"$work/$2.$1.log"; then rm -f "$work/$2.$1.pch"; fi
}
compile() { # TARGET HEADERS INDEX RESULT
  local target=$1 headers=$2 index=$3 result=$4 file=${sources[$3]} out=$work/output/$3.$1 code='' precompiled=''
  # Code is generated for x64 only: what clang finds then (C2712, below, and intrinsics) does not depend on the target.
  [ "$target" != x64 ] || [ "$headers" = tests ] || code=$out.ll
  [ "$headers" = - ] || precompiled=$work/$headers.$target.pch
  msvc_compile "$target" "$file" "$precompiled" "$code" >"$out" || { rm -f "$out.ll"; return; }
  if [ -s "$out.ll" ] && grep -q '__C_specific_handler' "$out.ll"; then
    # A function with __try may have no object whose destructor must run when it is left by an exception.
    awk -v file="$file" '
      /^define / { name = $0; sub(/^[^@]*@/, "", name); sub(/\(.*/, "", name); has_try = /__C_specific_handler/ }
      has_try && /"funclet"/ && /@"\?\?(1|_D|_G)/ {
        print file ": error C2712: __try in a function that requires object unwinding: " name
        has_try = 0; failed = 1
      }
      END { exit failed }' "$out.ll" >>"$out" || { rm -f "$out.ll"; return; }
  fi
  rm -f "$out.ll"
  echo passed >"$result.$BASHPID" && mv "$result.$BASHPID" "$result" && touch "$out.passed"
}

renice -n 15 -p $$ >/dev/null
for pair in "${!needed[@]}"; do
  wait_for_room
  # shellcheck disable=SC2086  # two words
  precompile $pair &
done
wait
for pair in "${!needed[@]}"; do
  read -r target headers <<<"$pair"
  [ -f "$work/$headers.$target.pch" ] && continue
  echo "the headers of $headers cannot be compiled for $target:"
  cat "$work/$headers.$target.log"
  exit 1
done
for line in "${missing[@]}"; do
  read -r target headers index result <<<"$line"
  wait_for_room
  compile "$target" "$headers" "$index" "$result" &
done
wait

for line in "${missing[@]}"; do
  read -r target headers index result <<<"$line"
  out=$work/output/$index.$target
  [ ! -f "$out.passed" ] || continue
  echo "== $target ${sources[$index]}"
  cat "$out"
  failed=$((failed + 1))
done

find "$results" -type f -mtime +30 -delete
echo "msvc_check: ${#missing[@]} compiled, $known known to pass, $failed failed"
[ $failed = 0 ]
