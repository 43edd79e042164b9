# Uses ccache if it is installed: a second build of the same sources then takes seconds. The cache is in ccache's
# default folder (or CCACHE_DIR), outside the tree.
find_program(CLRHM_CCACHE ccache)
mark_as_advanced(CLRHM_CCACHE)
if(CLRHM_CCACHE AND CMAKE_GENERATOR MATCHES "Ninja|Makefiles" AND NOT MSVC)
  set(_clrhm_env "${CMAKE_COMMAND};-E;env")
  if(CMAKE_HOST_UNIX)
    set(_clrhm_env env) # starts in a tenth of the time
  endif()
  foreach(language C CXX)
    if(NOT CMAKE_${language}_COMPILER_LAUNCHER)
      # The sloppiness lets ccache keep what was compiled with a precompiled header. CCACHE_DEPEND takes the list of
      # headers from the compiler, so that a file that is not in the cache is preprocessed once, not twice.
      set(CMAKE_${language}_COMPILER_LAUNCHER
          "${_clrhm_env};CCACHE_DEPEND=1;CCACHE_SLOPPINESS=pch_defines,time_macros;${CLRHM_CCACHE}")
    endif()
  endforeach()
endif()
