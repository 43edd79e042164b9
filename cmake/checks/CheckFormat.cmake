# cmake -DTREE=<source tree> -P CheckFormat.cmake
# Fails if a C or C++ source differs from the output of clang-format 19 with .clang-format. Other versions format
# differently, so the check is skipped if version 19 is not installed.
cmake_minimum_required(VERSION 3.25)

if(NOT TREE)
  set(TREE "${CMAKE_CURRENT_LIST_DIR}/../..")
endif()
get_filename_component(TREE "${TREE}" ABSOLUTE)
set(version 19)

find_program(clang_format NAMES clang-format-${version} clang-format)
if(clang_format)
  execute_process(COMMAND "${clang_format}" --version OUTPUT_VARIABLE found)
endif()
if(NOT found MATCHES "version ${version}\\.")
  message("SKIPPED: no clang-format ${version} (Debian package clang-format-${version})")
  return()
endif()

file(GLOB_RECURSE sources "${TREE}/include/*.h" "${TREE}/src/*.h" "${TREE}/src/*.cpp" "${TREE}/tests/*.h"
     "${TREE}/tests/*.cpp" "${TREE}/tests/*.c")
list(LENGTH sources count)
if(count EQUAL 0)
  message(FATAL_ERROR "format: no sources under ${TREE}")
endif()
execute_process(COMMAND "${clang_format}" --dry-run -Werror ${sources} RESULT_VARIABLE result ERROR_VARIABLE differences)
if(NOT result EQUAL 0)
  message("${differences}")
  message(FATAL_ERROR "format: run clang-format-${version} -i on the files above")
endif()
message("format: ${count} files are as clang-format ${version} writes them")
