# clrhm_precompile(<target> <header>...)
# Compiles headers that most sources of the target include once, and uses the result for each source. That saves most of
# a build's time, because Windows' and the standard library's headers are long. The sources name each header they need
# all the same: packages and other projects build them without this.
function(clrhm_precompile target)
  if(MSVC OR NOT PROJECT_IS_TOP_LEVEL)
    return()
  endif()
  target_precompile_headers(${target} PRIVATE ${ARGN})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # ccache needs -fpch-preprocess. GCC forgets which precompiled code is the standard library's own, so it shows the
    # false positives that it finds there (GCC bug 105651).
    target_compile_options(
      ${target} PRIVATE -fpch-preprocess -Wno-array-bounds -Wno-stringop-overflow
                        -Wno-stringop-overread)
  endif()
endfunction()
