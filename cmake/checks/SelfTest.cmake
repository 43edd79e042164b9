# For the self-tests of the checks of the sources.

# expect_check(<what> <script> <regular expression for the expected output, or OK> <-D option>...)
# Runs a check on a small tree. Fails unless the check passes (OK), or fails with that output. A skipped check is a
# failure.
function(expect_check what script expected)
  execute_process(
    COMMAND "${CMAKE_COMMAND}" ${ARGN} -P "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/${script}"
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(output MATCHES "SKIPPED:[^\n]*")
    message(FATAL_ERROR "${CMAKE_MATCH_0}")
  endif()
  if(expected STREQUAL "OK")
    if(NOT result EQUAL 0)
      message(FATAL_ERROR "${what}: should pass, but:\n${output}")
    endif()
  elseif(result EQUAL 0 OR NOT output MATCHES "${expected}")
    message(FATAL_ERROR "${what}: should fail with '${expected}', but (${result}):\n${output}")
  endif()
  message("ok ${what}")
endfunction()
