#!/usr/bin/env bash
# msvc_check.sh CHECK.SH PROJECT_DIR: the sources in MSVC's dialect, warnings as errors.
# Exit 77 (skipped) where the check cannot run at all.
set -uo pipefail
check=$1 project=$2
cd "$project" || exit 2
if [ ! -f "$check" ]; then
  echo "skipped: no $check (set CLRHM_MSVC_CHECK to the path of msvc-check's check.sh)"
  exit 77
fi
# The libraries' folders alone: all of /usr/include would hide the Windows SDK's headers.
links=$(mktemp -d) || exit 2
trap 'rm -rf "$links"' EXIT
for library in CLI nlohmann; do ln -s "/usr/include/$library" "$links/$library"; done

# Public headers are compiled by themselves too: each must stand alone.
sources=()
while IFS= read -r file; do sources+=("$file"); done < <(find src -name '*.cpp' | sort)
mkdir "$links/own"
while IFS= read -r header; do
  name=${header#include/}
  unit=$links/own/$(echo "$name" | tr '/.' '__').cpp
  printf '#include <%s>\n' "$name" >"$unit"
  sources+=("$unit")
done < <(find include -name '*.h' | sort)
[ ${#sources[@]} -gt 0 ] || { echo "no sources under $project/src and include"; exit 2; }

# Warnings are errors through /WX rather than the check's own -W: that would also refuse the GNU
# spellings that it finds by text behind an #if. Those are looked at below.
output=$links/output
bash "$check" --ir --gsl --mscoree -I include -I src -X "$links" -D WIN32_LEAN_AND_MEAN \
  -D NOMINMAX -D _WIN32_WINNT=0x0A00 -D WINVER=0x0A00 "${sources[@]}" -- /WX >"$output" 2>&1
result=$?
cat "$output"
if [ $result = 2 ]; then
  echo "skipped: the check could not be set up, for the reason above"
  exit 77
fi

# A GNU spelling is all right within three lines after the #if, #elif or #else that guards it.
while IFS=: read -r file line _; do
  if ! sed -n "$((line > 3 ? line - 3 : 1)),${line}p" "$file" | grep -qE '^[[:space:]]*#[[:space:]]*(if|elif|else)'; then
    echo "$file:$line: a GNU spelling without an #if just before it"
    result=1
  fi
done < <(grep -E '^[^ :()]+\.(h|hpp|inl|cpp):[0-9]+:' "$output" | sort -u)
exit $result
