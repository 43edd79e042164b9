#!/usr/bin/env bash
# msvc_check.sh CHECK.SH PROJECT_DIR RESULTS_DIR [JOBS]: the sources in MSVC's dialect, warnings as errors.
#
# RESULTS_DIR keeps one small file for each source and target that passed. Its name is a hash of all that the
# compilation reads: the source, each file of the project that it can include, the compiler, the headers from outside,
# CHECK.SH and this script. A source is compiled only if there is no file of that name. A failure is never kept.
#
# JOBS compilations run at a time (default: one for each core). They have a low priority, so that other tests that run
# at the same time go first.
#
# Exit 77 (skipped) where the check cannot run at all.
set -uo pipefail
check=$1 project=$2 results=$3 jobs=${4:-$(nproc)}
self=$(realpath "$0")
cd "$project" || exit 2
if [ ! -f "$check" ]; then
  echo "skipped: no $check (set CLRHM_MSVC_CHECK to the path of msvc-check's check.sh)"
  exit 77
fi
unset CL _CL_  # options from the environment would be in no key
mkdir -p "$results" || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT

# ---- what is compiled ------------------------------------------------------------------------------
# The libraries' folders alone: all of /usr/include would hide the Windows SDK's headers.
mkdir "$work/libraries" "$work/own" "$work/output" "$work/closures"
for library in CLI nlohmann; do ln -s "/usr/include/$library" "$work/libraries/$library"; done

sources=()
while IFS= read -r file; do sources+=("$file"); done < <(find src -name '*.cpp' | sort)
# Public headers are compiled by themselves too: each must stand alone.
while IFS= read -r header; do
  name=${header#include/}
  unit=$work/own/$(echo "$name" | tr '/.' '__').cpp
  printf '#include <%s>\n' "$name" >"$unit"
  sources+=("$unit")
done < <(find include -name '*.h' | sort)
[ ${#sources[@]} -gt 0 ] || { echo "no sources under $project/src and include"; exit 2; }

# Each source is compiled as it is for x64, so that a standard header that it forgets is missed. The other targets can
# differ in what a target has (sizes, intrinsics, calling conventions). There the standard headers, which take most of
# the time, are compiled once.
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

# run_check TARGET FILE [OPTION of clang-cl]...: warnings are errors through /WX rather than the check's own -W. That
# would also refuse the GNU spellings that it finds by text behind an #if. Those are looked at below.
# code: --ir to generate code, too.
code=--ir
run_check() {
  local target=$1 file=$2
  shift 2
  nice -n 15 bash "$check" -a "$target" ${code:+"$code"} --gsl --mscoree -I include -I src -X "$work/libraries" \
    -D WIN32_LEAN_AND_MEAN -D NOMINMAX -D _WIN32_WINNT=0x0A00 -D WINVER=0x0A00 "$file" -- /WX "$@"
}

# ---- the tools, by content -------------------------------------------------------------------------
# An empty file shows whether the check can run, which folders it includes from, and what its search by text says of
# the project's headers.
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
      "$PWD"/*) ;;                                      # the project's own: file by file, below
      */microsoft.windows.sdk.cpp/*) echo "$folder" ;;  # a package that its version pins
      *) (cd "$folder" && find -L . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum) ;;
    esac
  done
} >"$work/tools"
tools=$(sha256sum <"$work/tools" | cut -c1-64)

# ---- the sources, by content -----------------------------------------------------------------------
# Which files a source can include: each #include or __has_include names every file of the project whose last part is
# the same. That is more than the compiler reads and never less. A name that a macro gives could be any file.
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
    # In the order of the hashes file, which is that of the names; a source of our own is in a folder of another name
    # each time.
    count = split(all, names, "\n")
    printf "%s\n", tools >out
    for (j = 1; j <= count; ++j) if (names[j] in seen) {
      name = names[j]; if (index(name, work) == 1) name = substr(name, length(work) + 1)
      printf "%s %s%s\n", hash[names[j]], name, (names[j] == $0 ? " is compiled" : "") >out
    }
    close(out)
  }' "$work/hashes" "$work/includes" "$work/sources" || exit 2

# ---- the compilations ------------------------------------------------------------------------------
# Each is a line "<target> <index of the source> <kept result>".
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

standard_options() { # TARGET: how to use its compiled standard headers; empty: there are none
  [ ! -s "$work/$1.pch" ] || printf '%s\n' -Xclang -include-pch -Xclang "$work/$1.pch"
}
compile() { # TARGET INDEX KEPT
  local target=$1 index=$2 kept=$3 source=${sources[$2]} out=$work/output/$2.$1 options
  mapfile -t options < <(standard_options "$target")
  if run_check "$target" "$source" "${options[@]}" >"$out" 2>&1; then
    # A GNU spelling in the source is found by text and is no failure of the compilation. It is kept with the result.
    { grep -E "^${source//./\\.}:[0-9]+:" "$out"; echo passed; } >"$out.kept"
    cp "$out.kept" "$kept.$BASHPID" && mv "$kept.$BASHPID" "$kept"
  fi
}
wait_for_room() {
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
}

compile_standard() { # TARGET: without these each source is compiled as for x64, which is slower and finds no less
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

# ---- what was found --------------------------------------------------------------------------------
failed=0
for line in "${missing[@]}"; do
  read -r target index kept <<<"$line"
  out=$work/output/$index.$target
  if [ -f "$out.kept" ]; then
    grep -v '^passed$' "$out.kept" >>"$work/findings"
  else
    grep -vxFf "$work/probe" "$out"  # without what it says each time
    failed=$((failed + 1))
  fi
done

# A GNU spelling is all right within three lines after the #if, #elif or #else that guards it.
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
