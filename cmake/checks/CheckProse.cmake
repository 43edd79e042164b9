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
set(least_node 20)

find_program(node NAMES node nodejs)
find_program(npm NAMES npm.cmd npm)
if(node)
  execute_process(COMMAND "${node}" --version OUTPUT_VARIABLE found)
endif()
if(NOT found MATCHES "^v([0-9]+)" OR CMAKE_MATCH_1 LESS least_node)
  message("SKIPPED: no node ${least_node} or later")
  return()
endif()

# The packages are installed once for each package-lock.json. The mark is written last, so an interrupted installation
# is repeated.
file(SHA256 "${check}/package-lock.json" wanted)
set(mark "${MODULES}/installed.txt")
file(MAKE_DIRECTORY "${MODULES}")
file(LOCK "${MODULES}/lock" GUARD PROCESS TIMEOUT 300)
set(installed "")
if(EXISTS "${mark}")
  file(READ "${mark}" installed)
endif()
if(NOT installed STREQUAL wanted)
  if(NOT npm)
    message("SKIPPED: no npm, and the linter is not installed in ${MODULES}")
    return()
  endif()
  foreach(file package.json package-lock.json .npmrc)
    configure_file("${check}/${file}" "${MODULES}/${file}" COPYONLY)
  endforeach()
  execute_process(
    COMMAND "${npm}" ci --ignore-scripts --no-audit --no-fund --fetch-retries=1 --fetch-timeout=60000
    WORKING_DIRECTORY "${MODULES}" RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    # EUSAGE: package.json and package-lock.json differ. EINTEGRITY: a package is not the locked one.
    if(output MATCHES "EUSAGE|EINTEGRITY|EJSONPARSE")
      message(FATAL_ERROR "prose: npm ci failed:\n${output}")
    endif()
    message("${output}\nSKIPPED: npm could not download the linter")
    return()
  endif()
  file(WRITE "${mark}" "${wanted}")
endif()
file(LOCK "${MODULES}/lock" RELEASE)

execute_process(COMMAND "${node}" "${check}/check.mjs" "${TREE}" "${MODULES}" RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "prose: rewrite the sentences above; cmake/checks/prose/words.yml has what to write instead")
endif()
