# cmake -DTREE=<source tree> -P CheckProse.cmake
#   [-DMODULES=<folder>]   where npm installs the linter (default: TREE/build/prose)
# Fails if a document or a source comment has a sentence of more than 25 words, or a word of prose/words.yml. The linter
# is textlint. It is skipped if node or npm is not installed, or if npm cannot download the linter.
cmake_minimum_required(VERSION 3.25)

if(NOT TREE)
  set(TREE "${CMAKE_CURRENT_LIST_DIR}/../..")
endif()
get_filename_component(TREE "${TREE}" ABSOLUTE)
if(NOT MODULES)
  set(MODULES "${TREE}/build/prose")
endif()
set(check "${CMAKE_CURRENT_LIST_DIR}/prose")
include("${CMAKE_CURRENT_LIST_DIR}/NpmTools.cmake")
clrhm_npm_tools("${check}" "${MODULES}")
if(NOT CLRHM_NODE)
  message("SKIPPED: ${CLRHM_NO_NODE}")
  return()
endif()

execute_process(COMMAND "${CLRHM_NODE}" "${check}/check.mjs" "${TREE}" "${MODULES}" RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "prose: rewrite the sentences above; cmake/checks/prose/words.yml has what to write instead")
endif()
