# Compiles the fuzzer with clang and runs it for SECONDS.
#   cmake -DCLANGXX=... -DROOT=<sources> -DWORK=... -DINCLUDES=<folder>|<folder> -DLIBRARY=<libgtest> -DSECONDS=...
#         -P engine_fuzzer.cmake
# Prints a line that ctest takes as "skipped" if clang has no libFuzzer.
cmake_minimum_required(VERSION 3.25)
file(MAKE_DIRECTORY "${WORK}/corpus")
file(WRITE "${WORK}/empty.cpp" "extern \"C\" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }\n")
set(flags -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all)
execute_process(
  COMMAND "${CLANGXX}" ${flags} "${WORK}/empty.cpp" -o "${WORK}/empty" RESULT_VARIABLE result OUTPUT_QUIET ERROR_QUIET)
if(NOT result EQUAL 0)
  message("SKIPPED: ${CLANGXX} has no libFuzzer; Debian's package is libclang-rt-14-dev or later")
  return()
endif()
set(includes "-I${ROOT}/src" "-I${ROOT}/tests")
string(REPLACE "|" ";" INCLUDES "${INCLUDES}")
list(REMOVE_ITEM INCLUDES /usr/include)  # searched in any case, and it must not precede the C++ library's folder
foreach(folder IN LISTS INCLUDES)
  list(APPEND includes -isystem "${folder}")
endforeach()
file(GLOB sources "${ROOT}/src/engine/*.cpp" "${ROOT}/src/ledger/*.cpp" "${ROOT}/src/policy/*.cpp" "${ROOT}/src/budget/*.cpp"
     "${ROOT}/src/os/*.cpp")
list(APPEND sources "${ROOT}/tests/fuzz/engine_fuzzer.cpp" "${ROOT}/tests/support/engine_model.cpp"
            "${ROOT}/tests/support/fake_address_space.cpp" "${ROOT}/tests/support/fake_memory_system.cpp")
execute_process(COMMAND "${CLANGXX}" ${flags} ${includes} ${sources} "${LIBRARY}" -pthread -o "${WORK}/engine_fuzzer"
                        COMMAND_ERROR_IS_FATAL ANY)
execute_process(
  COMMAND "${WORK}/engine_fuzzer" "-max_total_time=${SECONDS}" -max_len=4096 -print_final_stats=1
          "-artifact_prefix=${WORK}/" "${WORK}/corpus"
  WORKING_DIRECTORY "${WORK}" RESULT_VARIABLE result ERROR_VARIABLE output)
string(REGEX MATCH "number_of_executed_units: [0-9]+" units "${output}")
message("${units}")
if(NOT result EQUAL 0)
  message(FATAL_ERROR "${output}")
endif()
