# cmake -P cmake/sweep.cmake: runs every sample program under limits from 30 to 100 % of its peak. Compares how it ends
# under clrmem's limit and under DOTNET_GCHeapHardLimit of the same size. Rewrites docs/limit-sweep.md. Takes an hour.
#   -DCLRHM_SWEEP=--programs;Hello;--repeats;1   options of tests/benchmark/limit_sweep.cpp
#   -DCLRHM_OUTPUT=FILE                          another file (default: docs/limit-sweep.md)
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
  set(CLRHM_OUTPUT "${CLRHM_ROOT}/docs/limit-sweep.md")
endif()
get_filename_component(CLRHM_OUTPUT "${CLRHM_OUTPUT}" ABSOLUTE)

clrhm_setup(WINDOWS_TARGETS)
clrhm_start_wine()
clrhm_dotnet()
if(NOT CLRHM_HAS_DOTNET)
  clrhm_fail("The runtimes or the sample programs could not be installed: there is nothing to run")
endif()
clrhm_run("Configuring ${preset}" QUIET COMMAND "${CMAKE_COMMAND}" --preset ${preset})
clrhm_run("Building clrmem and the sweep" COMMAND "${CMAKE_COMMAND}" --build --preset ${preset} --target clrmem
          clrhm_limit_sweep -j ${CLRHM_CORES})
set(notes "${CLRHM_BUILD}/limit-sweep-notes.md")
clrhm_say("Sweeping; what ends worse is told in ${notes}")
execute_process(
  COMMAND ${launcher} "${CLRHM_BUILD}/${preset}/bin/clrhm_limit_sweep.exe" --output "${prefix}${CLRHM_OUTPUT}" --notes
          "${prefix}${notes}" ${CLRHM_SWEEP}
  RESULT_VARIABLE result)
clrhm_stop_wine()
# Exit code 3: all runs were made, and at least one ended worse under the manager's limit.
if(NOT result EQUAL 0)
  message(FATAL_ERROR "The sweep ended with ${result}: see above, and ${notes}")
endif()
