# Counts the engine's instructions for a commit and a decommit of 16 pages. The count is the same on every run.
#   cmake -DPROGRAM=... -DLIMIT=286 -DWORK=<folder> -P engine_instructions.cmake
# Prints a line that ctest takes as "skipped" if valgrind is not installed.
cmake_minimum_required(VERSION 3.25)
find_program(VALGRIND valgrind)
if(NOT VALGRIND)
  message("SKIPPED: valgrind is not installed; cmake -P cmake/test.cmake installs it on Debian")
  return()
endif()

# per_pair(<engine|os> <variable>): sets the instructions for one pair, in tenths. It takes the difference of two runs,
# so start-up cancels out.
function(per_pair mode variable)
  file(MAKE_DIRECTORY "${WORK}")
  set(few 1000)
  set(many 11000)
  foreach(pairs few many)
    execute_process(
      COMMAND "${VALGRIND}" --tool=callgrind "--callgrind-out-file=${WORK}/callgrind.${mode}.${pairs}" "${PROGRAM}"
              ${${pairs}} ${mode}
      RESULT_VARIABLE result
      OUTPUT_VARIABLE output
      ERROR_VARIABLE output)
    if(NOT result EQUAL 0 OR NOT output MATCHES "Collected : ([0-9]+)")
      message(FATAL_ERROR "${PROGRAM} ${${pairs}} ${mode} under valgrind (${result}):\n${output}")
    endif()
    set(instructions_${pairs} ${CMAKE_MATCH_1})
  endforeach()
  math(EXPR tenths "(${instructions_many} - ${instructions_few}) * 10 / (${many} - ${few})")
  set(${variable} ${tenths} PARENT_SCOPE)
endfunction()

function(with_point tenths variable)
  math(EXPR whole "${tenths} / 10")
  math(EXPR tenth "${tenths} % 10")
  set(${variable} "${whole}.${tenth}" PARENT_SCOPE)
endfunction()

per_pair(engine all)
per_pair(os others)
math(EXPR own "${all} - ${others}")
with_point(${all} all_text)
with_point(${others} others_text)
with_point(${own} own_text)
message("engine: ${own_text} instructions of its own for commit + decommit of 16 pages (limit ${LIMIT}); "
        "${all_text} with the loop and the null OS, which take ${others_text} without it")
math(EXPR limit_tenths "${LIMIT} * 10")
if(own GREATER limit_tenths)
  message(FATAL_ERROR "too many")
endif()
