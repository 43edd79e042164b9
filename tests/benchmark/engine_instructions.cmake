# Counts the engine's instructions for a commit and a decommit of 16 pages: the same on every run.
#   cmake -DPROGRAM=... -DLIMIT=300 -DWORK=<folder> -P engine_instructions.cmake
# Prints a line that ctest takes as "skipped" where there is no valgrind.
cmake_minimum_required(VERSION 3.25)
find_program(VALGRIND valgrind)
if(NOT VALGRIND)
  message("SKIPPED: valgrind is not installed; cmake -P cmake/test.cmake installs it on Debian")
  return()
endif()

# count(<pairs> <variable>): instructions of the whole program.
function(count pairs variable)
  file(MAKE_DIRECTORY "${WORK}")
  execute_process(
    COMMAND "${VALGRIND}" --tool=callgrind "--callgrind-out-file=${WORK}/callgrind.${pairs}" "${PROGRAM}" ${pairs}
    RESULT_VARIABLE result
    OUTPUT_VARIABLE output
    ERROR_VARIABLE output)
  if(NOT result EQUAL 0 OR NOT output MATCHES "Collected : ([0-9]+)")
    message(FATAL_ERROR "${PROGRAM} ${pairs} under valgrind (${result}):\n${output}")
  endif()
  set(${variable} ${CMAKE_MATCH_1} PARENT_SCOPE)
endfunction()

set(few 1000)
set(many 11000)
count(${few} instructions_few)
count(${many} instructions_many)
# Start-up drops out. In tenths, since CMake has no fractions.
math(EXPR tenths "(${instructions_many} - ${instructions_few}) * 10 / (${many} - ${few})")
math(EXPR whole "${tenths} / 10")
math(EXPR tenth "${tenths} % 10")
message("engine: ${whole}.${tenth} instructions for commit + decommit of 16 pages (limit ${LIMIT})")
math(EXPR limit_tenths "${LIMIT} * 10")
if(tenths GREATER limit_tenths)
  message(FATAL_ERROR "too many")
endif()
