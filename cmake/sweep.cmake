# cmake -P cmake/sweep.cmake: finds the least memory in total with which each sample program passes, under clrmem's limit,
# the GC's hard limit and a container's. Rewrites docs/results/limit-sweep.md and its chart. Takes about half an hour.
#   -DCLRHM_SWEEP=--programs;Hello;--repeats;1   options of tests/benchmark/limit_sweep.cpp
#   -DCLRHM_OUTPUT=FILE.md                       another file (default: docs/results/limit-sweep.md)
cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/modules/Setup.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/modules/DotNet.cmake")

set(launcher)
set(preset msvc-release)
set(prefix "")
if(NOT CMAKE_HOST_WIN32)
  set(preset mingw-release)
  set(launcher "${CLRHM_ROOT}/cmake/toolchains/wine-run.sh")
  set(prefix "Z:")
endif()
if(NOT CLRHM_OUTPUT)
  set(CLRHM_OUTPUT "${CLRHM_ROOT}/docs/results/limit-sweep.md")
endif()
get_filename_component(CLRHM_OUTPUT "${CLRHM_OUTPUT}" ABSOLUTE)
get_filename_component(folder "${CLRHM_OUTPUT}" DIRECTORY)
file(MAKE_DIRECTORY "${folder}")

clrhm_setup(WINDOWS_TARGETS)
clrhm_start_wine()
clrhm_dotnet()
if(NOT CLRHM_HAS_DOTNET)
  clrhm_fail("The runtimes or the sample programs could not be installed: there is nothing to run")
endif()
clrhm_run("Configuring ${preset}" QUIET COMMAND "${CMAKE_COMMAND}" --preset ${preset})
clrhm_run("Building clrmem and the sweep" COMMAND "${CMAKE_COMMAND}" --build --preset ${preset} --target clrmem
          clrhm_limit_sweep -j ${CLRHM_CORES})
set(notes "${CLRHM_BUILD}/limit-sweep-notes.txt")
clrhm_say("Sweeping; ${notes} lists each value tried")
execute_process(
  COMMAND ${launcher} "${CLRHM_BUILD}/${preset}/bin/clrhm_limit_sweep.exe" --output "${prefix}${CLRHM_OUTPUT}" --notes
          "${prefix}${notes}" ${CLRHM_SWEEP}
  RESULT_VARIABLE result)
clrhm_stop_wine()
if(result EQUAL 3)
  message(FATAL_ERROR "A run exceeded its limit, or its audit found a mismatch: see UNSOUND above")
elseif(NOT result EQUAL 0)
  message(FATAL_ERROR "The sweep ended with ${result}: see above")
endif()
