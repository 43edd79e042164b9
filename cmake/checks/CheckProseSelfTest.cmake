# cmake -DWORK=<scratch folder> -DMODULES=<folder of the linter> -P CheckProseSelfTest.cmake
#
# Tests that CheckProse.cmake reports long sentences and words to avoid at their file and line, and accepts plain English.
cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/SelfTest.cmake")

# check(<what> <file> <its text> <regular expression for the expected output, or OK>)
# Runs CheckProse.cmake on a small tree with this file added.
function(check what path text expected)
  file(REMOVE_RECURSE "${WORK}")
  file(WRITE "${WORK}/README.md" "# A library\n\nIt charges pages. `besides` is code, and so is this:\n\n    in vain\n\n"
       "It is fast, for good.\n")
  file(WRITE "${WORK}/cmake/checks/prose/exceptions.json"
       "[{\"file\": \"README.md\", \"text\": \"for good.\", \"reason\": \"a name\"}]")
  file(WRITE "${WORK}/src/a.cpp" "// Charges pages.\nint Charge();  // bytes\nconst char* text = \"// in vain\";\n")
  file(WRITE "${WORK}/${path}" "${text}")
  expect_check("${what}" CheckProse.cmake "${expected}" "-DTREE=${WORK}" "-DMODULES=${MODULES}")
endfunction()

set(five "one two three four five")
set(lines_of_25 "${five} ${five}\n// ${five} ${five}\n// ${five}")

check("a clean tree" docs/other.md "Plain.\n" OK)
check("25 words" src/b.h "// ${lines_of_25}.\n// ${lines_of_25}.\n" OK)
check("26 words over several lines" src/b.h "int a;\n// Short. ${lines_of_25}\n// six. Short.\n"
      "src/b.h:2:11: a sentence of more than 25 words: 26 words")
check("a name with a dot ends no sentence" docs/b.md "${five} ${five} a.dll ${five} ${five} five five five five five\n"
      "docs/b.md:1:1: a sentence of more than 25 words: 26 words")
check("a long sentence in a table" docs/b.md "|a|b|\n|---|---|\n|c|${five} ${five} ${five} ${five} ${five} six|\n"
      "docs/b.md:3:4: a sentence")
check("separate comments are no sentence" src/b.h
      "// ${five} ${five}\nint a;\n// ${five} ${five}\n\n// ${five} ${five}\nint b;  // ${five} ${five}\n" OK)
check("the rows of a table are no sentence" cmake/b.cmake
      "#   A    ${five} ${five}\n#   B    ${five} ${five}\n#   C    ${five} ${five}\n" OK)
check("a word in a document" docs/b.md "# Title\n\nText.\nIt waits in vain.\n"
      "docs/b.md:4:10: a word to avoid: in vain => without success")
check("a phrase over two lines" src/b.h "// It waits in\n// vain.\n" "src/b.h:1:13: a word to avoid")
check("a trailing comment" src/b.cpp "int a;\n  int b;  // in vain\n" "src/b.cpp:2:14: a word to avoid")
check("a block comment" include/b.h "/* Plain.\n * In vain. */\n" "include/b.h:2:4: a word to avoid")
check("a comment of CMake" tests/CMakeLists.txt "set(a \"# as ever\")  # in vain\n" "tests/CMakeLists.txt:1:23: a word")
check("a comment of a shell script" .ci/b.sh "#!/bin/sh\necho \"\${a#b}\" # in vain\n" ".ci/b.sh:2:[0-9]+: a word")
check("the stars of pointers are no emphasis" src/b.h
      "// *a gets ${five} ${five}. *b gets ${five} ${five}. *c gets one, as E_*\n" OK)
check("a string is no comment" src/b.cpp "const char* a = \"// in vain\";\nauto b = R\"(/* in vain */)\";\n" OK)


set(exceptions "cmake/checks/prose/exceptions.json")
check("a finding without its exception" ${exceptions} "[]" "README.md:7:13: a word to avoid: for good")
check("an exception that allows nothing" ${exceptions}
      "[{\"file\": \"README.md\", \"text\": \"in vain\", \"reason\": \"a name\"}]"
      "\"in vain\" is not in README.md any more")
check("an exception without a reason" ${exceptions} "[{\"file\": \"README.md\", \"text\": \"for good.\"}]"
      "needs file, text and reason")
file(REMOVE_RECURSE "${WORK}")
