#!/usr/bin/env bash
# msvc_check.sh CHECK.SH PROJECT_DIR RESULTS_DIR [JOBS]: compiles the sources in MSVC's dialect, with warnings as
# errors.
#
# RESULTS_DIR keeps one small file for each source and target that passed. Its name is a hash of all inputs. These are
# the source, each project file that it can include, the compiler, the headers from outside, CHECK.SH and this script. A
# source is compiled only if RESULTS_DIR has no file of that name. A failure is never kept.
#
# JOBS compilations run at a time (default: one for each core). They have a low priority, so that concurrent tests run
# first.
#
# Exit code 77 (skipped): the check cannot run at all.
set -uo pipefail
check=$1 project=$2 results=$3 jobs=${4:-$(nproc)}
self=$(realpath "$0")
cd "$project" || exit 2
if [ ! -f "$check" ]; then
  echo "skipped: no $check (set CLRHM_MSVC_CHECK to the path of msvc-check's check.sh)"
  exit 77
fi
unset CL _CL_  # the keys would not cover options from the environment
mkdir -p "$results" || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

# ---- the sources to compile ------------------------------------------------------------------------
# Only the libraries' own folders are added: all of /usr/include would hide the Windows SDK's headers.
mkdir "$work/libraries" "$work/own" "$work/output" "$work/closures"
for library in CLI nlohmann; do ln -s "/usr/include/$library" "$work/libraries/$library"; done

sources=()
while IFS= read -r file; do sources+=("$file"); done < <(find src -name '*.cpp' | sort)
# Each public header is also compiled by itself: it must include all it needs.
while IFS= read -r header; do
  name=${header#include/}
  unit=$work/own/$(echo "$name" | tr '/.' '__').cpp
  printf '#include <%s>\n' "$name" >"$unit"
  sources+=("$unit")
done < <(find include -name '*.h' | sort)
[ ${#sources[@]} -gt 0 ] || { echo "no sources under $project/src and include"; exit 2; }

# For x64, each source is compiled without precompiled headers, so a missing include of a standard header is an error.
# The other targets can differ only in target properties (sizes, intrinsics, calling conventions). For them the standard
# headers, which take most of the time, are precompiled once.
targets=(x64 x86 arm64)
cat >"$work/standard.cpp" <<'CPP'
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
CPP

# run_check TARGET FILE [OPTION of clang-cl]...: runs CHECK.SH. /WX makes warnings errors. CHECK.SH's own -W would also
# refuse the GNU spellings that it finds by text behind an #if; those are checked below.
# code: --ir generates code, too; empty: no code.
code=--ir
run_check() {
  local target=$1 file=$2
  shift 2
  nice -n 15 bash "$check" -a "$target" ${code:+"$code"} --gsl --mscoree -I include -I src -X "$work/libraries" \
    -D WIN32_LEAN_AND_MEAN -D NOMINMAX -D _WIN32_WINNT=0x0A00 -D WINVER=0x0A00 "$file" -- /WX "$@"
}

# ---- the tools, by content -------------------------------------------------------------------------
# A run on an empty file shows whether the check can run, its include folders, and its text search's findings in the
# project's headers.
: >"$work/empty.cpp"
run_check x64 "$work/empty.cpp" /clang:-v >"$work/probe" 2>&1
result=$?
if [ $result = 2 ]; then
  cat "$work/probe"
  echo "skipped: the check could not be set up, for the reason above"
  exit 77
fi
mapfile -t folders < <(sed -n '/search starts here:/,/^End of search list/s/^ //p' "$work/probe" | sort -u)
if [ $result != 0 ] || [ ${#folders[@]} = 0 ]; then
  cat "$work/probe"
  echo "the check fails on an empty file, or does not say where it includes from"
  exit 1
fi
{
  cat "$self" "$check"
  grep -F ' version ' "$work/probe"
  for folder in "${folders[@]}"; do
    case $folder in
      "$PWD"/*) ;;                                      # the project's own folders: hashed file by file, below
      */microsoft.windows.sdk.cpp/*) echo "$folder" ;;  # a package that its version pins
      *) (cd "$folder" && find -L . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum) ;;
    esac
  done
} >"$work/tools"
tools=$(sha256sum <"$work/tools" | cut -c1-64)

# ---- the sources, by content -----------------------------------------------------------------------
# Finds the files that a source can include. An #include or __has_include counts for every project file with the same
# last path part. This is a superset of the files that the compiler reads. An include through a macro counts for all
# files.
mapfile -t files < <(find include src "$work/own" -type f | sort)
sha256sum "${files[@]}" >"$work/hashes"
grep -HE '(#|%:)[[:space:]]*(include|import)|__has_include' "${files[@]}" >"$work/includes"
printf '%s\n' "${sources[@]}" >"$work/sources"
awk -v tools="$tools" -v work="$work" '
  FILENAME ~ /hashes$/ {
    file = substr($0, 67); hash[file] = substr($0, 1, 64)
    last = file; sub(/.*\//, "", last); named[last] = named[last] "\n" file; all = all "\n" file
    next
  }
  FILENAME ~ /includes$/ {
    file = $0; sub(/:.*/, "", file); rest = substr($0, length(file) + 2); found = 0
    while (match(rest, /[<"][^<>"]*[>"]/)) {
      last = substr(rest, RSTART + 1, RLENGTH - 2); sub(/.*\//, "", last)
      rest = substr(rest, RSTART + RLENGTH); found = 1
      if (last in named) includes[file] = includes[file] named[last]
    }
    if (!found) includes[file] = all
    next
  }
  {
    split("", seen); queue[1] = $0; seen[$0]; n = 1
    for (i = 1; i <= n; ++i) {
      count = split(includes[queue[i]], next_files, "\n")
      for (j = 1; j <= count; ++j) if (next_files[j] != "" && !(next_files[j] in seen)) {
        seen[next_files[j]]; queue[++n] = next_files[j]
      }
    }
    out = work "/closures/" (++unit - 1)
    # The closure lists the files in the order of the hashes file, which is sorted by name. The generated sources are in
    # a temporary folder with a new name on each run, so that prefix is cut off.
    count = split(all, names, "\n")
    printf "%s\n", tools >out
    for (j = 1; j <= count; ++j) if (names[j] in seen) {
      name = names[j]; if (index(name, work) == 1) name = substr(name, length(work) + 1)
      printf "%s %s%s\n", hash[names[j]], name, (names[j] == $0 ? " is compiled" : "") >out
    }
    close(out)
  }' "$work/hashes" "$work/includes" "$work/sources" || exit 2

# ---- the compilations ------------------------------------------------------------------------------
# Each entry of `missing` is a line "<target> <index of the source> <kept result>".
missing=() known=0
declare -A is_missing=()
for index in "${!sources[@]}"; do
  key=$(sha256sum <"$work/closures/$index" | cut -c1-64)
  for target in "${targets[@]}"; do
    kept=$results/$target-$key
    if [ "$(tail -n 1 "$kept" 2>/dev/null)" = passed ]; then
      touch "$kept"
      grep -v '^passed$' "$kept" >>"$work/findings"
      known=$((known + 1))
    else
      missing+=("$target $index $kept")
      is_missing[$target]=1
    fi
  done
done

standard_options() { # TARGET: prints the options for its precompiled standard headers; nothing if there are none
  [ ! -s "$work/$1.pch" ] || printf '%s\n' -Xclang -include-pch -Xclang "$work/$1.pch"
}
compile() { # TARGET INDEX KEPT
  local target=$1 index=$2 kept=$3 source=${sources[$2]} out=$work/output/$2.$1 options
  mapfile -t options < <(standard_options "$target")
  if run_check "$target" "$source" "${options[@]}" >"$out" 2>&1; then
    # The check finds GNU spellings in the source by text. They do not fail the compilation and are kept with the
    # result.
    { grep -E "^${source//./\\.}:[0-9]+:" "$out"; echo passed; } >"$out.kept"
    cp "$out.kept" "$kept.$BASHPID" && mv "$kept.$BASHPID" "$kept"
  fi
}
wait_for_room() {
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
}

compile_standard() { # TARGET: on failure, sources are compiled as for x64, which is slower and finds the same errors
  local target=$1 code=
  if ! run_check "$target" "$work/standard.cpp" -Xclang -emit-pch -Xclang -o -Xclang "$work/$target.pch" \
    >"$work/standard.$target" 2>&1; then
    rm -f "$work/$target.pch"
    echo "the standard headers cannot be compiled once for $target:"
    cat "$work/standard.$target"
  fi
}
for target in x86 arm64; do
  [ -n "${is_missing[$target]:-}" ] || continue
  wait_for_room
  compile_standard "$target" &
done
wait
for line in "${missing[@]}"; do
  read -r target index kept <<<"$line"
  wait_for_room
  compile "$target" "$index" "$kept" &
done
wait

# ---- the findings ----------------------------------------------------------------------------------
failed=0
for line in "${missing[@]}"; do
  read -r target index kept <<<"$line"
  out=$work/output/$index.$target
  if [ -f "$out.kept" ]; then
    grep -v '^passed$' "$out.kept" >>"$work/findings"
  else
    grep -vxFf "$work/probe" "$out"  # without the lines of every run
    failed=$((failed + 1))
  fi
done

# A GNU spelling is accepted on the line of an #if, #elif or #else, or within the three lines after it.
unguarded=0
while IFS=: read -r file line _; do
  if ! sed -n "$((line > 3 ? line - 3 : 1)),${line}p" "$file" | grep -qE '^[[:space:]]*#[[:space:]]*(if|elif|else)'; then
    echo "$file:$line: a GNU spelling without an #if just before it"
    unguarded=$((unguarded + 1))
  fi
done < <(cat "$work/probe" "$work/findings" 2>/dev/null | grep -E '^[^ :()]+\.(h|hpp|inl|cpp):[0-9]+:' | sort -u)

find "$results" -type f -mtime +30 -delete
echo "msvc_check: $((${#missing[@]} - failed)) passed, $failed failed, $known known to pass;" \
  "${#sources[@]} sources, targets ${targets[*]}"
[ $failed = 0 ] && [ $unguarded = 0 ]
