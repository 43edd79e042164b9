# awk -v tools=HASH -v work=FOLDER -f closures.awk HASHES INCLUDES DIFFERING SOURCES: finds for each source the files
# that it can include. An #include counts for every project file with the same last path part. This is a superset of the
# files that the compiler reads. An include through a macro counts for all files.
#
# HASHES: sha256sum's lines of all project files, sorted by name. INCLUDES: grep's lines (FILE:TEXT) with #include or
# __has_include. DIFFERING: lines "TARGET FILE", where FILE can mean something else for TARGET. SOURCES: the sources.
#
# For source N writes FOLDER/closures/N, all that the result of its compilation depends on. Prints "TARGET N" for each
# source with a file in the closure that differs for TARGET.
FILENAME == ARGV[1] {
  file = substr($0, 67); hash[file] = substr($0, 1, 64)
  last = file; sub(/.*\//, "", last); named[last] = named[last] "\n" file
  names[++files] = file; all = all "\n" file
  next
}
FILENAME == ARGV[2] {
  file = $0; sub(/:.*/, "", file); rest = substr($0, length(file) + 2); found = 0
  while (match(rest, /[<"][^<>"]*[>"]/)) {
    last = substr(rest, RSTART + 1, RLENGTH - 2); sub(/.*\//, "", last)
    rest = substr(rest, RSTART + RLENGTH); found = 1
    if (last in named) includes[file] = includes[file] named[last]
  }
  if (!found && rest !~ /defined\(__has_include\)$/) includes[file] = all
  next
}
FILENAME == ARGV[3] {
  targets[$1]; differing[$1, substr($0, length($1) + 2)]
  next
}
{
  split("", seen); split("", differs); queue[1] = $0; seen[$0]; n = 1
  for (i = 1; i <= n; ++i) {
    for (target in targets) if ((target, queue[i]) in differing) differs[target]
    count = split(includes[queue[i]], next_files, "\n")
    for (j = 1; j <= count; ++j) if (next_files[j] != "" && !(next_files[j] in seen)) {
      seen[next_files[j]]; queue[++n] = next_files[j]
    }
  }
  for (target in differs) print target, unit + 0
  # The generated sources are in a temporary folder with a new name on each run, so that prefix is cut off.
  out = work "/closures/" unit++
  printf "%s\n", tools >out
  for (j = 1; j <= files; ++j) if (names[j] in seen) {
    name = names[j]; if (index(name, work) == 1) name = substr(name, length(work) + 1)
    printf "%s %s%s\n", hash[names[j]], name, (names[j] == $0 ? " is compiled" : "") >out
  }
  close(out)
}
